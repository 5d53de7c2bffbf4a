//! Authorities and the keys of service accounts: made where there are none, kept where they can sign, and never replaced
//! unasked where they cannot.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use scute_pki::{Ca, Flaw, KeyPairPem, Renewal, ServiceAccountKeys, Stale};

use super::certificates::{Assessment, Data, Found, Reason};
use crate::names::TenantSecret;

/// How long before its end an authority is warned of: a new one means that every Node joins again.
const WARNING: Duration = Duration::from_secs(180 * 24 * 3600);

/// The authority in a Secret, if there is one that can sign; otherwise it is put among what to make or what is unusable.
pub fn authority(
    made: &mut Assessment,
    found: &BTreeMap<TenantSecret, Found>,
    which: TenantSecret,
    file: &str,
    renewal: Renewal,
) -> Option<Ca> {
    let found = found.get(&which);
    if found.is_some_and(|found| found.rotate) {
        made.make.insert(which, Reason::Asked);
        return None;
    }
    let Some(data) = found.map(|found| &found.data).filter(|data| !data.is_empty()) else {
        made.make.insert(which, Reason::Stale(Stale::Missing));
        return None;
    };
    let Some(pair) = pair(data, file) else {
        made.unusable
            .push((which, Flaw::Lacks(lacks(data, &[&format!("{file}.crt"), &format!("{file}.key")]))));
        return None;
    };
    match renewal.check_ca(Some(&pair)) {
        Ok(ca) => {
            watch_end(made, which, &ca, renewal);
            Some(ca)
        }
        Err(Stale::Unusable(flaw)) => {
            made.unusable.push((which, flaw));
            None
        }
        Err(stale) => {
            made.make.insert(which, Reason::Stale(stale));
            None
        }
    }
}

/// The first of two keys that a Secret has not.
fn lacks(data: &Data, keys: &[&str]) -> String {
    keys.iter().find(|key| !data.contains_key(**key)).map(|key| format!("key {key:?}")).unwrap_or_default()
}

/// Why the keys of service account tokens cannot stay.
pub fn service_account(found: &BTreeMap<TenantSecret, Found>) -> Option<Reason> {
    let found =
        found.get(&TenantSecret::ServiceAccount).filter(|found| found.rotate || !found.data.is_empty());
    let Some(found) = found else { return Some(Reason::Stale(Stale::Missing)) };
    if found.rotate {
        return Some(Reason::Asked);
    }
    let unusable = |flaw| Some(Reason::Stale(Stale::Unusable(flaw)));
    let (Some(public), Some(private)) = (found.data.get("sa.pub"), found.data.get("sa.key")) else {
        return unusable(Flaw::Lacks(lacks(&found.data, &["sa.pub", "sa.key"])));
    };
    match scute_pki::PrivateKey::load(private) {
        Err(error) => unusable(error.into()),
        Ok(_) => {
            let keys = ServiceAccountKeys { public_pem: public.clone(), private_pem: private.clone() };
            if keys.is_valid() { None } else { unusable(Flaw::KeyMismatch) }
        }
    }
}

/// `<file>.crt` and `<file>.key`; of an authority also `tls.crt` and `tls.key`, as Cluster API calls them.
pub fn pair(data: &Data, file: &str) -> Option<KeyPairPem> {
    let get = |file: &str| {
        let (certificate, key) = (data.get(&format!("{file}.crt"))?, data.get(&format!("{file}.key"))?);
        Some(KeyPairPem { certificate_pem: certificate.clone(), key_pem: key.clone() })
    };
    get(file).or_else(|| (file == "ca").then(|| get("tls")).flatten())
}

/// An authority signs until its end, and its owner hears of it long before.
fn watch_end(made: &mut Assessment, which: TenantSecret, ca: &Ca, renewal: Renewal) {
    let end = ca.certificate().not_after();
    let warn = end.checked_sub(WARNING).unwrap_or(Timestamp::MIN);
    let due = if warn <= renewal.now {
        made.ending.push((which, end));
        end
    } else {
        warn
    };
    made.due = Some(made.due.map_or(due, |known| known.min(due)));
}
