use axum::Json;
use axum::extract::State;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use super::review::*;
use super::*;

fn request(object: Value) -> Request {
    Request {
        uid: "1".into(),
        kind: GroupKind { group: "g".into(), version: "v2".into(), kind: "K".into() },
        request_kind: GroupKind { group: "g".into(), version: "v1".into(), kind: "K".into() },
        sub_resource: String::new(),
        name: "n".into(),
        namespace: String::new(),
        operation: Operation::Create,
        user_info: User::default(),
        object,
        old_object: Value::Null,
        dry_run: false,
    }
}

#[test]
fn every_bad_field_is_named() {
    let errors = vec![
        FieldError::new("spec.a", "x", "must be a number"),
        FieldError::new("spec.b", "", "is required"),
    ];
    let answer = answer(&request(json!({})), Verdict::Deny(errors));
    assert_eq!(answer["response"]["allowed"], json!(false));
    assert_eq!(
        answer["response"]["status"]["message"],
        json!(r#"[spec.a: Invalid value: "x": must be a number, spec.b: Invalid value: "": is required]"#)
    );
}

#[tokio::test]
async fn who_writes_something_new_is_advised_once_and_only_when_it_is_taken() {
    let admission = |verdict: Verdict| {
        let admission = Admission::new()
            .advises("g", "K", |request| Box::pin(async move { vec![format!("{} is odd", request.name)] }));
        let admission = admission.on("g", "K", move |_| Box::pin(std::future::ready(verdict.clone())));
        State(Arc::new(admission))
    };
    let review = |old: Value| {
        let request =
            Request { old_object: old, operation: Operation::Update, ..request(json!({"spec": 1})) };
        Json(Review { request })
    };
    let warnings = |answer: Json<Value>| answer.0["response"]["warnings"].clone();
    let replaced = || admission(Verdict::Replace(json!({"spec": 1, "more": 2})));
    assert_eq!(warnings(validate(replaced(), review(json!({"spec": 2}))).await), json!(["n is odd"]));
    assert_eq!(warnings(mutate(replaced(), review(json!({"spec": 2}))).await), Value::Null);
    assert_eq!(warnings(validate(replaced(), review(json!({"spec": 1}))).await), Value::Null, "nothing new");
    let denied = admission(Verdict::Deny(vec![FieldError::new("spec", "1", "is wrong")]));
    assert_eq!(warnings(validate(denied, review(json!({"spec": 2}))).await), Value::Null);
}

#[tokio::test]
async fn several_handlers_of_a_kind_are_all_asked() {
    let fills = |field: &'static str| {
        move |request: AdmissionRequest| -> BoxFuture<'static, Verdict> {
            let mut object = request.object;
            object[field] = json!(object.as_object().map_or(0, serde_json::Map::len));
            Box::pin(std::future::ready(Verdict::Replace(object)))
        }
    };
    let both = Admission::new().on("g", "K", fills("a")).on("g", "K", fills("b"));
    let review = || Review { request: request(json!({"spec": 1})) };
    let Verdict::Replace(object) = both.clone().judge(&review()).await else {
        panic!("nothing was filled in")
    };
    assert_eq!(object, json!({"spec": 1, "a": 1, "b": 2}));
    let no = || Verdict::Refuse(403, "no".into());
    let refusing = both.on("g", "K", move |_| Box::pin(std::future::ready(no())));
    assert_eq!(refusing.judge(&review()).await, no());
}

#[tokio::test]
async fn a_refusal_is_worded_as_the_object_was_written() {
    let versions = Versions {
        convert: Arc::new(|_, _| Err(String::new())),
        worded: |object, to, path, value| {
            assert_eq!((object, to), (&json!({"spec": {"sizeMiB": 2}}), "g/v1"));
            (path == "spec.sizeMiB").then(|| ("spec.size".into(), format!("{value} MiB")))
        },
    };
    let admission = Admission::new().versions(versions).on("g", "K", |_| {
        let bad = [("spec.sizeMiB", "2"), ("spec.name", "n")];
        let bad = bad.map(|(path, value)| FieldError::new(path, value, "is wrong")).to_vec();
        Box::pin(async { Verdict::Deny(bad) })
    });
    let verdict = admission.judge(&Review { request: request(json!({"spec": {"sizeMiB": 2}})) }).await;
    let Verdict::Deny(bad) = verdict else { panic!("{verdict:?}") };
    assert_eq!(bad[0], FieldError::new("spec.size", "2 MiB", "is wrong"));
    assert_eq!(bad[1].path, "spec.name");
}

