//! The objects of a tenant among those of others: what is adopted, what is left alone, and what goes.

mod support;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use scute_api::kamaji::{DataStore, TenantControlPlane};
use scute_etcd::fake::Fake;
use scute_testkit::{eventually, eventually_gone, until};
use serde_json::{Value, json};
use support::{World, said};

async fn tenant_with_pods(world: &World) {
    world.fake_datastore().await;
    world.tenant("t", json!({})).await;
    world.condition("t", "DeploymentAvailable", "RollingOut").await;
}

#[tokio::test]
async fn an_authority_that_is_there_first_is_adopted() {
    let world = World::start("adopt", Arc::new(Fake::new())).await;
    let own = scute_pki::Ca::generate(
        "mine",
        scute_pki::CA_VALIDITY,
        scute_pki::KeyAlgorithm::EcdsaP256,
        jiff::Timestamp::now(),
    )
    .expect("a CA");
    world.secret("t-ca", &[("ca.crt", own.certificate_pem()), ("ca.key", own.key_pem())]).await;
    tenant_with_pods(&world).await;
    let data = world.data("t-ca").await;
    assert_eq!(
        (data["ca.crt"].as_str(), data["tls.crt"].as_str()),
        (own.certificate_pem(), own.certificate_pem())
    );
    let secret = world.api::<Secret>().get("t-ca").await.expect("the Secret");
    assert_eq!(secret.labels()["kamaji.clastix.io/name"], "t");
    assert_eq!(secret.owner_references().len(), 1);
}

/// Waits for `CertificatesReady` to be False for this reason; answers what it says.
async fn certificates_stop(world: &World, name: &str, reason: &str) -> String {
    let tcp = world.condition(name, "CertificatesReady", reason).await;
    let (status, _, message) = said(&tcp, "CertificatesReady").expect("said");
    assert_eq!(status, "False");
    message
}

#[tokio::test]
async fn an_authority_that_cannot_be_used_is_never_overwritten() {
    let world = World::start("unusable", Arc::new(Fake::new())).await;
    let ca = |name| {
        let now = jiff::Timestamp::now();
        let algorithm = scute_pki::KeyAlgorithm::EcdsaP256;
        scute_pki::Ca::generate(name, scute_pki::CA_VALIDITY, algorithm, now).expect("a CA")
    };
    let (own, other) = (ca("mine"), ca("other"));
    world.secret("t-ca", &[("ca.crt", own.certificate_pem()), ("ca.key", other.key_pem())]).await;
    world.fake_datastore().await;
    world.tenant("t", json!({})).await;
    let message = certificates_stop(&world, "t", "AuthorityUnusable").await;
    for part in
        ["Secret t-ca", "private key belongs to another certificate", "certs.kamaji.clastix.io/rotate"]
    {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert_eq!(world.data("t-ca").await["ca.key"], other.key_pem(), "the only copy");
    assert!(world.api::<Secret>().get_opt("t-admin-kubeconfig").await.expect("asked").is_none());

    // Corrected, it is taken; broken by hand in a running tenant, nothing is signed anew.
    let secrets = world.api::<Secret>();
    let merge = |data: serde_json::Value| Patch::Merge(json!({ "stringData": data }));
    let right = merge(json!({ "ca.key": own.key_pem() }));
    secrets.patch("t-ca", &PatchParams::default(), &right).await.expect("patched");
    world.condition("t", "DeploymentAvailable", "RollingOut").await;
    let admin = world.data("t-admin-kubeconfig").await;
    let broken = merge(json!({ "ca.crt": "oops", "tls.crt": "oops" }));
    secrets.patch("t-ca", &PatchParams::default(), &broken).await.expect("patched");
    let message = certificates_stop(&world, "t", "AuthorityUnusable").await;
    assert!(message.contains("certificate is not a readable"), "{message}");
    assert_eq!(world.data("t-admin-kubeconfig").await, admin, "Nodes still get in");
    let ask =
        Patch::Merge(json!({ "metadata": { "annotations": { "certs.kamaji.clastix.io/rotate": "" } } }));
    secrets.patch("t-ca", &PatchParams::default(), &ask).await.expect("asked");
    world.condition("t", "CertificatesReady", "Valid").await;
    assert_ne!(world.data("t-admin-kubeconfig").await, admin);
}

#[tokio::test]
async fn what_users_made_under_a_tenants_names_is_left_alone() {
    let world = World::start("taken", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    let theirs: Service = serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": world.namespace },
        "spec": { "selector": { "app": "web" }, "ports": [{ "name": "http", "port": 80 }] },
    }))
    .expect("a Service");
    let services = world.api::<Service>();
    let made = services.create(&PostParams::default(), &theirs).await.expect("created");
    world.tenant("web", json!({})).await;
    let tcp = world.condition("web", "EndpointAssigned", "NameTaken").await;
    let (_, _, message) = said(&tcp, "EndpointAssigned").expect("said");
    assert!(
        message.contains("Service web exists") && message.contains("kamaji.clastix.io/name=web"),
        "{message}"
    );
    let seen = services.get("web").await.expect("there");
    assert_eq!((seen.spec, seen.metadata.owner_references), (made.spec, None));
    // The label hands it over.
    let label = Patch::Merge(json!({ "metadata": { "labels": { "kamaji.clastix.io/name": "web" } } }));
    services.patch("web", &PatchParams::default(), &label).await.expect("patched");
    world.secret("web-admin-kubeconfig", &[("admin.conf", "mine")]).await;
    let message = certificates_stop(&world, "web", "NameTaken").await;
    assert!(message.contains("Secret web-admin-kubeconfig"), "{message}");
    assert_eq!(world.data("web-admin-kubeconfig").await["admin.conf"], "mine");
}

