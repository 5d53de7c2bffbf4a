//! What may stay, what must be replaced, and that nothing secret is shown.

use jiff::{Timestamp, ToSpan};
use scute_pki::{
    BootstrapToken, CA_VALIDITY, Ca, Certificate, ClientIdentity, Error, Flaw, KeyAlgorithm, KeyPairPem,
    Kubeconfig, LEAF_VALIDITY, LeafRequest, PrivateKey, Renewal, Sans, ServiceAccountKeys, Stale, Usage,
    issue, system_random,
};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn start() -> Timestamp {
    "2026-11-23T00:00:00Z".parse().unwrap()
}

fn ca(name: &str) -> Ca {
    Ca::generate(name, CA_VALIDITY, KeyAlgorithm::EcdsaP256, start()).unwrap()
}

fn server() -> LeafRequest {
    let sans: Sans = ["localhost", "127.0.0.1"].iter().collect();
    LeafRequest { algorithm: KeyAlgorithm::EcdsaP256, ..LeafRequest::server("kube-apiserver", sans) }
}

fn client() -> LeafRequest {
    LeafRequest { algorithm: KeyAlgorithm::EcdsaP256, ..LeafRequest::client("system:kube-scheduler", None) }
}

#[test]
fn a_certificate_says_what_was_asked_for() {
    let ca = ca("kubernetes");
    let pair = issue(&server(), &ca, start()).unwrap();
    let certificate = Certificate::parse(&pair.certificate_pem).unwrap();
    assert_eq!(certificate.common_name(), "kube-apiserver");
    assert_eq!(certificate.sans(), &server().sans);
    assert_eq!(certificate.usages().iter().collect::<Vec<_>>(), [&Usage::Server]);
    assert_eq!(certificate.not_before(), start() - 5.minutes());
    assert_eq!(certificate.not_after(), start() + LEAF_VALIDITY);
    assert!(!certificate.is_ca() && ca.certificate().is_ca());
    assert!(certificate.has_key(&PrivateKey::load(&pair.key_pem).unwrap()));
    assert!(certificate.is_signed_by(ca.certificate()));
}

#[test]
fn what_fits_stays_until_the_deadline() {
    let ca = ca("kubernetes");
    let pair = issue(&server(), &ca, start()).unwrap();
    let end = start() + LEAF_VALIDITY;
    let check = |now| Renewal::at(now).check(Some(&pair), &server(), &ca);
    assert_eq!(check(start()), None);
    assert_eq!(check(end - DAY), None, "at the deadline itself it may still stay");
    assert_eq!(check(end - DAY + 1.second()), Some(Stale::Expiring { not_after: end }));
    let due = Renewal::at(start()).due(&Certificate::parse(&pair.certificate_pem).unwrap());
    assert_eq!(due, end - DAY);
}

#[test]
fn every_reason_is_found_and_named() {
    let (ours, theirs) = (ca("kubernetes"), ca("kubernetes"));
    let pair = issue(&server(), &ours, start()).unwrap();
    let second = issue(&server(), &ours, start()).unwrap();
    let rule = Renewal::at(start());
    let broken = |certificate: &str, key: &str| KeyPairPem {
        certificate_pem: certificate.into(),
        key_pem: key.into(),
    };
    let check = |pair: &KeyPairPem, request: &LeafRequest| rule.check(Some(pair), request, &ours);

    assert_eq!(rule.check(None, &server(), &ours), Some(Stale::Missing));
    assert_eq!(check(&broken("", &pair.key_pem), &server()), Some(Stale::Unreadable));
    assert_eq!(check(&broken(&pair.certificate_pem, "junk"), &server()), Some(Stale::Unreadable));
    assert_eq!(check(&broken(&pair.certificate_pem, &second.key_pem), &server()), Some(Stale::KeyMismatch));
    assert_eq!(rule.check(Some(&pair), &server(), &theirs), Some(Stale::OtherAuthority));
    let more: Sans = ["localhost", "127.0.0.1", "10.0.0.1"].iter().collect();
    let missing = Some(Stale::MissingName("10.0.0.1".into()));
    assert_eq!(check(&pair, &LeafRequest { sans: more, ..server() }), missing);
    let fewer: Sans = ["localhost"].iter().collect();
    let extra = Some(Stale::ExtraName("127.0.0.1".into()));
    assert_eq!(check(&pair, &LeafRequest { sans: fewer, ..server() }), extra, "a name was taken back");
    assert_eq!(check(&pair, &LeafRequest { common_name: "x".into(), ..server() }), Some(Stale::OtherSubject));
    let both = [Usage::Client, Usage::Server].into();
    assert_eq!(check(&pair, &LeafRequest { usages: both, ..server() }), Some(Stale::OtherSubject));
}

