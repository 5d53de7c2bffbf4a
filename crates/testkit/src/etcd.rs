//! A real etcd, with TLS and client certificates.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::certificates;
use crate::process::{Process, free_port, kube_binary};

/// An etcd on loopback that asks for client certificates. Ends, and its data with it, when dropped.
pub struct Etcd {
    /// `https://127.0.0.1:PORT`.
    pub endpoint: String,
    /// The certificate authority of server and clients, PEM.
    pub ca_certificate: String,
    /// Its key, PEM.
    pub ca_key: String,
    process: Process,
    start: Box<dyn Fn() -> Result<Process> + Send + Sync>,
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Etcd {
    /// Starts an etcd of its own. It answers as soon as it can; a client waits by itself.
    ///
    /// # Errors
    /// When there is no binary or it does not start.
    pub fn start() -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("scute-etcd-").tempdir()?;
        let mut etcd = Self::start_in(temporary.path())?;
        etcd._temporary = Some(temporary);
        Ok(etcd)
    }

    pub(crate) fn start_in(dir: &Path) -> Result<Self> {
        let ca = authority(dir)?;
        let (client, peer) = (free_port()?, free_port()?);
        let arguments =
            arguments(dir, "default", "data", (client, peer), &format!("default=http://127.0.0.1:{peer}"));
        let (binary, log) = (kube_binary()?, dir.join("etcd.log"));
        let start = Box::new(move || Process::start(&binary, &arguments, &log));
        let process = start()?;
        Ok(Self {
            endpoint: format!("https://127.0.0.1:{client}"),
            ca_certificate: ca.certificate,
            ca_key: ca.key,
            process,
            start,
            dir: dir.to_owned(),
            _temporary: None,
        })
    }

    /// A client certificate for a user, and its key, PEM.
    ///
    /// # Errors
    /// When it cannot be issued.
    pub fn client_certificate(&self, user: &str) -> Result<(String, String)> {
        certificates::Authority::load(&self.ca_certificate, &self.ca_key)?.issue(user, &[], false)
    }

    /// Kills etcd; its data stays for [`Etcd::restart`].
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, at the same address with the same data.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = (self.start)()?;
        Ok(())
    }

    /// Where its certificates, data and log are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A new authority, with the certificate of a server that every member has, in the folder of the etcd.
fn authority(dir: &Path) -> Result<certificates::Authority> {
    let ca = certificates::Authority::new("etcd-ca")?;
    let (certificate, key) = ca.issue("etcd", &[], true)?;
    std::fs::write(dir.join("ca.crt"), &ca.certificate)?;
    std::fs::write(dir.join("server.crt"), certificate)?;
    std::fs::write(dir.join("server.key"), key)?;
    Ok(ca)
}

/// How a member is started: where its data is, its ports for clients and for peers, and all members with their peer URLs.
fn arguments(dir: &Path, name: &str, data: &str, (client, peer): (u16, u16), cluster: &str) -> [String; 14] {
    let path = |name: &str| dir.join(name).display().to_string();
    [
        "etcd".to_owned(),
        format!("--name={name}"),
        format!("--data-dir={}", path(data)),
        format!("--listen-client-urls=https://127.0.0.1:{client}"),
        format!("--advertise-client-urls=https://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-cluster={cluster}"),
        format!("--trusted-ca-file={}", path("ca.crt")),
        format!("--cert-file={}", path("server.crt")),
        format!("--key-file={}", path("server.key")),
        "--client-cert-auth=true".to_owned(),
        // The data of a test is worth nothing after a power cut.
        "--unsafe-no-fsync=true".to_owned(),
        "--log-level=error".to_owned(),
    ]
}

/// An etcd of several members on loopback, as kubeadm makes one beside each API server.
pub struct EtcdRing {
    /// The members, in the order of their names.
    pub members: Vec<RingMember>,
    /// The certificate authority of members and clients, PEM.
    pub ca_certificate: String,
    ca_key: String,
    _temporary: tempfile::TempDir,
}

/// One member of an [`EtcdRing`].
pub struct RingMember {
    /// Its name.
    pub name: String,
    /// Port on loopback for clients.
    pub port: u16,
    process: Process,
}

impl EtcdRing {
    /// Starts an etcd of so many members, named `m0`, `m1` and so on.
    ///
    /// # Errors
    /// When there is no binary or one does not start.
    pub fn start(count: usize) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("scute-etcd-").tempdir()?;
        let dir = temporary.path();
        let ca = authority(dir)?;
        let ports: Vec<_> =
            (0..count).map(|_| Ok((free_port()?, free_port()?))).collect::<Result<Vec<(u16, u16)>>>()?;
        let peers: Vec<_> = ports
            .iter()
            .enumerate()
            .map(|(index, (_, peer))| format!("m{index}=http://127.0.0.1:{peer}"))
            .collect();
        let mut members = Vec::new();
        for (index, (port, peer)) in ports.iter().enumerate() {
            let name = format!("m{index}");
            let arguments = arguments(dir, &name, &name, (*port, *peer), &peers.join(","));
            let process = Process::start(&kube_binary()?, &arguments, &dir.join(format!("{name}.log")))?;
            members.push(RingMember { name, port: *port, process });
        }
        Ok(Self { members, ca_certificate: ca.certificate, ca_key: ca.key, _temporary: temporary })
    }

    /// A client certificate, and its key, PEM.
    ///
    /// # Errors
    /// When it cannot be issued.
    pub fn client_certificate(&self, user: &str) -> Result<(String, String)> {
        certificates::Authority::load(&self.ca_certificate, &self.ca_key)?.issue(user, &[], false)
    }
}

impl RingMember {
    /// Kills its process.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}
