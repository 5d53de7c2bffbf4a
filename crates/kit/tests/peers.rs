//! API servers that misbehave, and tenants that are large or hostile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::client::Body;
use kube::{Client, Config};
use scute_kit::limits::Limits;
use scute_kit::tenants::{Standing, TenantError, TenantKey, Tenants};
use scute_kit::{Hub, Key};
use scute_testkit::{PATIENCE, server, until};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const QUICK: Limits =
    Limits { at_once: 2, answer: Duration::from_secs(1), bytes: 1 << 20, idle: Duration::from_millis(200) };

/// A peer that does with every connection what `speak` does, and the client that talks to it.
async fn peer<F>(speak: impl Fn(TcpStream) -> F + Send + 'static) -> Client
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak(stream));
        }
    });
    scute_kit::client(Config::new(format!("http://{address}").parse().unwrap()), QUICK).unwrap()
}

/// Reads one request; what follows it is the test's business.
async fn heard(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or_default() == 0 {
            return;
        }
    }
}

const LIST: &str = r#"{"apiVersion":"v1","kind":"ConfigMapList","metadata":{},"items":[]}"#;

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "default")
}

#[tokio::test]
async fn who_accepts_and_never_answers_is_given_up_and_its_permits_come_back() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let client = peer(move |mut stream| {
        let n = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            heard(&mut stream).await;
            match n {
                0..4 => std::future::pending().await,
                _ => {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{LIST}", LIST.len());
                    stream.write_all(head.as_bytes()).await.unwrap();
                }
            }
        }
    })
    .await;
    let begun = Instant::now();
    let list = || async { maps(&client).list(&ListParams::default()).await };
    for answer in join_all([list(), list(), list(), list()]).await {
        let error = answer.expect_err("nobody answers");
        assert_eq!(scute_kit::said(&error), "the API server did not answer within 1 s");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "two at a time, a second each");
    list().await.expect("both permits are free again");
}

#[tokio::test]
async fn who_falls_silent_within_an_answer_is_given_up() {
    let client = peer(|mut stream| async move {
        heard(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"items\"").await.unwrap();
        std::future::pending().await
    })
    .await;
    let error = maps(&client).list(&ListParams::default()).await.expect_err("half an answer");
    assert_eq!(scute_kit::said(&error), "the API server did not answer within 1 s");
}

#[tokio::test]
async fn who_dies_with_a_request_in_flight_is_an_error_at_once() {
    let client = peer(|mut stream| async move { heard(&mut stream).await }).await;
    let begun = Instant::now();
    let error = maps(&client).list(&ListParams::default()).await.expect_err("no answer");
    assert!(scute_kit::said(&error).starts_with("the API server cannot be reached: "), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn an_answer_without_an_end_does_not_fill_the_memory() {
    let client = peer(|mut stream| async move {
        heard(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await;
        while stream.write_all(&[b' '; 65_536]).await.is_ok() {}
    })
    .await;
    let error = maps(&client).list(&ListParams::default()).await.expect_err("too long");
    assert_eq!(scute_kit::said(&error), "the API server's answer is longer than 1 MiB");
}

fn kubeconfig_secret(name: &str, value: &str) -> Secret {
    serde_json::from_value(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "stringData": {"value": value}}))
    .unwrap()
}

async fn tenant(prefix: &str, client: Client) -> (Arc<Tenants>, TenantKey, Api<Secret>) {
    let namespace = server().await.namespace(prefix).await;
    let hub = Hub::new(client);
    let secrets = Api::namespaced(server().await.client().await, &namespace);
    (Tenants::new(&hub), TenantKey::capi(&namespace, "c"), secrets)
}

#[tokio::test]
async fn a_kubeconfig_in_a_secret_runs_nothing_and_sends_nothing_anywhere() {
    let (tenants, key, secrets) = tenant("evil", server().await.client().await).await;
    let folder = std::env::temp_dir().join(format!("scute-evil-{}", std::process::id()));
    let good: serde_json::Value = serde_json::from_str(&server().await.kubeconfig()).unwrap();
    let user = &good["users"][0]["user"];
    let evil = [
        (
            "exec",
            json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [folder], "interactiveMode": "Never"}),
        ),
        ("tokenFile", json!("/etc/hostname")),
        ("auth-provider", json!({"name": "gcp", "config": {"cmd-path": "touch", "cmd-args": folder}})),
    ];
    secrets.create(&Default::default(), &kubeconfig_secret("c-kubeconfig", "")).await.unwrap();
    for (field, value) in evil {
        let mut text = good.clone();
        text["users"][0]["user"] = user.clone();
        text["users"][0]["user"][field] = value;
        let patch = Patch::Merge(json!({"stringData": {"value": text.to_string()}}));
        secrets.patch("c-kubeconfig", &PatchParams::default(), &patch).await.unwrap();
        let path = format!("users[0].user.{field}: ");
        until(&path, || async {
            let refused = matches!(tenants.client(&key).await, Err(TenantError::Kubeconfig(..)));
            let said = tenants.client(&key).await.err().map(|error| error.to_string()).unwrap_or_default();
            (refused && said.contains(&path)).then_some(())
        })
        .await;
    }
    assert!(!folder.exists(), "nothing was run");
}

