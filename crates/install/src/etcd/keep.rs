//! Certificates of the shared etcd, and its DataStore. In: Secrets, the time. Out: an authority that is made once, certificates
//! renewed in place, which etcd reads at each connection, and the DataStore `default`, unless it is a user's.

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use scute_api::kamaji::DataStore;
use scute_pki::{CA_VALIDITY, Ca, KeyAlgorithm, LeafRequest, Renewal, Sans, issue};

use super::{EtcdConfig, FORMED, NAME, SERVER_SECRET, seats};
use crate::kept::{self, Content, Kept, LEAF_DEADLINE, UpkeepError, api, events};
use crate::tenants_etcd::{self, CA_SECRET, CLIENT_SECRET};

/// On the DataStore that is made here.
const OURS: (&str, &str) = ("app.kubernetes.io/managed-by", "scute");

/// Keeps what the shared etcd needs.
pub struct EtcdKeeper {
    client: Client,
    namespace: String,
    config: EtcdConfig,
    authority: Kept,
    server: Kept,
    root: Kept,
}

impl EtcdKeeper {
    /// For the etcd in the manager's namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, config: EtcdConfig) -> Self {
        let secret = |name: &str| Kept::new(&client, namespace, name);
        let (authority, server, root) = (secret(CA_SECRET), secret(SERVER_SECRET), secret(CLIENT_SECRET));
        Self { namespace: namespace.to_owned(), config, authority, server, root, client }
    }

    /// Looks after it; does not return. `failed` hears what could not be done, which is tried again.
    pub async fn keep(self, now: impl Fn() -> Timestamp, failed: impl Fn(&UpkeepError)) {
        let secrets =
            [&self.authority, &self.server, &self.root].map(|secret| secret.changes().map(drop).boxed());
        let stores = events::<DataStore>(&self.client, watcher::Config::default());
        let changes = stream::select_all(secrets.into_iter().chain([stores]));
        kept::again_and_again(changes, || self.look_after(now()), failed).await;
    }

    /// One look.
    ///
    /// # Errors
    /// What could not be done.
    pub async fn look_after(&self, now: Timestamp) -> Result<(), UpkeepError> {
        let (server, root) = (self.server.content().await?, self.root.content().await?);
        let in_use = server.pair.is_some() || root.pair.is_some();
        let authority = self.authority(in_use, now).await?;
        let renewal = Renewal { now, deadline: LEAF_DEADLINE };
        let requests =
            [(&self.server, server, self.names()), (&self.root, root, LeafRequest::client("root", None))];
        for (secret, content, request) in requests {
            let ca = Some(authority.certificate_pem().to_owned());
            if renewal.check(content.pair.as_ref(), &request, &authority).is_some() || content.ca != ca {
                let pair = Some(issue(&request, &authority, now)?);
                secret.write(&Content { ca, ca_key: None, pair }).await?;
            }
        }
        self.data_store().await
    }

    /// The authority, made when there is none and nothing was ever signed. It also signs what tenants show.
    async fn authority(&self, in_use: bool, now: Timestamp) -> Result<Ca, UpkeepError> {
        let content = self.authority.content().await?;
        let why = match Renewal::at(now).check_ca(content.authority().as_ref()) {
            Ok(authority) => return Ok(authority),
            Err(why) => why,
        };
        if in_use || content.ca.is_some() || content.ca_key.is_some() {
            return Err(UpkeepError::Authority { secret: self.authority.name().to_owned(), why });
        }
        let made = Ca::generate("etcd-tenants-ca", CA_VALIDITY, KeyAlgorithm::EcdsaP256, now)?;
        let (ca, ca_key) = (made.certificate_pem().to_owned(), made.key_pem().to_owned());
        self.authority.write(&Content { ca: Some(ca), ca_key: Some(ca_key), pair: None }).await?;
        // Of two that made one, one has written it.
        let written = self.authority.content().await?;
        Renewal::at(now)
            .check_ca(written.authority().as_ref())
            .map_err(|why| UpkeepError::Authority { secret: self.authority.name().to_owned(), why })
    }

    /// Each member by its full names: etcd looks up those of a peer that calls, and can look up no wildcard.
    fn names(&self) -> LeafRequest {
        let hosts = seats(&self.config, &self.namespace).into_iter().flat_map(|seat| {
            let host = format!("{}.{NAME}.{}", seat.name, self.namespace);
            [format!("{host}.svc"), format!("{host}.svc.cluster.local")]
        });
        LeafRequest::peer(NAME, Sans::from_iter(hosts))
    }

    /// Makes the DataStore, tells it of more members, and notes that the etcd has been there.
    async fn data_store(&self) -> Result<(), UpkeepError> {
        let endpoints: Vec<_> =
            seats(&self.config, &self.namespace).into_iter().map(|seat| seat.client).collect();
        let mut wanted = tenants_etcd::datastore(&endpoints, &self.namespace);
        wanted["metadata"]["labels"][OURS.0] = OURS.1.into();
        let all: Api<DataStore> = Api::all(self.client.clone());
        let name = tenants_etcd::DATA_STORE;
        let found = all.get_opt(name).await.map_err(|source| api(format!("DataStore {name}"), source))?;
        match &found {
            Some(store) if store.labels().get(OURS.0).map(String::as_str) != Some(OURS.1) => {
                tracing::debug!(name, "the DataStore is a user's: it is left as it is");
                return Ok(());
            }
            Some(store) if store.spec.endpoints == endpoints => {}
            _ => crate::apply::apply(&self.client, wanted).await?,
        }
        let ready = found.and_then(|store| store.status).is_some_and(|status| status.ready);
        if ready && !self.server.holds(FORMED).await? {
            self.server.put(FORMED, "yes").await?;
        }
        Ok(())
    }
}
