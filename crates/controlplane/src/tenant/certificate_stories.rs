//! What becomes of keys and certificates, told as stories: what is found, what is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scute_pki::{CA_VALIDITY, Ca, KeyAlgorithm, Renewal};
use serde_json::json;

use super::certificates::{Found, Needs, assess};
use super::fixture::{NOW, needs, tcp};
use super::issue::make;
use crate::names::TenantSecret;

/// Makes what is asked for, and gives what the Secrets hold afterwards.
async fn made(found: BTreeMap<TenantSecret, Found>, needs: &Needs) -> BTreeMap<TenantSecret, Found> {
    let assessed = assess(&found, needs, Renewal::at(NOW));
    let made = make(assessed, needs, NOW).expect("made");
    let mut all = found;
    all.extend(made.into_iter().map(|(which, data)| (which, Found { data, rotate: false })));
    all
}

fn to_make(found: &BTreeMap<TenantSecret, Found>, needs: &Needs) -> BTreeSet<TenantSecret> {
    assess(found, needs, Renewal::at(NOW)).make.into_keys().collect()
}

#[tokio::test]
async fn certificates_are_made_once_and_again_only_where_something_changed() {
    let first = needs(&tcp(json!({})));
    let nothing = BTreeMap::new();
    assert_eq!(to_make(&nothing, &first), TenantSecret::ALL.into_iter().collect());
    let all = made(nothing, &first).await;
    assert_eq!(to_make(&all, &first), BTreeSet::new(), "what was made can stay");

    let more = needs(&tcp(json!({ "spec": { "networkProfile": { "certSANs": ["api.example.com"] } } })));
    assert_eq!(to_make(&all, &more), BTreeSet::from([TenantSecret::ApiServer]), "one more name");
    let with_name = made(all.clone(), &more).await;
    assert_eq!(
        to_make(&with_name, &first),
        BTreeSet::from([TenantSecret::ApiServer]),
        "one name less, as well"
    );

    let mut moved = first.clone();
    moved.server = "https://172.30.0.200:6443".to_owned();
    assert_eq!(to_make(&all, &moved), BTreeSet::from([TenantSecret::Admin]), "another address");

    let mut other_store = first.clone();
    let ca = Ca::generate("other", CA_VALIDITY, KeyAlgorithm::EcdsaP256, NOW).expect("a CA");
    other_store.store_ca = Arc::new(ca);
    let store = BTreeSet::from([TenantSecret::DataStoreCertificate]);
    assert_eq!(to_make(&all, &other_store), store, "the DataStore has another authority");

    let mut lost = all.clone();
    lost.remove(&TenantSecret::Scheduler);
    assert_eq!(to_make(&lost, &first), BTreeSet::from([TenantSecret::Scheduler]), "a Secret was deleted");

    let mut asked = all.clone();
    asked.entry(TenantSecret::KubeletClient).or_default().rotate = true;
    assert_eq!(to_make(&asked, &first), BTreeSet::from([TenantSecret::KubeletClient]), "somebody asked");

    let mut rotated = all.clone();
    rotated.entry(TenantSecret::Ca).or_default().rotate = true;
    let signed = [
        TenantSecret::Ca,
        TenantSecret::ApiServer,
        TenantSecret::KubeletClient,
        TenantSecret::Admin,
        TenantSecret::ControllerManager,
        TenantSecret::Scheduler,
    ];
    assert_eq!(
        to_make(&rotated, &first),
        signed.into_iter().collect(),
        "a new authority signs all of its own"
    );

    let in_a_year = Renewal::at(NOW + jiff::SignedDuration::from_hours(365 * 24 - 23));
    let expiring: BTreeSet<_> = assess(&all, &first, in_a_year).make.into_keys().collect();
    assert!(expiring.contains(&TenantSecret::ApiServer) && expiring.contains(&TenantSecret::Admin));
    assert!(!expiring.contains(&TenantSecret::Ca), "an authority lives for ten years");
}