/// Environment and kubeconfig of [`a_child_behind_a_proxy`].
const KUBECONFIG: &str = "SCUTE_TEST_KUBECONFIG";

#[tokio::test]
async fn no_request_goes_to_a_proxy_that_the_environment_names() {
    let (_, key, secrets) = tenant("proxy", server().await.client().await).await;
    let secret = kubeconfig_secret("c-kubeconfig", &server().await.kubeconfig());
    secrets.create(&Default::default(), &secret).await.unwrap();
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_child_behind_a_proxy", "--ignored", "--nocapture"]).kill_on_drop(true);
    for variable in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(variable, &url);
    }
    child.env_remove("NO_PROXY").env_remove("no_proxy");
    child.env(KUBECONFIG, server().await.kubeconfig()).env("SCUTE_TEST_NAMESPACE", &key.namespace);
    tokio::select! {
        done = child.output() => {
            let done = done.unwrap();
            assert!(done.status.success(), "{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        }
        _ = proxy.accept() => panic!("the proxy is asked"),
    }
}

#[tokio::test]
#[ignore = "needs the environment that no_request_goes_to_a_proxy_that_the_environment_names gives it"]
async fn a_child_behind_a_proxy() {
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&std::env::var(KUBECONFIG).unwrap()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    assert!(config.proxy_url.is_some(), "the client library would take it");
    let client = scute_kit::client(config, Limits::MANAGEMENT).unwrap();
    maps(&client).list(&ListParams::default()).await.expect("the manager's client");
    let key = TenantKey::capi(&std::env::var("SCUTE_TEST_NAMESPACE").unwrap(), "c");
    let tenants = Tenants::new(&Hub::new(client));
    let tenant = tenants.client(&key).await.expect("the tenant's client");
    maps(&tenant).list(&ListParams::default()).await.expect("of the tenant");
}

#[tokio::test]
async fn a_failure_of_the_management_cluster_does_not_end_the_watch_on_a_tenant() {
    let real = server().await.client().await;
    let failures = Arc::new(AtomicU32::new(0));
    let (client, counted) = (real.clone(), failures.clone());
    let faulty = tower::service_fn(move |request: http::Request<Body>| {
        let (client, counted) = (client.clone(), counted.clone());
        async move {
            let reads = request.uri().path().ends_with("/secrets/c-kubeconfig");
            if reads && counted.fetch_add(1, Ordering::SeqCst) < 3 {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "message": "later"});
                let answer =
                    http::Response::builder().status(500).body(Body::from(status.to_string().into_bytes()));
                return Ok(answer.unwrap());
            }
            client.send(request).await
        }
    });
    let (tenants, key, secrets) = tenant("flaky", Client::new(faulty, "default")).await;
    let secret = kubeconfig_secret("c-kubeconfig", &server().await.kubeconfig());
    secrets.create(&Default::default(), &secret).await.unwrap();
    let nodes = tenants.nodes(&key);
    tokio::time::timeout(PATIENCE, nodes.ready()).await.expect("listed in the end");
    assert!(failures.load(Ordering::SeqCst) > 3);
}