/// The Service through which all of the management cluster reaches its own API server.
#[tokio::test]
async fn a_tenant_named_kubernetes_does_not_become_the_api_server() {
    let world = World::start("kubernetes", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    let services = Api::<Service>::namespaced(world.client.clone(), "default");
    let before = services.get("kubernetes").await.expect("there").spec;
    let tenants = Api::<TenantControlPlane>::namespaced(world.client.clone(), "default");
    let tcp = support::tenant("default", "kubernetes", json!({}));
    tenants.create(&PostParams::default(), &tcp).await.expect("created");
    eventually(tenants.clone(), "kubernetes", "refused", |tcp: &TenantControlPlane| {
        said(tcp, "EndpointAssigned").is_some_and(|(_, reason, _)| reason == "NameTaken")
    })
    .await;
    assert_eq!(services.get("kubernetes").await.expect("there").spec, before);
    tenants.delete("kubernetes", &DeleteParams::default()).await.expect("deleted");
    eventually_gone(tenants, "kubernetes").await;
}

#[tokio::test]
async fn a_node_port_goes_when_it_is_wanted_no_more() {
    let world = World::start("nodeport", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    let service = |more: serde_json::Value| json!({ "controlPlane": { "service": more } });
    world.tenant("t", service(json!({ "serviceType": "LoadBalancer" }))).await;
    let port = |service: &Service| service.spec.as_ref()?.ports.as_ref()?.first()?.node_port;
    let services = world.api::<Service>();
    eventually(services.clone(), "t", "with a node port", |service| port(service).is_some()).await;
    let without = Patch::Merge(json!({ "spec": service(json!({ "allocateLoadBalancerNodePorts": false })) }));
    let tenants = world.api::<TenantControlPlane>();
    tenants.patch("t", &PatchParams::default(), &without).await.expect("patched");
    eventually(services, "t", "without a node port", |service| port(service).is_none()).await;
}

#[tokio::test]
async fn a_control_planes_reach_is_limited_before_its_pods_start_unless_it_is_told_not_to_be() {
    let world = World::start_with("egress", Arc::new(Fake::new()), &["10.85.0.0/16"]).await;
    tenant_with_pods(&world).await;
    let policies = world.api::<NetworkPolicy>();
    let policy = policies.get("t").await.expect("there before the Deployment");
    let spec = json!(policy.spec);
    assert_eq!(spec["podSelector"]["matchLabels"]["kamaji.clastix.io/name"], "t");
    assert_eq!(spec["policyTypes"], json!(["Egress"]));
    let free = json!({ "metadata": { "annotations": { "scute.dev/egress": "unrestricted" } } });
    let tenants = world.api::<TenantControlPlane>();
    tenants.patch("t", &PatchParams::default(), &Patch::Merge(&free)).await.expect("patched");
    eventually_gone(policies, "t").await;
}

/// It was made by another version, say, and has its keys: that its object cannot be read frees neither name nor store.
#[tokio::test]
async fn a_tenant_that_cannot_be_read_keeps_what_it_has() {
    let fake = Fake::new();
    let mut world = World::start("unreadable", Arc::new(fake.clone())).await;
    tenant_with_pods(&world).await;
    let tenants = world.api::<TenantControlPlane>();
    let uid = tenants.get("t").await.expect("there").uid().expect("a UID");
    world.kill();
    // Of another version, whose schema was not as strict.
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/storage/properties/setup\
                 /properties/lastUpdate";
    let loose = json!([{ "op": "replace", "path": field, "value": { "type": "string" } }]);
    let loose = Patch::<()>::Json(serde_json::from_value(loose).expect("a patch"));
    let (definitions, params) =
        (Api::<CustomResourceDefinition>::all(world.client.clone()), PatchParams::default());
    definitions.patch("tenantcontrolplanes.kamaji.clastix.io", &params, &loose).await.expect("loosened");
    let raw: Api<DynamicObject> = Api::namespaced_with(
        world.client.clone(),
        &world.namespace,
        &ApiResource::erase::<TenantControlPlane>(&()),
    );
    let update =
        |time: Value| Patch::Merge(json!({ "status": { "storage": { "setup": { "lastUpdate": time } } } }));
    until("the loose schema is served", || async {
        raw.patch_status("t", &params, &update(json!("yesterday"))).await.ok()
    })
    .await;
    world.run(Arc::new(fake.clone())).await;
    world.tenant("second", json!({ "dataStoreSchema": uid })).await;
    world.condition("second", "SpecValid", "DataStoreConflict").await;
    let stores = Api::<DataStore>::all(world.client.clone());
    stores.delete(&world.datastore, &DeleteParams::default()).await.expect("asked");
    let user = format!("{}/t", world.namespace);
    let kept = |datastore: &DataStore| {
        let ends = datastore.metadata.deletion_timestamp.is_some();
        ends && datastore.status.as_ref().is_some_and(|status| status.used_by == [user.clone()])
    };
    eventually(stores, &world.datastore, "kept for it", kept).await;
    assert_eq!(fake.users().len(), 2);
    let told = |tcp: &DynamicObject| {
        let conditions = tcp.data["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|condition| condition["type"] == "scute.dev/Readable")
    };
    eventually(raw.clone(), "t", "told of its own fault", told).await;
    raw.patch_status("t", &params, &update(Value::Null)).await.expect("mended");
    eventually(raw, "t", "readable again", |tcp| !told(tcp)).await;
}