#[test]
fn a_leaf_cut_at_its_authoritys_end_is_not_renewed_in_a_loop() {
    let day = Ca::generate("short", DAY / 2, KeyAlgorithm::EcdsaP256, start()).unwrap();
    let pair = issue(&server(), &day, start()).unwrap();
    assert_eq!(Renewal::at(start()).check(Some(&pair), &server(), &day), None);
    let later = Renewal::at(start() + DAY).check(Some(&pair), &server(), &day);
    assert!(matches!(later, Some(Stale::Expiring { .. })), "an ended one is never kept");
}

#[test]
fn authorities_are_checked_when_loaded() {
    let (ca, other) = (ca("kubernetes"), ca("other"));
    let leaf = issue(&server(), &ca, start()).unwrap();
    let load = |certificate: &str, key: &str| Ca::load(certificate, key).unwrap_err();
    assert!(matches!(load(&leaf.certificate_pem, &leaf.key_pem), Error::NotAnAuthority { .. }));
    assert!(matches!(load(ca.certificate_pem(), other.key_pem()), Error::KeyMismatch { .. }));
    assert!(matches!(load("junk", ca.key_pem()), Error::ReadCertificate));
    assert!(matches!(load(ca.certificate_pem(), "junk"), Error::ReadKey));
    let pair = KeyPairPem { certificate_pem: ca.certificate_pem().into(), key_pem: ca.key_pem().into() };
    assert!(Renewal::at(start()).check_ca(Some(&pair)).is_ok());
    let end = start() + CA_VALIDITY;
    assert!(Renewal::at(end - DAY / 2).check_ca(Some(&pair)).is_ok(), "one that ends soon signs on");
    let ended = Stale::Unusable(Flaw::Ended { not_after: end });
    assert_eq!(Renewal::at(end).check_ca(Some(&pair)).unwrap_err(), ended);
    assert!(matches!(Renewal::at(start()).check_ca(None), Err(Stale::Missing)));
}

#[test]
fn every_flaw_of_an_authority_has_its_name() {
    let (ca, other) = (ca("kubernetes"), ca("other"));
    let leaf = issue(&server(), &ca, start()).unwrap();
    let flaw = |certificate: &str, key: &str| {
        let pair = KeyPairPem { certificate_pem: certificate.into(), key_pem: key.into() };
        match Renewal::at(start()).check_ca(Some(&pair)) {
            Err(Stale::Unusable(flaw)) => flaw,
            other => panic!("{other:?}"),
        }
    };
    // A DSA key's outer form: well-formed DER, and nothing that can sign here.
    let dsa = "-----BEGIN PRIVATE KEY-----\nMBMCAQAwCQYHKoZIzjgEAQQDAgEB\n-----END PRIVATE KEY-----\n";
    let old_style = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let pkcs8 = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_eq!(flaw("junk", ca.key_pem()), Flaw::Certificate);
    assert_eq!(flaw(ca.certificate_pem(), "junk"), Flaw::Key);
    assert_eq!(flaw(ca.certificate_pem(), dsa), Flaw::UnsupportedKey);
    assert_eq!(flaw(ca.certificate_pem(), old_style), Flaw::EncryptedKey);
    assert_eq!(flaw(ca.certificate_pem(), pkcs8), Flaw::EncryptedKey);
    assert_eq!(flaw(ca.certificate_pem(), other.key_pem()), Flaw::KeyMismatch);
    assert_eq!(flaw(&leaf.certificate_pem, &leaf.key_pem), Flaw::NotAnAuthority);
}

