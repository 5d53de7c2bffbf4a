//! What OpenSSL says of our certificates and keys: a second implementation as judge.

use jiff::Timestamp;
use scute_pki::{
    CA_VALIDITY, Ca, Certificate, KeyAlgorithm, LeafRequest, PrivateKey, Sans, ServiceAccountKeys, issue,
};
use std::{path::Path, process::Command};

fn now() -> Timestamp {
    // Whole seconds: certificates know no fractions.
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

fn openssl(dir: &Path, arguments: &str) -> Result<String, String> {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output();
    let output = output.expect("openssl is installed (Debian: openssl)");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(text) } else { Err(text) }
}

fn both() -> [KeyAlgorithm; 2] {
    [KeyAlgorithm::Rsa2048, KeyAlgorithm::EcdsaP256]
}

#[test]
fn chains_verify_for_their_purpose_and_host() {
    for algorithm in both() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let ca = Ca::generate("kubernetes", CA_VALIDITY, algorithm, now()).unwrap();
        let other = Ca::generate("kubernetes", CA_VALIDITY, algorithm, now()).unwrap();
        let sans: Sans = ["kubernetes.default.svc", "*.example.org", "10.96.0.1", "fd00::1"].iter().collect();
        let server =
            issue(&LeafRequest { algorithm, ..LeafRequest::server("kube-apiserver", sans) }, &ca, now());
        let admin = LeafRequest::client("kubernetes-admin", Some("kubeadm:cluster-admins"));
        let client = issue(&LeafRequest { algorithm, ..admin }, &ca, now()).unwrap();
        write("ca.crt", ca.certificate_pem());
        write("other.crt", other.certificate_pem());
        write("server.crt", &server.unwrap().certificate_pem);
        write("client.crt", &client.certificate_pem);
        let verify = |arguments: &str| openssl(dir.path(), &format!("verify -x509_strict {arguments}"));

        verify("-CAfile ca.crt ca.crt").unwrap();
        verify("-CAfile ca.crt -purpose sslserver -verify_hostname kubernetes.default.svc server.crt")
            .unwrap();
        verify("-CAfile ca.crt -purpose sslserver -verify_hostname a.example.org server.crt").unwrap();
        verify("-CAfile ca.crt -purpose sslserver -verify_ip fd00::1 server.crt").unwrap();
        verify("-CAfile ca.crt -purpose sslclient client.crt").unwrap();
        verify("-CAfile ca.crt -purpose sslserver -verify_ip 10.96.0.2 server.crt").unwrap_err();
        verify("-CAfile ca.crt -purpose sslserver client.crt").unwrap_err();
        verify("-CAfile other.crt server.crt").unwrap_err();
        let subject = openssl(dir.path(), "x509 -in client.crt -noout -subject").unwrap();
        assert_eq!(subject.trim(), "subject=O = kubeadm:cluster-admins, CN = kubernetes-admin");
    }
}

#[test]
fn the_discovery_hash_is_that_of_the_documentation() {
    let dir = tempfile::tempdir().unwrap();
    for algorithm in both() {
        let ca = Ca::generate("kubernetes", CA_VALIDITY, algorithm, now()).unwrap();
        std::fs::write(dir.path().join("ca.crt"), ca.certificate_pem()).unwrap();
        let spki = openssl(dir.path(), "x509 -pubkey -noout -in ca.crt").unwrap();
        std::fs::write(dir.path().join("pub.pem"), spki).unwrap();
        openssl(dir.path(), "pkey -pubin -in pub.pem -outform der -out pub.der").unwrap();
        let digest = openssl(dir.path(), "dgst -sha256 -r pub.der").unwrap();
        assert_eq!(ca.public_key_hash(), format!("sha256:{}", &digest[..64]));
    }
}

#[test]
fn keys_of_every_encoding_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &str| openssl(dir.path(), arguments).unwrap();
    run("genrsa -traditional -out rsa-pkcs1.pem 2048");
    run("pkcs8 -topk8 -nocrypt -in rsa-pkcs1.pem -out rsa-pkcs8.pem");
    run("ecparam -name prime256v1 -genkey -out ec-with-parameters.pem");
    run("ec -in ec-with-parameters.pem -out ec-sec1.pem");
    run("pkcs8 -topk8 -nocrypt -in ec-sec1.pem -out ec-pkcs8.pem");
    run("ecparam -name secp384r1 -genkey -noout -out p384.pem");
    let names = ["rsa-pkcs1", "rsa-pkcs8", "ec-with-parameters", "ec-sec1", "ec-pkcs8", "p384"];
    for name in names {
        let key_pem = std::fs::read_to_string(dir.path().join(format!("{name}.pem"))).unwrap();
        let public = run(&format!("pkey -in {name}.pem -pubout"));
        assert_eq!(PrivateKey::load(&key_pem).unwrap().public_key_pem(), public, "{name}");
        run(&format!(
            "req -x509 -new -key {name}.pem -subj /O=Lab/OU=Rack/CN=theirs -days 30 -out {name}.crt"
        ));
        let certificate_pem = std::fs::read_to_string(dir.path().join(format!("{name}.crt"))).unwrap();
        let ca = Ca::load(&certificate_pem, &key_pem).unwrap();
        let leaf = issue(&LeafRequest::client("someone", None), &ca, now()).unwrap();
        std::fs::write(dir.path().join("leaf.crt"), &leaf.certificate_pem).unwrap();
        run(&format!("verify -CAfile {name}.crt leaf.crt"));
        let leaf = Certificate::parse(&leaf.certificate_pem).unwrap();
        assert!(leaf.is_signed_by(ca.certificate()), "{name}");
        assert!(leaf.not_after() <= ca.certificate().not_after(), "no leaf outlives its authority");
    }
}

#[test]
fn an_authority_whose_name_we_could_not_repeat_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let request = "req -x509 -newkey ed25519 -nodes -keyout ca.key -out ca.crt -subj /O=Lab/O=Rack/CN=theirs";
    openssl(dir.path(), request).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let error = Ca::load(&read("ca.crt"), &read("ca.key")).unwrap_err();
    assert!(
        matches!(&error, scute_pki::Error::RepeatedName { subject } if subject.contains("O=Rack")),
        "{error}"
    );
}

#[test]
fn our_keys_are_read_by_openssl() {
    for (algorithm, label) in
        [(KeyAlgorithm::Rsa2048, "RSA PRIVATE KEY"), (KeyAlgorithm::EcdsaP256, "PRIVATE KEY")]
    {
        let dir = tempfile::tempdir().unwrap();
        let keys = ServiceAccountKeys::generate(algorithm).unwrap();
        assert!(keys.private_pem.starts_with(&format!("-----BEGIN {label}-----\n")));
        std::fs::write(dir.path().join("sa.key"), &keys.private_pem).unwrap();
        openssl(dir.path(), "pkey -in sa.key -check -noout").unwrap();
        assert_eq!(openssl(dir.path(), "pkey -in sa.key -pubout").unwrap(), keys.public_pem);
    }
}
