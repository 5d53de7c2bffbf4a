//! Making what an assessment asks for: keys in parallel, off the async threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use scute_pki::{
    CA_VALIDITY, Ca, ClientIdentity, Error, KeyAlgorithm, KeyPairPem, Kubeconfig, ServiceAccountKeys, issue,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::certificates::{Assessment, Data, Issuer, Needs, leaves, store_config, users};
use crate::names::Piece;

/// Where keys are made: as many at a time as there are processors, however many tenants ask.
pub struct Workshop {
    places: Arc<Semaphore>,
}

impl Default for Workshop {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { places: Arc::new(Semaphore::new(processors)) }
    }
}

type Job<T> = Box<dyn FnOnce() -> Result<T, Error> + Send>;

impl Workshop {
    /// Does the jobs and gives their results in any order.
    async fn all<T: Send + 'static>(&self, jobs: Vec<Job<T>>) -> Result<Vec<T>, Error> {
        let mut running = JoinSet::new();
        for job in jobs {
            let places = Arc::clone(&self.places);
            running.spawn(async move {
                // The semaphore is never closed; without a place the job would only be less patient.
                let _place = places.acquire_owned().await;
                tokio::task::spawn_blocking(job).await.map_err(|_| Error::Generate)?
            });
        }
        let mut results = Vec::new();
        while let Some(result) = running.join_next().await {
            results.push(result.map_err(|_| Error::Generate)??);
        }
        Ok(results)
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
            None => jobs.push(Box::new(move || {
                let ca = Ca::generate(name, CA_VALIDITY, KeyAlgorithm::default(), now)?;
                Ok(Root::Ca(piece, Arc::new(ca)))
            })),
        }
    }
    if make.contains_key(&Piece::ServiceAccount) {
        jobs.push(Box::new(|| Ok(Root::Keys(ServiceAccountKeys::generate(KeyAlgorithm::default())?))));
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
        jobs.push(Box::new(move || {
            let pair = issue(&leaf.request, &signer, now)?;
            let mut data = pair_data(leaf.file, pair);
            if leaf.issuer == Issuer::DataStore {
                data.insert("ca.crt".to_owned(), signer.certificate_pem().to_owned());
            }
            Ok((leaf.piece, data))
        }));
    }
    for user in users(needs).into_iter().filter(|user| make.contains_key(&user.piece)) {
        let (signer, cluster) = (Arc::clone(ca), needs.name.clone());
        jobs.push(Box::new(move || {
            let pair = issue(&user.request, &signer, now)?;
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
