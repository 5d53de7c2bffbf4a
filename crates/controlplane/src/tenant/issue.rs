//! Making what an assessment asks for: keys in parallel, off the async threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;
use scute_pki::{
    CA_VALIDITY, Ca, ClientIdentity, Error, KeyAlgorithm, KeyPairPem, Kubeconfig, PrivateKey,
    ServiceAccountKeys, issue_with_key,
};
use tokio::sync::{Notify, Semaphore};

use super::certificates::{Assessment, Data, Issuer, Needs, leaves, store_config, users};
use crate::names::Piece;

/// Where keys are made: as many at a time as there are processors, however many tenants ask, and a stock for the next
/// tenant, made while nobody asks.
pub struct Workshop {
    places: Arc<Semaphore>,
    stock: Mutex<Vec<PrivateKey>>,
    taken: Notify,
}

/// Keys of one tenant: two authorities, service accounts, four certificates, four users.
const STOCK: usize = 11;
/// The stock is filled after nobody has asked for this long: those who wait come first.
const QUIET: Duration = Duration::from_secs(2);

impl Default for Workshop {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { places: Arc::new(Semaphore::new(processors)), stock: Mutex::default(), taken: Notify::new() }
    }
}

/// A piece of work that needs one key.
type Job<T> = Box<dyn FnOnce(PrivateKey) -> Result<T, Error> + Send>;

impl Workshop {
    /// Keeps the stock; never returns.
    pub async fn keep_stock(self: Arc<Self>) {
        loop {
            while tokio::time::timeout(QUIET, self.taken.notified()).await.is_ok() {}
            while self.shelf().len() < STOCK {
                match self.work(None, Box::new(Ok)).await {
                    Ok(key) => self.shelf().push(key),
                    Err(error) => {
                        tracing::warn!(%error, "no key for the stock");
                        break;
                    }
                }
            }
            self.taken.notified().await;
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Vec<PrivateKey>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one job with a key from the stock, or with one made for it.
    async fn work<T: Send + 'static>(&self, key: Option<PrivateKey>, job: Job<T>) -> Result<T, Error> {
        // The semaphore is never closed; without a place the job would only be less patient.
        let _place = self.places.acquire().await;
        let work = move || job(key.map_or_else(|| PrivateKey::generate(KeyAlgorithm::default()), Ok)?);
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::Generate)?
    }

    /// Does the jobs and gives their results in their order.
    async fn all<T: Send + 'static>(&self, jobs: Vec<Job<T>>) -> Result<Vec<T>, Error> {
        let work = jobs.into_iter().map(|job| {
            let key = self.shelf().pop();
            self.taken.notify_one();
            self.work(key, job)
        });
        try_join_all(work).await
    }
}

/// Makes every piece that the assessment names. Authorities first, for the others need their signature.
///
/// # Errors
/// When a key or certificate cannot be made.
pub async fn make(
    workshop: &Workshop,
    assessment: Assessment,
    needs: &Needs,
    now: Timestamp,
) -> Result<BTreeMap<Piece, Data>, Error> {
    let Assessment { ca, front_proxy, make, due: _ } = assessment;
    let mut made: BTreeMap<Piece, Data> = BTreeMap::new();
    let mut jobs: Vec<Job<Root>> = Vec::new();
    let kept = [(ca, Piece::Ca, "kubernetes"), (front_proxy, Piece::FrontProxyCa, "front-proxy-ca")];
    let mut authorities = BTreeMap::new();
    for (ca, piece, name) in kept {
        match ca {
            Some(ca) => _ = authorities.insert(piece, Arc::new(ca)),
            None => jobs.push(Box::new(move |key| {
                let ca = Ca::with_key(name, CA_VALIDITY, key, now)?;
                Ok(Root::Ca(piece, Arc::new(ca)))
            })),
        }
    }
    if make.contains_key(&Piece::ServiceAccount) {
        jobs.push(Box::new(|key| Ok(Root::Keys(ServiceAccountKeys::load(key.pem())?))));
    }
    for root in workshop.all(jobs).await? {
        match root {
            Root::Ca(piece, ca) => {
                made.insert(piece, authority_data(piece, &ca));
                authorities.insert(piece, ca);
            }
            Root::Keys(keys) => _ = made.insert(Piece::ServiceAccount, service_account_data(keys)),
        }
    }
    let (Some(ca), Some(front_proxy)) = (authorities.get(&Piece::Ca), authorities.get(&Piece::FrontProxyCa))
    else {
        return Err(Error::Generate);
    };
    let jobs = leaf_jobs(needs, &make, ca, front_proxy, now);
    for (piece, data) in workshop.all(jobs).await? {
        made.entry(piece).or_default().extend(data);
    }
    if make.contains_key(&Piece::DataStoreConfig) {
        made.insert(Piece::DataStoreConfig, store_config(needs));
    }
    Ok(made)
}

