//! Making what an assessment asks for. Keys are ECDSA on P-256: a tenant needs eleven, and RSA takes a tenth of a second
//! of CPU for each (`docs/adr/0007`).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use scute_pki::{
    CA_VALIDITY, Ca, ClientIdentity, Error, KeyAlgorithm, KeyPairPem, Kubeconfig, LeafRequest,
    ServiceAccountKeys, issue,
};

use super::certificates::{Assessment, Data, Issuer, Needs, leaves, store_config, users};
use crate::names::TenantSecret;

const ALGORITHM: KeyAlgorithm = KeyAlgorithm::EcdsaP256;

/// Makes every Secret that the assessment names. Authorities first, for the others need their signature.
///
/// # Errors
/// When a key or certificate cannot be made.
pub fn make(
    assessment: Assessment,
    needs: &Needs,
    now: Timestamp,
) -> Result<BTreeMap<TenantSecret, Data>, Error> {
    let Assessment { ca, front_proxy, make, unusable: _, ending: _, due: _ } = assessment;
    let mut made: BTreeMap<TenantSecret, Data> = BTreeMap::new();
    let mut authority = |kept: Option<Ca>, which, name| match kept {
        Some(ca) => Ok(Arc::new(ca)),
        None => {
            let ca = Ca::generate(name, CA_VALIDITY, ALGORITHM, now)?;
            made.insert(which, authority_data(which, &ca));
            Ok(Arc::new(ca))
        }
    };
    let ca = authority(ca, TenantSecret::Ca, "kubernetes")?;
    let front_proxy = authority(front_proxy, TenantSecret::FrontProxyCa, "front-proxy-ca")?;
    if make.contains_key(&TenantSecret::ServiceAccount) {
        made.insert(
            TenantSecret::ServiceAccount,
            service_account_data(ServiceAccountKeys::generate(ALGORITHM)?),
        );
    }
    for leaf in leaves(needs).into_iter().filter(|leaf| make.contains_key(&leaf.secret)) {
        let signer = match leaf.issuer {
            Issuer::Tenant => &ca,
            Issuer::FrontProxy => &front_proxy,
            Issuer::DataStore => &needs.store_ca,
        };
        let data = made.entry(leaf.secret).or_default();
        data.extend(pair_data(leaf.file, signed(&leaf.request, signer, now)?));
        if leaf.issuer == Issuer::DataStore {
            data.insert("ca.crt".to_owned(), signer.certificate_pem().to_owned());
        }
    }
    for user in users(needs).into_iter().filter(|user| make.contains_key(&user.secret)) {
        let pair = signed(&user.request, &ca, now)?;
        for (file, server) in user.files {
            let kubeconfig = Kubeconfig {
                cluster: needs.name.clone(),
                server,
                tls_server_name: None,
                ca_pem: ca.certificate_pem().to_owned(),
                user: user.name.to_owned(),
                identity: ClientIdentity::Certificate(pair.clone()),
            };
            made.entry(user.secret).or_default().insert(file.to_owned(), kubeconfig.render()?);
        }
    }
    if make.contains_key(&TenantSecret::DataStoreConfig) {
        made.insert(TenantSecret::DataStoreConfig, store_config(needs));
    }
    Ok(made)
}

fn signed(request: &LeafRequest, signer: &Ca, now: Timestamp) -> Result<KeyPairPem, Error> {
    issue(&LeafRequest { algorithm: ALGORITHM, ..request.clone() }, signer, now)
}

/// What the Secret of an authority holds. That of the tenant also has the keys that Cluster API reads.
pub fn authority_data(which: TenantSecret, ca: &Ca) -> Data {
    let pair =
        || KeyPairPem { certificate_pem: ca.certificate_pem().to_owned(), key_pem: ca.key_pem().to_owned() };
    match which {
        TenantSecret::Ca => pair_data("ca", pair()).into_iter().chain(pair_data("tls", pair())).collect(),
        _ => pair_data("front-proxy-ca", pair()),
    }
}

fn service_account_data(keys: ServiceAccountKeys) -> Data {
    BTreeMap::from([("sa.pub".to_owned(), keys.public_pem), ("sa.key".to_owned(), keys.private_pem)])
}

fn pair_data(file: &str, pair: KeyPairPem) -> Data {
    BTreeMap::from([(format!("{file}.crt"), pair.certificate_pem), (format!("{file}.key"), pair.key_pem)])
}
