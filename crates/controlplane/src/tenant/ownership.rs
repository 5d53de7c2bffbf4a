//! What in a DataStore is provably a tenant's own: what etcd's record says is its; without a record what is named after
//! its UID, or what its client certificate proves (`docs/adr/0013`). Nothing that a tenant can write counts.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::kamaji::TenantControlPlane;
use scute_etcd::{Claim, Error, Foreign, Tenant};
use scute_kit::Key;
use scute_pki::{Ca, Certificate, PrivateKey};

use crate::context::Context;
use crate::names::TenantSecret;
use crate::stores::Opened;

fn claim(tcp: &TenantControlPlane, certified: bool) -> Claim {
    Claim { uid: tcp.uid().unwrap_or_default(), name: Key::of(tcp).to_string(), certified }
}

/// Makes user, role and prefix, if both names are this tenant's.
///
/// # Errors
/// As the store says.
pub async fn ensure(
    tcp: &TenantControlPlane,
    tenant: &Tenant,
    opened: &Opened,
    context: &Context,
) -> Result<(), Error> {
    match opened.store.ensure(tenant, &claim(tcp, false)).await {
        Err(Error::Foreign(foreign))
            if can_be_proven(&foreign) && certified(tcp, tenant, opened, context).await =>
        {
            opened.store.ensure(tenant, &claim(tcp, true)).await
        }
        answer => answer,
    }
}

/// Removes what is this tenant's; answers what is left because it is not, or cannot be shown to be.
///
/// # Errors
/// As the store says.
pub async fn remove(
    tcp: &TenantControlPlane,
    tenant: &Tenant,
    opened: &Opened,
    context: &Context,
) -> Result<Vec<Foreign>, Error> {
    let foreign = opened.store.remove(tenant, &claim(tcp, false)).await?;
    if foreign.iter().any(can_be_proven) && certified(tcp, tenant, opened, context).await {
        return opened.store.remove(tenant, &claim(tcp, true)).await;
    }
    Ok(foreign)
}

/// Gives up the records and leaves the rest, for whoever holds the certificate.
///
/// # Errors
/// As the store says.
pub async fn release(tcp: &TenantControlPlane, tenant: &Tenant, opened: &Opened) -> Result<(), Error> {
    opened.store.release(tenant, &claim(tcp, false)).await
}

fn can_be_proven(foreign: &Foreign) -> bool {
    foreign.owner.is_none() && foreign.name != scute_etcd::ROOT
}

/// Whether the tenant holds a certificate of its user. One that cannot be read proves nothing.
async fn certified(tcp: &TenantControlPlane, tenant: &Tenant, opened: &Opened, context: &Context) -> bool {
    let name = TenantSecret::DataStoreCertificate.name(&tcp.name_any());
    let key = Key::new(tcp.namespace().unwrap_or_default(), name);
    let Ok(Some(secret)) = context.hub.get::<Secret>(&key).await else { return false };
    let data = secret.data.unwrap_or_default();
    let text = |key: &str| {
        let ByteString(bytes) = data.get(key)?;
        std::str::from_utf8(bytes).ok()
    };
    let (Some(certificate), Some(private)) = (text("server.crt"), text("server.key")) else { return false };
    proves(certificate, private, &tenant.user, &opened.ca)
}

/// Whether certificate and key are those of `user`, signed by the store's authority. Its end does not matter here.
fn proves(certificate: &str, key: &str, user: &str, ca: &Ca) -> bool {
    let (Ok(certificate), Ok(key)) = (Certificate::parse(certificate), PrivateKey::load(key)) else {
        return false;
    };
    certificate.common_name() == user
        && certificate.has_key(&key)
        && certificate.is_signed_by(ca.certificate())
}

/// What was left behind, in one sentence.
pub fn left(datastore: &str, foreign: &[Foreign]) -> String {
    let said: Vec<_> = foreign.iter().map(ToString::to_string).collect();
    format!("left in DataStore {datastore} because it is not this tenant's: {}", said.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::fixture::{NOW, STORE_CA};
    use scute_pki::{CA_VALIDITY, KeyAlgorithm, LeafRequest, issue};

    #[test]
    fn only_the_stores_own_signature_for_that_user_proves_it() {
        let other = Ca::generate("etcd-ca", CA_VALIDITY, KeyAlgorithm::EcdsaP256, NOW).expect("a CA");
        let (mine, forged) = (
            issue(&LeafRequest::client("u", None), &STORE_CA, NOW).expect("issued"),
            issue(&LeafRequest::client("u", None), &other, NOW).expect("issued"),
        );
        let theirs = issue(&LeafRequest::client("v", None), &STORE_CA, NOW).expect("issued");
        let proves = |certificate: &str, key: &str| proves(certificate, key, "u", &STORE_CA);
        assert!(proves(&mine.certificate_pem, &mine.key_pem));
        assert!(!proves(&forged.certificate_pem, &forged.key_pem), "an authority of the same name");
        assert!(!proves(&theirs.certificate_pem, &theirs.key_pem), "another user");
        assert!(!proves(&mine.certificate_pem, &theirs.key_pem), "a certificate is public, its key is not");
        assert!(!proves("", ""));
    }
}