async fn judged(operation: Operation, object: Value, old: Value) -> Verdict {
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Sized {
        spec: Spec,
    }
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Spec {
        size: i32,
    }
    let mut admission = Admission::new().on("g", "K", |_| {
        Box::pin(async { Verdict::Deny(vec![FieldError::new("spec.size", "", "is never right")]) })
    });
    admission.decoders.insert(("g".into(), "K".into()), decode::<Sized>);
    admission.judge(&Review { request: Request { operation, old_object: old, ..request(object) } }).await
}

fn sized(size: Value, deletion: Value) -> Value {
    json!({"apiVersion": "g/v1", "kind": "K", "spec": {"size": size},
        "metadata": {"name": "n", "deletionTimestamp": deletion}})
}

#[tokio::test]
async fn a_handler_that_panics_refuses() {
    let admission = Admission::new().on("g", "K", |_| Box::pin(async { panic!("as the test wants") }));
    let verdict = admission.judge(&Review { request: request(json!({})) }).await;
    assert!(matches!(verdict, Verdict::Refuse(500, _)), "{verdict:?}");
}

#[tokio::test]
async fn what_cannot_be_decoded_is_denied_before_the_handler() {
    let verdict = judged(Operation::Create, sized(json!("x"), Value::Null), Value::Null).await;
    let Verdict::Deny(bad) = verdict else { panic!("{verdict:?}") };
    assert_eq!((bad[0].path.as_str(), bad[0].value.as_str()), ("spec.size", "x"));
    let verdict = judged(Operation::Create, sized(json!(1), Value::Null), Value::Null).await;
    assert!(matches!(verdict, Verdict::Deny(bad) if bad[0].detail == "is never right"));
}

#[tokio::test]
async fn what_is_being_deleted_can_lose_its_finalizers() {
    let bad = sized(json!("x"), json!("2026-01-01T00:00:00Z"));
    assert_eq!(judged(Operation::Update, bad.clone(), bad.clone()).await, Verdict::Allow);
    let worse = sized(json!("y"), json!("2026-01-01T00:00:00Z"));
    assert!(matches!(judged(Operation::Update, worse, bad).await, Verdict::Deny(_)), "its spec is new");
}

#[test]
fn defaults_become_a_patch() {
    let answer = answer(&request(json!({"spec": {}})), Verdict::Replace(json!({"spec": {"replicas": 2}})));
    let patch: k8s_openapi::ByteString =
        serde_json::from_value(answer["response"]["patch"].clone()).expect("base64");
    let patch: Value = serde_json::from_slice(&patch.0).expect("JSON");
    assert_eq!(patch, json!([{"op": "add", "path": "/spec/replicas", "value": 2}]));
}

fn refuses_all() -> Admission {
    Admission::new()
        .on("g", "K", |_| Box::pin(async { Verdict::Deny(vec![FieldError::new("spec.a", "x", "no")]) }))
}

#[tokio::test]
async fn certificates_are_exchanged_and_large_reviews_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let issue = || {
        let mut request = scute_pki::LeafRequest::client("localhost", None);
        request.usages = [scute_pki::Usage::Server].into();
        request.sans.dns.insert("localhost".to_owned());
        let now = jiff::Timestamp::now();
        let ca = scute_pki::Ca::generate(
            "test",
            Duration::from_secs(3600),
            scute_pki::KeyAlgorithm::EcdsaP256,
            now,
        )
        .expect("a CA");
        let pair = scute_pki::issue(&request, &ca, now).expect("a certificate");
        std::fs::write(folder.path().join("tls.crt"), &pair.certificate_pem).expect("written");
        std::fs::write(folder.path().join("tls.key"), &pair.key_pem).expect("written");
        ca
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let first = issue();
    let listener = crate::listen(0).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let path = folder.path().to_owned();
    let server =
        tokio::spawn(async move { refuses_all().serve_on(listener, &path, Duration::from_millis(20)).await });
    let ask = async |ca: &scute_pki::Ca, padding: usize| {
        let mut config = kube::Config::new(format!("https://localhost:{port}").parse().expect("a URL"));
        let der =
            rustls::pki_types::CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).expect("PEM");
        config.root_cert = Some(vec![der.to_vec()]);
        let client = crate::client(config, crate::limits::Limits::TENANT).expect("a client");
        let review = json!({"request": {"uid": "1", "kind": {"group": "g", "kind": "K"}, "operation": "CREATE",
            "object": {"data": "x".repeat(padding)}, "oldObject": {"data": "x".repeat(padding)}}});
        let request = http::Request::post("/validate").header("content-type", "application/json");
        let request = request.body(review.to_string().into_bytes()).expect("a request");
        client.request::<Value>(request).await.map(|answer| answer["response"]["allowed"].clone())
    };
    assert_eq!(ask(&first, 3 << 20).await.expect("an answer"), json!(false), "two objects of 3 MiB");
    let second = issue();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while ask(&second, 1).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the new certificate is served");
    }
    server.abort();
}