#[test]
fn kubeconfigs_are_read_back_and_judged() {
    let ca = ca("kubernetes");
    let write = |server: &str, now| {
        let config = Kubeconfig {
            cluster: "first-tenant".into(),
            server: server.into(),
            tls_server_name: None,
            ca_pem: ca.certificate_pem().into(),
            user: "system:kube-scheduler".into(),
            identity: ClientIdentity::Certificate(issue(&client(), &ca, now).unwrap()),
        };
        let text = config.render().unwrap();
        assert_eq!(Kubeconfig::parse(&text).unwrap(), config);
        assert_eq!(config.render().unwrap(), text, "always the same text");
        text
    };
    let here = "https://127.0.0.1:6443";
    let text = write(here, start());
    assert!(text.contains("current-context: system:kube-scheduler@first-tenant\n"), "{text}");
    let check = |text: &str, server: &str, request: &LeafRequest, now| {
        Renewal::at(now).check_kubeconfig(Some(text), server, request, &ca)
    };
    assert_eq!(check(&text, here, &client(), start()), None);
    assert_eq!(check(&text, "https://10.0.0.1:6443", &client(), start()), Some(Stale::OtherEndpoint));
    assert_eq!(check(&text, here, &server(), start()), Some(Stale::OtherSubject));
    assert_eq!(check("kind: Config", here, &client(), start()), Some(Stale::Unreadable));
    let late = check(&text, here, &client(), start() + LEAF_VALIDITY);
    assert!(matches!(late, Some(Stale::Expiring { .. })));
    assert_eq!(Renewal::at(start()).check_kubeconfig(None, here, &client(), &ca), Some(Stale::Missing));
    let rotated = self::ca("kubernetes");
    let after = Renewal::at(start()).check_kubeconfig(Some(&text), here, &client(), &rotated);
    assert_eq!(after, Some(Stale::OtherEndpoint));
}

#[test]
fn names_that_cannot_stand_in_a_certificate_are_named() {
    let ca = ca("kubernetes");
    let sans: Sans = ["bücher.example"].iter().collect();
    let error = issue(&LeafRequest { sans, ..server() }, &ca, start()).unwrap_err();
    assert!(error.to_string().contains("bücher.example"), "{error}");
    let organizations = vec!["a".into(), "b".into()];
    assert!(issue(&LeafRequest { organizations, ..client() }, &ca, start()).is_err());
    let validity = Duration::from_secs(u64::MAX);
    assert!(Ca::generate("x", validity, KeyAlgorithm::EcdsaP256, start()).is_err());
}

#[test]
fn service_account_keys_belong_together() {
    let keys = ServiceAccountKeys::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let other = ServiceAccountKeys::generate(KeyAlgorithm::EcdsaP256).unwrap();
    assert!(keys.is_valid());
    assert_eq!(ServiceAccountKeys::load(&keys.private_pem).unwrap(), keys);
    assert!(!ServiceAccountKeys { public_pem: other.public_pem, ..keys }.is_valid());
}

#[test]
fn tokens_have_the_form_that_kubernetes_wants() {
    let token = BootstrapToken::generate(system_random).unwrap();
    assert_eq!(token.expose().parse::<BootstrapToken>().unwrap(), token);
    assert_eq!(token.secret_name(), format!("bootstrap-token-{}", token.id()));
    let bytes: Vec<u8> = (0..=255).collect();
    let mut position = 0;
    let counted = BootstrapToken::generate(|slice| {
        slice.iter_mut().for_each(|byte| (*byte, position) = (bytes[position % 256], position + 1));
        Ok(())
    });
    assert_eq!(counted.unwrap().expose(), "abcdef.6789abcdefghijkl");
    assert!(BootstrapToken::generate(|_| Err(Error::Generate)).is_err());
    let stuck = BootstrapToken::generate(|slice| {
        slice.fill(255);
        Ok(())
    });
    assert!(stuck.is_err(), "a source of unusable bytes ends");
    for text in
        ["", "abcdef", "abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcdef.x"]
    {
        assert!(text.parse::<BootstrapToken>().is_err(), "{text:?}");
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let ca = ca("kubernetes");
    let pair = issue(&client(), &ca, start()).unwrap();
    let keys = ServiceAccountKeys::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let token = BootstrapToken::from_parts("abcdef", "0123456789abcdef").unwrap();
    let config = Kubeconfig {
        cluster: "c".into(),
        server: "s".into(),
        tls_server_name: None,
        ca_pem: String::new(),
        user: "u".into(),
        identity: ClientIdentity::Token("0123456789abcdef".into()),
    };
    let shown = format!("{ca:?} {pair:?} {keys:?} {token:?} {token} {config:?}");
    assert!(!shown.contains("0123456789abcdef") && !shown.contains("PRIVATE"), "{shown}");
}