#[tokio::test]
async fn an_authority_of_the_users_own_is_adopted() {
    let needs = needs(&tcp(json!({})));
    let own = Ca::generate("my-ca", CA_VALIDITY, KeyAlgorithm::EcdsaP256, NOW).expect("a CA");
    for (certificate, key) in [("ca.crt", "ca.key"), ("tls.crt", "tls.key")] {
        let data = BTreeMap::from([
            (certificate.to_owned(), own.certificate_pem().to_owned()),
            (key.to_owned(), own.key_pem().to_owned()),
        ]);
        let found = BTreeMap::from([(TenantSecret::Ca, Found { data, rotate: false })]);
        assert!(!to_make(&found, &needs).contains(&TenantSecret::Ca), "{certificate}");
        let all = made(found, &needs).await;
        let admin = &all[&TenantSecret::Admin].data["admin.conf"];
        let trusted = scute_pki::Kubeconfig::parse(admin).expect("a kubeconfig").ca_pem;
        assert_eq!(trusted.trim(), own.certificate_pem().trim());
    }
}

/// Warned of for months, kept to its end, and never exchanged unasked.
#[tokio::test]
async fn an_authority_that_ends_is_told_in_time_and_not_replaced() {
    let needs = needs(&tcp(json!({})));
    let days = |days: i64| jiff::SignedDuration::from_hours(24 * days);
    let life = std::time::Duration::from_secs(365 * 24 * 3600);
    let own = Ca::generate("mine", life, KeyAlgorithm::EcdsaP256, NOW).expect("a CA");
    let data = super::issue::authority_data(TenantSecret::Ca, &own);
    let all = made(BTreeMap::from([(TenantSecret::Ca, Found { data, rotate: false })]), &needs).await;
    let at = |day| assess(&all, &needs, Renewal::at(NOW + days(day)));
    assert!(
        at(100).ending.is_empty() && at(100).due.is_some_and(|due| due <= NOW + days(185)),
        "looked at in time"
    );
    let warned = at(200);
    assert_eq!(warned.ending, [(TenantSecret::Ca, NOW + days(365))]);
    assert!(!warned.make.contains_key(&TenantSecret::Ca));
    // Its leaves end with it: renewing them on its last day would not help, and neither would looking every second.
    let last = assess(&all, &needs, Renewal::at(NOW + days(364) + jiff::SignedDuration::from_hours(12)));
    let others = BTreeSet::from([TenantSecret::FrontProxyClient, TenantSecret::DataStoreCertificate]);
    assert_eq!((last.make.into_keys().collect(), last.due), (others, Some(NOW + days(365))));
    let ended = at(366);
    assert!(
        ended
            .unusable
            .iter()
            .any(|(which, flaw)| *which == TenantSecret::Ca && flaw.to_string().contains("ended"))
    );
    assert!(!ended.make.contains_key(&TenantSecret::Ca));
}

/// Half a Secret, one with bytes that are no text, or keys of another pair: all may be somebody's only copy.
#[test]
fn keys_that_are_there_are_not_missing() {
    let needs = needs(&tcp(json!({})));
    let flaw = |which, data: &[(&str, &str)]| {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let found = BTreeMap::from([(which, Found { data, rotate: false })]);
        let assessed = assess(&found, &needs, Renewal::at(NOW));
        assert!(!assessed.make.contains_key(&which), "{which:?}");
        assessed.unusable.iter().map(|(_, flaw)| flaw.to_string()).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(flaw(TenantSecret::Ca, &[("ca.key", "x")]), "there is no key \"ca.crt\"");
    assert!(
        flaw(TenantSecret::FrontProxyCa, &[("front-proxy-ca.crt", "\u{fffd}"), ("front-proxy-ca.key", "x")])
            .contains("certificate")
    );
    assert_eq!(flaw(TenantSecret::ServiceAccount, &[("sa.key", "x")]), "there is no key \"sa.pub\"");
    assert!(flaw(TenantSecret::ServiceAccount, &[("sa.key", "x"), ("sa.pub", "y")]).contains("private key"));
    let empty = BTreeMap::from([(TenantSecret::Ca, Found::default())]);
    assert!(
        assess(&empty, &needs, Renewal::at(NOW)).make.contains_key(&TenantSecret::Ca),
        "nothing in it is nobody's"
    );
}