const MANY: usize = 2_000;

/// Two thousand Nodes with 64 KiB of annotations each are 128 MiB; the copy is to be a fraction of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_thousands_of_bloated_nodes_costs_little() {
    let client = server().await.client().await;
    let (tenants, key, secrets) = tenant("bloat", client.clone()).await;
    let api = Api::<Node>::all(client);
    let padding = "x".repeat(65_536);
    let node = |n: usize| -> Node {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": format!("bloat-{n}"), "labels": {"bloat": "yes"}, "annotations": {"padding": padding}},
            "spec": {"providerID": format!("test://{n}")}}))
        .unwrap()
    };
    let names: Vec<usize> = (0..MANY).collect();
    for chunk in names.chunks(50) {
        join_all(chunk.iter().map(|n| {
            let (api, node) = (api.clone(), node(*n));
            async move { api.create(&Default::default(), &node).await.expect("a Node") }
        }))
        .await;
    }
    let before = resident();
    let secret = kubeconfig_secret("c-kubeconfig", &server().await.kubeconfig());
    secrets.create(&Default::default(), &secret).await.unwrap();
    let nodes = tenants.nodes(&key);
    tokio::time::timeout(PATIENCE, nodes.ready()).await.expect("listed");
    let grown = resident().saturating_sub(before);
    assert!(nodes.list().len() >= MANY, "all of them are known");
    assert_eq!(nodes.standing(), Standing::Known);
    assert_eq!(nodes.with_provider_id("test://1999").len(), 1);
    assert!(nodes.bytes() < 2 << 20, "{} bytes are kept", nodes.bytes());
    assert!(grown < 60 << 20, "{} MiB more than before", grown >> 20);
    let all = ListParams::default().labels("bloat=yes");
    api.delete_collection(&DeleteParams::default(), &all).await.unwrap();
    tenants.forget(&key);
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn a_key_that_is_not_there_is_named() {
    let (tenants, key, _) = tenant("nokey", server().await.client().await).await;
    let error = tenants.client(&key).await.err().expect("no Secret");
    assert!(error.is_final());
    let missing = Key::new(key.namespace.clone(), "c-kubeconfig");
    assert_eq!(error.to_string(), format!("Secret {missing} does not exist"));
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let client = peer(move |mut stream| {
        let tell = tell.clone();
        async move {
            heard(&mut stream).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{LIST}", LIST.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut more = Vec::new();
            let ended = stream.read_to_end(&mut more).await.is_ok();
            let _ = tell.send((ended, more.len()));
        }
    })
    .await;
    maps(&client).list(&ListParams::default()).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, told.recv()).await.expect("it stays open");
    assert_eq!(end, Some((true, 0)), "closed by the client, without another request");
    drop(client);
}

#[tokio::test]
async fn who_asks_for_a_client_at_the_same_time_gets_the_same() {
    let asked = Arc::new(AtomicU32::new(0));
    let (counted, inner) = (asked.clone(), server().await.client().await);
    let counting = move |request: http::Request<Body>| {
        if request.uri().path().ends_with("/secrets/c-kubeconfig") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        let inner = inner.clone();
        async move { inner.send(request).await }
    };
    let (tenants, key, secrets) = tenant("same", Client::new(tower::service_fn(counting), "default")).await;
    let secret = kubeconfig_secret("c-kubeconfig", &server().await.kubeconfig());
    secrets.create(&Default::default(), &secret).await.unwrap();
    let clients = join_all((0..4).map(|_| tenants.client(&key))).await;
    for client in clients {
        client.unwrap().apiserver_version().await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "one client, of one reading of the Secret");
}
