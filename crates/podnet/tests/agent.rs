//! The whole agent: a real API server on one side, the kernel of a namespace on the other.

#[path = "../../netlink/tests/namespace/mod.rs"]
mod namespace;

use k8s_openapi::api::{core::v1::Node, events::v1::Event};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use namespace::Namespace;
use scute_netlink::{Firewall, Monitor, Netlink};
use scute_podnet::{Config, Kernel, TABLE, run_with};
use scute_testkit::until;
use serde_json::{Value, json};

async fn join(nodes: &Api<Node>, name: &str, ip: &str, cidr: Option<&str>) {
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"podCIDR": cidr, "podCIDRs": cidr.map(|cidr| [cidr])},
    }))
    .unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": ip}]}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

async fn routes_become(namespace: &Namespace, want: &[&str]) {
    until(&format!("routes {want:?}"), || async {
        let shown = namespace.ip("route show proto 83");
        let mut lines: Vec<_> =
            shown.lines().map(|line| line.replace(" dev up0", "").trim().to_owned()).collect();
        lines.sort();
        (lines == want).then_some(())
    })
    .await;
}

async fn events(client: &Client) -> Vec<Event> {
    let events: Api<Event> = Api::all(client.clone());
    events.list(&Default::default()).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_life_in_the_pod_network() {
    let server = scute_testkit::server().await;
    let client = server.client().await;
    let nodes: Api<Node> = Api::all(client.clone());
    let namespace = Namespace::new("agent");
    namespace.ip("link add up0 mtu 1450 type veth peer name wire");
    namespace.ip("link set wire up");
    namespace.ip("addr add 10.85.0.5/24 dev up0");
    namespace.ip("link set up0 up");
    namespace.ip("route add 10.244.77.0/24 via 10.85.0.7 proto 83");
    let open = || (Netlink::open().unwrap(), Firewall::open(TABLE).unwrap(), Monitor::subscribe().unwrap());
    let (netlink, firewall, news) = namespace.inside(open);
    let kernel = Kernel { netlink, firewall, monitor: Monitor::of(news).unwrap() };

    let dir = tempfile::tempdir().unwrap();
    let sysctl = dir.path().join("ipv4/ip_forward");
    std::fs::create_dir_all(sysctl.parent().unwrap()).unwrap();
    std::fs::write(&sysctl, "0\n").unwrap();
    let config = Config {
        conf_dir: dir.path().join("net.d"),
        proc_sys_net: dir.path().into(),
        ..Config::new("podnet-me")
    };
    let conflist = config.conf_dir.join("10-scute.conflist");
    let running = tokio::spawn(run_with(client.clone(), kernel, config));

    // Others come first; until this Node has its own range, nothing is touched.
    join(&nodes, "podnet-b", "10.85.0.6", Some("10.244.1.0/24")).await;
    join(&nodes, "podnet-me", "10.85.0.5", None).await;
    routes_become(&namespace, &["10.244.77.0/24 via 10.85.0.7"]).await;
    assert!(!conflist.exists());

    let range = json!({"spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]}});
    nodes.patch("podnet-me", &PatchParams::default(), &Patch::Merge(range)).await.unwrap();
    // The leftover of a Node that went while no agent ran is gone too.
    routes_become(&namespace, &["10.244.1.0/24 via 10.85.0.6"]).await;
    let written = until("the CNI configuration", || async { std::fs::read(&conflist).ok() }).await;
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(written["plugins"][0]["ipam"]["ranges"], json!([[{"subnet": "10.244.0.0/24"}]]));
    assert_eq!(written["plugins"][0]["mtu"], json!(1400), "with room for the overlay");
    assert_eq!(std::fs::read_to_string(&sysctl).unwrap(), "1\n");

    join(&nodes, "podnet-odd", "192.0.2.9", Some("10.85.0.0/26")).await;
    join(&nodes, "podnet-c", "10.85.0.8", Some("10.244.3.0/24")).await;
    let both = ["10.244.1.0/24 via 10.85.0.6", "10.244.3.0/24 via 10.85.0.8"];
    routes_become(&namespace, &both).await;
    let odd = |event: &Event| event.note.as_deref().is_some_and(|note| note.contains("Node podnet-odd"));
    let named = |events: &[Event]| events.iter().filter(|event| odd(event)).count();
    let event = until("an Event that names the odd Node", || async {
        events(&client).await.into_iter().find(|event| odd(event))
    })
    .await;
    assert_eq!(event.reporting_controller.as_deref(), Some("scute-podnet"));
    let managers: Vec<_> =
        event.metadata.managed_fields.iter().flatten().map(|field| &field.manager).collect();
    assert_eq!(managers, [&Some("scute-podnet".to_owned())]);

    // Somebody removes a route, as systemd-networkd does when it restarts.
    namespace.ip("route del 10.244.1.0/24");
    routes_become(&namespace, &both).await;

    nodes.delete("podnet-b", &DeleteParams::default()).await.unwrap();
    routes_become(&namespace, &["10.244.3.0/24 via 10.85.0.8"]).await;
    assert_eq!(named(&events(&client).await), 1, "told once");

    running.abort();
    for name in ["podnet-me", "podnet-c", "podnet-odd"] {
        nodes.delete(name, &DeleteParams::default()).await.unwrap();
    }
}