enum Root {
    Ca(Piece, Arc<Ca>),
    Keys(ServiceAccountKeys),
}

fn leaf_jobs(
    needs: &Needs,
    make: &BTreeMap<Piece, super::certificates::Reason>,
    ca: &Arc<Ca>,
    front_proxy: &Arc<Ca>,
    now: Timestamp,
) -> Vec<Job<(Piece, Data)>> {
    let mut jobs: Vec<Job<(Piece, Data)>> = Vec::new();
    for leaf in leaves(needs).into_iter().filter(|leaf| make.contains_key(&leaf.piece)) {
        let signer = Arc::clone(match leaf.issuer {
            Issuer::Tenant => ca,
            Issuer::FrontProxy => front_proxy,
            Issuer::DataStore => &needs.store_ca,
        });
        jobs.push(Box::new(move |key| {
            let pair = issue_with_key(&leaf.request, key, &signer, now)?;
            let mut data = pair_data(leaf.file, pair);
            if leaf.issuer == Issuer::DataStore {
                data.insert("ca.crt".to_owned(), signer.certificate_pem().to_owned());
            }
            Ok((leaf.piece, data))
        }));
    }
    for user in users(needs).into_iter().filter(|user| make.contains_key(&user.piece)) {
        let (signer, cluster) = (Arc::clone(ca), needs.name.clone());
        jobs.push(Box::new(move |key| {
            let pair = issue_with_key(&user.request, key, &signer, now)?;
            let mut data = Data::new();
            for (file, server) in user.files {
                let kubeconfig = Kubeconfig {
                    cluster: cluster.clone(),
                    server,
                    ca_pem: signer.certificate_pem().to_owned(),
                    user: user.name.to_owned(),
                    identity: ClientIdentity::Certificate(pair.clone()),
                };
                data.insert(file.to_owned(), kubeconfig.render()?);
            }
            Ok((user.piece, data))
        }));
    }
    jobs
}

/// What the Secret of an authority holds. That of the tenant also has the keys that Cluster API reads.
pub fn authority_data(piece: Piece, ca: &Ca) -> Data {
    let pair =
        || KeyPairPem { certificate_pem: ca.certificate_pem().to_owned(), key_pem: ca.key_pem().to_owned() };
    match piece {
        Piece::Ca => pair_data("ca", pair()).into_iter().chain(pair_data("tls", pair())).collect(),
        _ => pair_data("front-proxy-ca", pair()),
    }
}

fn service_account_data(keys: ServiceAccountKeys) -> Data {
    BTreeMap::from([("sa.pub".to_owned(), keys.public_pem), ("sa.key".to_owned(), keys.private_pem)])
}

fn pair_data(file: &str, pair: KeyPairPem) -> Data {
    BTreeMap::from([(format!("{file}.crt"), pair.certificate_pem), (format!("{file}.key"), pair.key_pem)])
}
