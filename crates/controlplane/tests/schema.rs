//! What the schemas refuse where no webhook stands before them.

mod support;

use std::sync::Arc;

use kube::api::PostParams;
use scute_api::controlplane::KamajiControlPlane;
use scute_api::kamaji::TenantControlPlane;
use scute_etcd::fake::Fake;
use serde_json::json;
use support::{World, tenant};

#[tokio::test]
async fn a_version_below_the_floor_is_refused_by_the_schema_alone() {
    let world = World::start("floor", Arc::new(Fake::new())).await;
    let (major, minor) = scute_kubeadm::OLDEST_MINOR;
    let oldest = format!("v{major}.{minor}");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let (tenants, control_planes) = (world.api::<TenantControlPlane>(), world.api::<KamajiControlPlane>());
    let asks = async |version: String| {
        let tcp = tenant(&world.namespace, "t", json!({ "kubernetes": { "version": version } }));
        let kcp: KamajiControlPlane = serde_json::from_value(json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha2", "kind": "KamajiControlPlane",
            "metadata": { "name": "c" }, "spec": { "version": version, "addons": {} },
        }))
        .expect("a KamajiControlPlane");
        (tenants.create(&dry, &tcp).await.err(), control_planes.create(&dry, &kcp).await.err())
    };
    for version in [
        format!("{major}.{}.14", minor - 1),
        format!("v{major}.{}.0-rc.1", minor - 1),
        "v1.9.9".into(),
        "0.1.0".into(),
    ] {
        let (tcp, kcp) = asks(version.clone()).await;
        for refused in [tcp, kcp] {
            let said = refused.unwrap_or_else(|| panic!("{version} is taken")).to_string();
            assert!(said.contains("version") && said.contains(&oldest), "{said}");
        }
    }
    for version in
        [format!("{oldest}.0"), "v1.35.4".into(), "1.40.0".into(), "v1.100.0".into(), "2.0.0".into()]
    {
        let (tcp, kcp) = asks(version.clone()).await;
        assert!(tcp.is_none() && kcp.is_none(), "{version}: {tcp:?} {kcp:?}");
    }
}
