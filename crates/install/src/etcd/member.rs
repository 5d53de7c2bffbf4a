//! What a member of the shared etcd starts with.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use scute_etcd::Access;
use scute_etcd::joining::{self, Seat, Start};
use serde_json::{Value, json};

use super::{CLIENT_PORT, DATA, EtcdConfig, METRICS_PORT, NAME, PEER_PORT};

/// Where a member finds its certificate, its key and their authority.
pub const CERTIFICATES: &str = "/etc/etcd/certificates";
/// Where it finds the certificate of etcd's user `root`, before it starts.
pub const ROOT_CLIENT: &str = "/etc/etcd/root";
/// Where etcd finds its configuration.
pub const CONFIGURATION: &str = "/run/etcd/etcd.yaml";
/// Beside the certificates as soon as the etcd has been there: a member without data has lost it then.
pub const FORMED: &str = "formed";

/// The seats of the members.
#[must_use]
pub fn seats(config: &EtcdConfig, namespace: &str) -> Vec<Seat> {
    let seat = |index: u8| {
        let name = format!("{NAME}-{index}");
        let host = format!("{name}.{NAME}.{namespace}.svc");
        Seat {
            name,
            peer_url: format!("https://{host}:{PEER_PORT}"),
            client: format!("{host}:{CLIENT_PORT}"),
        }
    };
    (0..config.members).map(seat).collect()
}

/// Where a member runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// Folder with its certificate, its key and their authority.
    pub certificates: PathBuf,
    /// Folder that outlives it.
    pub volume: PathBuf,
    /// Address on which it listens.
    pub listen: IpAddr,
    /// Port of probes and metrics, without TLS.
    pub metrics: u16,
}

impl Place {
    /// In the Pod of an installed member.
    #[must_use]
    pub fn in_pod() -> Self {
        Self {
            certificates: CERTIFICATES.into(),
            volume: DATA.into(),
            listen: Ipv4Addr::UNSPECIFIED.into(),
            metrics: METRICS_PORT,
        }
    }

    /// Whether the member has data already.
    #[must_use]
    pub fn has_data(&self) -> bool {
        let log = std::fs::read_dir(self.volume.join("data/member/wal"));
        log.is_ok_and(|mut files| files.next().is_some())
    }
}

/// etcd's configuration for the member of a seat.
#[must_use]
pub fn member_configuration(own: &Seat, seats: &[Seat], start: &Start, place: &Place) -> Value {
    let Place { certificates, volume, listen: address, metrics } = place;
    let first = || seats.iter().map(|seat| (seat.name.clone(), seat.peer_url.clone())).collect();
    let (members, state) = match start {
        Start::Joining(members) => (members.clone(), "existing"),
        // A member with data knows the others, and asks for nothing here.
        Start::WithData | Start::First | Start::NotYet => (first(), "new"),
    };
    let cluster: Vec<_> = members.iter().map(|(name, url)| format!("{name}={url}")).collect();
    let port = |url: &str| url.rsplit_once(':').map_or(String::new(), |(_, port)| port.to_owned());
    let listen = |port: String| format!("https://{address}:{port}");
    let tls = json!({
        "cert-file": certificates.join("tls.crt"),
        "key-file": certificates.join("tls.key"),
        "trusted-ca-file": certificates.join("ca.crt"),
        "client-cert-auth": true,
    });
    json!({
        "name": own.name,
        "data-dir": volume.join("data"),
        "listen-client-urls": listen(port(&own.client)),
        "advertise-client-urls": format!("https://{}", own.client),
        "listen-peer-urls": listen(port(&own.peer_url)),
        "initial-advertise-peer-urls": own.peer_url,
        "initial-cluster": cluster.join(","),
        "initial-cluster-token": NAME,
        "initial-cluster-state": state,
        "listen-metrics-urls": format!("http://{address}:{metrics}"),
        "client-transport-security": tls,
        "peer-transport-security": tls,
        "strict-reconfig-check": true,
        // A tenant's API server may not compact, as the etcd is not its own.
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "5m",
        "quota-backend-bytes": 8_u64 << 30,
    })
}

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// A file.
    #[error("{path} cannot be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The others refuse.
    #[error("the other members refuse")]
    Others(#[from] scute_etcd::Error),
}

/// How long to wait before the others are asked again: nobody tells when one answers.
const AGAIN: Duration = Duration::from_secs(2);

/// Finds out how the member of a seat starts, waits for the others where it has to, and writes etcd's configuration. `root` is
/// the folder with the certificate of etcd's user `root`.
///
/// # Errors
/// When a file cannot be read or written, or the others refuse.
pub async fn begin(
    own: &Seat,
    seats: &[Seat],
    place: &Place,
    root: &Path,
    configuration: &Path,
) -> Result<Start, BeginError> {
    let failed = |path: &Path, source| BeginError::File { path: path.to_owned(), source };
    let read = |path: PathBuf| std::fs::read_to_string(&path).map_err(|source| failed(&path, source));
    let access = Access {
        endpoints: Vec::new(),
        ca_pem: read(place.certificates.join("ca.crt"))?,
        certificate_pem: read(root.join("tls.crt"))?,
        key_pem: read(root.join("tls.key"))?,
    };
    let start = loop {
        // Whoever wants to begin anew takes it away.
        let formed = place.certificates.join(FORMED).exists();
        let begun = joining::start(&access, seats, own, place.has_data(), formed).await;
        match begun {
            // They take in nobody before all that they have are well.
            Err(why @ scute_etcd::Error::Unavailable { .. }) => {
                tracing::info!(%why, "the others cannot take this member in yet");
            }
            Err(error) => return Err(error.into()),
            Ok(Start::NotYet) if seats.len() == 1 => tracing::error!(
                "the only member has lost its data: restore it from a snapshot, or delete the key `{FORMED}` of its Secret to begin anew"
            ),
            Ok(Start::NotYet) => tracing::info!("this member has no data, and the others do not answer yet"),
            Ok(start) => break start,
        }
        tokio::time::sleep(AGAIN).await;
    };
    let text = member_configuration(own, seats, &start, place).to_string();
    std::fs::write(configuration, text).map_err(|source| failed(configuration, source))?;
    Ok(start)
}
