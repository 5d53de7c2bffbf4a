//! Both etcds of a site as static Pods. In: the site's configuration. Out: Pod manifests. Pure.

use super::static_pods::{Component, StaticPod};
use crate::{Layout, SiteConfig};
use scute_install::etcd::ETCD_IMAGE;

/// Client port of the tenants' etcd.
pub const TENANTS_ETCD_PORT: u16 = 2479;

/// The site's own etcd.
pub fn of_site(layout: &Layout, config: &SiteConfig) -> StaticPod {
    let member = Etcd {
        name: "etcd",
        authority: "etcd-ca",
        server: "etcd-server",
        client: 2379,
        peer: 2380,
        metrics: 2381,
        // Its API server does.
        compacts: false,
    };
    member.pod(layout, config)
}

/// The etcd of all tenants, which asks for their certificates and gives each its part.
pub fn of_tenants(layout: &Layout, config: &SiteConfig) -> StaticPod {
    let (authority, server) = ("etcd-tenants-ca", "etcd-tenants-server");
    let (client, peer, metrics) = (TENANTS_ETCD_PORT, 2480, 2481);
    Etcd { name: "etcd-tenants", authority, server, client, peer, metrics, compacts: true }
        .pod(layout, config)
}

/// A tenant's API server may not compact, as the etcd is not its own. Without compaction every revision would be kept
/// until the quota is used up, and all tenants would be read-only. Five minutes is what an API server takes.
fn compaction() -> [(&'static str, String); 2] {
    [("auto-compaction-mode", "periodic".to_owned()), ("auto-compaction-retention", "5m".to_owned())]
}

/// One etcd of one member.
struct Etcd {
    name: &'static str,
    authority: &'static str,
    server: &'static str,
    client: u16,
    peer: u16,
    metrics: u16,
    /// Whether it forgets old revisions by itself.
    compacts: bool,
}

impl Etcd {
    fn pod(self, layout: &Layout, config: &SiteConfig) -> StaticPod {
        let Self { name, authority, server, client, peer, metrics, compacts } = self;
        let data = layout.at(name);
        let node = config.addresses.node;
        let pki = |file: String| layout.pki(&file).display().to_string();
        let peer_url = format!("https://127.0.0.1:{peer}");
        let client_url = format!("https://{node}:{client}");
        let flags = [
            ("name", config.node_name().to_owned()),
            ("data-dir", data.display().to_string()),
            ("listen-client-urls", format!("https://127.0.0.1:{client},{client_url}")),
            ("advertise-client-urls", client_url),
            ("listen-peer-urls", peer_url.clone()),
            ("initial-advertise-peer-urls", peer_url.clone()),
            ("initial-cluster", format!("{}={peer_url}", config.node_name())),
            ("listen-metrics-urls", format!("http://127.0.0.1:{metrics}")),
            ("cert-file", pki(format!("{server}.crt"))),
            ("key-file", pki(format!("{server}.key"))),
            ("trusted-ca-file", pki(format!("{authority}.crt"))),
            ("client-cert-auth", "true".to_owned()),
            ("peer-cert-file", pki(format!("{server}.crt"))),
            ("peer-key-file", pki(format!("{server}.key"))),
            ("peer-trusted-ca-file", pki(format!("{authority}.crt"))),
            ("peer-client-cert-auth", "true".to_owned()),
            ("quota-backend-bytes", (8u64 << 30).to_string()),
        ];
        let mut flags = Vec::from(flags);
        if compacts {
            flags.extend(compaction());
        }
        Component {
            name,
            image: ETCD_IMAGE.to_owned(),
            flags,
            millicores: 50,
            probe: Some(("HTTP", metrics, "/livez")),
            data: Some(data),
            privileged: false,
        }
        .pod(layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        SiteName,
        addresses::Addresses,
        node::static_pods::{first, second},
    };
    use scute_testkit::{Process, free_port, kube_binary};
    use serde_json::{Value, json};
    use std::{
        io::{Read, Write},
        net::TcpStream,
        path::PathBuf,
        time::{Duration, Instant},
    };

    fn command(name: &str) -> Vec<String> {
        let layout = Layout::new(SiteName::new("lab").unwrap(), PathBuf::from("/var/lib/scute/lab"));
        let config = SiteConfig::sample(Addresses::of(0, &Default::default()));
        let mut all = first(&layout, &config).into_iter().chain(second(&layout, &config));
        let pod = all.find(|pod| pod.name == name).unwrap();
        serde_json::from_value(pod.manifest["spec"]["containers"][0]["command"].clone()).unwrap()
    }

    #[test]
    fn the_tenants_etcd_compacts_itself_and_the_sites_is_compacted_by_its_api_server() {
        let tenants = command("etcd-tenants");
        assert!(tenants.contains(&"--auto-compaction-mode=periodic".to_owned()), "{tenants:?}");
        assert!(tenants.contains(&"--auto-compaction-retention=5m".to_owned()), "{tenants:?}");
        assert!(!command("etcd").iter().any(|flag| flag.contains("compaction")));
        let api = command("kube-apiserver");
        assert!(!api.iter().any(|flag| flag.starts_with("--etcd-compaction-interval")), "{api:?}");
    }

    /// A request to etcd's gateway for JSON; `None` while it does not answer.
    fn ask(port: u16, path: &str, body: &Value) -> Option<String> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let head = format!("POST /v3/kv/{path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The very flags, with a second in the place of five minutes.
    #[test]
    fn an_old_revision_is_gone_after_the_retention() {
        let dir = tempfile::tempdir().unwrap();
        let (client, peer) = (free_port().unwrap(), free_port().unwrap());
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut arguments = vec![
            "etcd".to_owned(),
            format!("--data-dir={}", dir.path().join("data").display()),
            format!("--listen-client-urls={}", url(client)),
            format!("--advertise-client-urls={}", url(client)),
            format!("--listen-peer-urls={}", url(peer)),
            format!("--initial-advertise-peer-urls={}", url(peer)),
            format!("--initial-cluster=default={}", url(peer)),
        ];
        arguments.extend(compaction().map(|(flag, value)| format!("--{flag}={}", value.replace("5m", "1s"))));
        let mut etcd =
            Process::start(&kube_binary().unwrap(), &arguments, &dir.path().join("etcd.log")).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            etcd.still_runs().unwrap();
            // Key and value are "a"; a later revision each time, as one that is written is what makes old ones.
            _ = ask(client, "put", &json!({"key": "YQ==", "value": "YQ=="}));
            let old = ask(client, "range", &json!({"key": "YQ==", "revision": 2}));
            if old.is_some_and(|answer| answer.contains("required revision has been compacted")) {
                return;
            }
            assert!(Instant::now() < until, "nothing was compacted");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
