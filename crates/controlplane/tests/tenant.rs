//! A TenantControlPlane on a real API server and a real etcd, its kube-apiserver run as the Deployment says.

mod support;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use scute_api::kamaji::{DataStore, TenantControlPlane};
use scute_etcd::Etcd as RealEtcd;
use scute_testkit::{Etcd, eventually, eventually_gone, free_port};
use serde_json::json;
use support::{World, phase, said};

async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("usable")).expect("a client")
}

/// The story of one tenant, from nothing to a usable API server and back to nothing.
#[tokio::test]
async fn a_tenant_from_nothing_to_ready_and_back() {
    let etcd = Etcd::start().expect("etcd");
    let mut world = World::start("story", Arc::new(RealEtcd)).await;
    world.datastore(&etcd).await;
    let ready = |datastore: &DataStore| datastore.status.as_ref().is_some_and(|status| status.ready);
    eventually(Api::<DataStore>::all(world.client.clone()), &world.datastore, "ready", ready).await;

    let port = free_port().expect("a port");
    let spec = json!({
        "networkProfile": { "address": "127.0.0.1", "port": port },
        "addons": { "coreDNS": {}, "kubeProxy": {} },
        // Spelled as the API server does not store it.
        "controlPlane": { "deployment": { "resources": {
            "apiServer": { "requests": { "cpu": "0.05", "memory": "262144Ki" }, "limits": { "cpu": "2000m" } },
            "controllerManager": { "requests": { "cpu": "0.010", "memory": "64e6" } },
            "scheduler": { "requests": { "memory": "32768Ki" } },
        } } },
    });
    let tcp = world.tenant("t", spec).await;
    let uid = tcp.uid().expect("a UID");
    eventually(world.api::<Deployment>(), "t", "there", |_| true).await;
    let tcp = world.condition("t", "DeploymentAvailable", "RollingOut").await;
    let status = tcp.status.clone().expect("a status");
    assert_eq!(status.control_plane_endpoint.as_deref(), Some(format!("127.0.0.1:{port}").as_str()));
    assert_eq!(phase(&tcp), "Provisioning");
    assert_eq!(status.observed_generation, None, "nothing is done before it is usable");
    objects_are_upstreams(&world, &uid).await;

    let dir = tempfile::tempdir().expect("a folder");
    // The other two start first: they have to wait for the API server, not to end.
    let mut others = [
        world.run_container("t", "kube-controller-manager", dir.path()).await,
        world.run_container("t", "kube-scheduler", dir.path()).await,
    ];
    let mut process = world.run_container("t", "kube-apiserver", dir.path()).await;
    let admin = client(&world.data("t-admin-kubeconfig").await["super-admin.conf"]).await;
    support::answers(&mut process, &admin).await;
    world.pods_ready("t", 1).await;
    let tcp = world.condition("t", "TenantObjectsReady", "Applied").await;
    assert_eq!(phase(&tcp), "Ready");
    assert_eq!(said(&tcp, "Ready").map(|(status, ..)| status).as_deref(), Some("True"));
    let status = tcp.status.expect("a status");
    assert_eq!(status.observed_generation, tcp.metadata.generation);
    let resources = status.kubernetes_resources.expect("resources");
    assert_eq!(resources.version.version.as_deref(), Some("v1.35.4"));
    assert_eq!(resources.deployment.expect("numbers").selector, "kamaji.clastix.io/name=t");

    inside_is_kubeadms(&world, &admin).await;
    both_lead(&admin).await;
    nothing_is_written_at_rest(&mut world).await;
    dns_keeps_its_address(&world).await;
    nothing_inside_is_newer_than_the_pods(&world, &admin).await;
    a_pause_holds_inside(&world, &admin).await;
    drift_is_repaired_and_what_is_off_is_removed(&world, &admin).await;
    for other in &mut others {
        other.still_runs().expect("it waited");
    }
    deleted_objects_come_back(&world).await;
    another_tenants_certificate_opens_nothing(&world, &etcd).await;

    let api = world.api::<TenantControlPlane>();
    api.delete("t", &DeleteParams::default()).await.expect("deleted");
    eventually_gone(api, "t").await;
    nothing_is_left(&etcd, &uid).await;
}

async fn objects_are_upstreams(world: &World, uid: &str) {
    let secrets = world.api::<Secret>().list(&ListParams::default().labels("kamaji.clastix.io/name=t")).await;
    let mut names: Vec<_> = secrets
        .expect("listed")
        .items
        .into_iter()
        .map(|secret| {
            let owner = &secret.owner_references()[0];
            assert_eq!((owner.uid.as_str(), owner.controller), (uid, Some(true)), "{}", secret.name_any());
            assert_eq!(secret.labels()["kamaji.clastix.io/project"], "kamaji");
            let keys: Vec<_> = secret.data.iter().flatten().map(|(key, _)| key.clone()).collect();
            format!("{}: {}", secret.name_any(), keys.join(" "))
        })
        .collect();
    names.sort();
    insta::assert_snapshot!(names.join("\n"), @r"
    t-admin-kubeconfig: admin.conf admin.svc super-admin.conf super-admin.svc
    t-api-server-certificate: apiserver.crt apiserver.key
    t-api-server-kubelet-client-certificate: apiserver-kubelet-client.crt apiserver-kubelet-client.key
    t-ca: ca.crt ca.key tls.crt tls.key
    t-controller-manager-kubeconfig: controller-manager.conf
    t-datastore-certificate: ca.crt server.crt server.key
    t-datastore-config: DB_CONNECTION_STRING DB_PASSWORD DB_SCHEMA DB_USER
    t-front-proxy-ca-certificate: front-proxy-ca.crt front-proxy-ca.key
    t-front-proxy-client-certificate: front-proxy-client.crt front-proxy-client.key
    t-sa-certificate: sa.key sa.pub
    t-scheduler-kubeconfig: scheduler.conf
    ");
    let map = world.api::<ConfigMap>().get("t-kubeadmconfig").await.expect("the ConfigMap");
    let keys: Vec<_> = map.data.iter().flatten().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["ClusterConfiguration", "InitConfiguration"]);
    let config = world.data("t-datastore-config").await;
    assert_eq!((config["DB_SCHEMA"].as_str(), config["DB_USER"].as_str()), (uid, uid));
}

async fn inside_is_kubeadms(world: &World, admin: &Client) {
    let administrator = client(&world.data("t-admin-kubeconfig").await["admin.conf"]).await;
    Api::<Namespace>::all(administrator.clone())
        .list(&ListParams::default())
        .await
        .expect("an administrator");
    let maps = Api::<ConfigMap>::namespaced(administrator.clone(), "kube-system");
    for name in ["kubeadm-config", "kubelet-config", "coredns", "kube-proxy"] {
        maps.get(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let anonymous = {
        let mut kubeconfig =
            Kubeconfig::from_yaml(&world.data("t-admin-kubeconfig").await["admin.conf"]).expect("read");
        kubeconfig.auth_infos.iter_mut().for_each(|user| user.auth_info = Some(Default::default()));
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        Client::try_from(config.expect("usable")).expect("a client")
    };
    let info = Api::<ConfigMap>::namespaced(anonymous.clone(), "kube-public").get("cluster-info").await;
    assert!(info.expect("readable by anybody").data.expect("data").contains_key("kubeconfig"));
    assert!(Api::<Secret>::namespaced(anonymous, "kube-system").list(&ListParams::default()).await.is_err());
    let binding = Api::<ClusterRoleBinding>::all(admin.clone()).get("kubeadm:cluster-admins").await;
    assert_eq!(binding.expect("bound").role_ref.name, "cluster-admin");
}

/// Controller-manager and scheduler hold their leases, and the bootstrapsigner works.
async fn both_lead(admin: &Client) {
    let leases = Api::<Lease>::namespaced(admin.clone(), "kube-system");
    for name in ["kube-controller-manager", "kube-scheduler"] {
        let held = |lease: &Lease| lease.spec.as_ref().is_some_and(|spec| spec.holder_identity.is_some());
        eventually(leases.clone(), name, "held", held).await;
    }
    let accounts = Api::<ServiceAccount>::namespaced(admin.clone(), "default");
    eventually(accounts, "default", "made", |_| true).await;
}

/// How often a controller has come to an end.
fn passes(controller: &str) -> u64 {
    let metrics = scute_kit::metrics::render(&[]);
    let label = format!("controller=\"{controller}\"");
    let lines = metrics.lines().filter(|line| line.starts_with("scute_reconciles") && line.contains(&label));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

async fn pass(controller: &str, before: u64) {
    scute_testkit::until(&format!("{controller} has run"), || async move {
        (passes(controller) > before).then_some(())
    })
    .await;
}

/// Names and resource versions of everything that belongs to the tenant, and what is said of it.
async fn state(world: &World) -> Vec<String> {
    let own = ListParams::default().labels("kamaji.clastix.io/name=t");
    let version = |kind: &str, name: String, version: Option<String>| {
        format!("{kind} {name} {}", version.unwrap_or_default())
    };
    let tcp = world.api::<TenantControlPlane>().get("t").await.expect("there");
    let mut state = vec![json!(tcp.status).to_string()];
    for one in world.api::<Secret>().list(&own).await.expect("listed") {
        state.push(version("Secret", one.name_any(), one.resource_version()));
    }
    let deployment = world.api::<Deployment>().get("t").await.expect("there");
    state.push(version("Deployment", deployment.name_any(), deployment.resource_version()));
    let service = world.api::<Service>().get("t").await.expect("there");
    state.push(version("Service", service.name_any(), service.resource_version()));
    state
}

/// Neither a new manager nor a look at the object writes anything.
async fn nothing_is_written_at_rest(world: &mut World) {
    let before = state(world).await;
    let (outside, inside) = ("tenantcontrolplane", "tenantcontrolplane-inside");
    let (once, look) = (passes(outside), passes(inside));
    world.run(Arc::new(RealEtcd)).await;
    world.datastore_ready().await;
    pass(outside, once).await;
    pass(inside, look).await;
    let once = passes(outside);
    let seen = Patch::Merge(json!({ "metadata": { "annotations": { "seen": "" } } }));
    let api = world.api::<TenantControlPlane>();
    api.patch("t", &PatchParams::default(), &seen).await.expect("patched");
    pass(outside, once).await;
    assert_eq!(state(world).await, before);
}

async fn dns_keeps_its_address(world: &World) {
    let api = world.api::<TenantControlPlane>();
    let dns = |ip: &str| Patch::Merge(json!({ "spec": { "networkProfile": { "dnsServiceIPs": [ip] } } }));
    api.patch("t", &PatchParams::default(), &dns("10.96.0.53")).await.expect("no webhook here");
    let tcp = world.condition("t", "TenantObjectsReady", "DNSServiceMoved").await;
    let (_, _, message) = said(&tcp, "TenantObjectsReady").expect("a condition");
    assert!(message.ends_with("set it to 10.96.0.10 again"), "{message}");
    api.patch("t", &PatchParams::default(), &dns("10.96.0.10")).await.expect("patched");
    world.condition("t", "TenantObjectsReady", "Applied").await;
}

/// While Pods of another version start, what Nodes read is of the version that serves.
async fn nothing_inside_is_newer_than_the_pods(world: &World, admin: &Client) {
    let change =
        json!({ "kubernetes": { "version": "v1.35.3" }, "networkProfile": { "certSANs": ["new.example"] } });
    let api = world.api::<TenantControlPlane>();
    api.patch("t", &PatchParams::default(), &Patch::Merge(json!({ "spec": change }))).await.expect("patched");
    let maps = Api::<ConfigMap>::namespaced(admin.clone(), "kube-system");
    let has = |text: &'static str| {
        move |map: &ConfigMap| map.data.iter().flatten().any(|(_, value)| value.contains(text))
    };
    let map = eventually(maps.clone(), "kubeadm-config", "with the new name", has("new.example")).await;
    assert!(has("v1.35.4")(&map) && !has("v1.35.3")(&map), "{map:?}");
    eventually(api, "t", "upgrading", |tcp: &TenantControlPlane| phase(tcp) == "Upgrading").await;
    world.pods_ready("t", 1).await;
    eventually(maps, "kubeadm-config", "of the version that runs now", has("v1.35.3")).await;
}

async fn a_pause_holds_inside(world: &World, admin: &Client) {
    let api = world.api::<TenantControlPlane>();
    let pause = |value: Option<&str>| {
        Patch::Merge(json!({ "metadata": { "annotations": { "kamaji.clastix.io/paused": value } } }))
    };
    let before = passes("tenantcontrolplane-inside");
    api.patch("t", &PatchParams::default(), &pause(Some(""))).await.expect("patched");
    world.condition("t", "Paused", "Paused").await;
    pass("tenantcontrolplane-inside", before).await;
    let maps = Api::<ConfigMap>::namespaced(admin.clone(), "kube-public");
    maps.delete("cluster-info", &DeleteParams::default()).await.expect("deleted");
    let before = passes("tenantcontrolplane-inside");
    let other = Patch::Merge(json!({ "spec": { "networkProfile": { "certSANs": ["paused.example"] } } }));
    api.patch("t", &PatchParams::default(), &other).await.expect("patched");
    pass("tenantcontrolplane-inside", before).await;
    assert!(maps.get_opt("cluster-info").await.expect("asked").is_none(), "it was left alone");
    api.patch("t", &PatchParams::default(), &pause(None)).await.expect("patched");
    eventually(maps, "cluster-info", "back", |_| true).await;
    // The certificate has the new name, so the Pods are replaced.
    world.pods_ready("t", 1).await;
    world.condition("t", "Ready", "Ready").await;
}

async fn drift_is_repaired_and_what_is_off_is_removed(world: &World, admin: &Client) {
    let (maps, delete) =
        (Api::<ConfigMap>::namespaced(admin.clone(), "kube-public"), DeleteParams::default());
    maps.delete("cluster-info", &delete).await.expect("deleted");
    let bindings = Api::<ClusterRoleBinding>::all(admin.clone());
    bindings.delete("kubeadm:get-nodes", &delete).await.expect("deleted");
    let off = Patch::Merge(json!({ "spec": { "addons": { "coreDNS": null } } }));
    let api = world.api::<TenantControlPlane>();
    api.patch("t", &PatchParams::default(), &off).await.expect("patched");
    eventually_gone(Api::<Deployment>::namespaced(admin.clone(), "kube-system"), "coredns").await;
    eventually(maps, "cluster-info", "back", |_| true).await;
    eventually(bindings, "kubeadm:get-nodes", "back", |_| true).await;
    let off = |tcp: &TenantControlPlane| {
        let addons = tcp.status.as_ref().and_then(|status| status.addons.clone()).unwrap_or_default();
        !addons.core_dns.enabled && addons.kube_proxy.enabled
    };
    eventually(api, "t", "without CoreDNS", off).await;
}

async fn deleted_objects_come_back(world: &World) {
    let before = world.data("t-front-proxy-client-certificate").await;
    let delete = DeleteParams::default();
    world.api::<Secret>().delete("t-front-proxy-client-certificate", &delete).await.expect("deleted");
    let fresh = |secret: &Secret| {
        let old = before["front-proxy-client.crt"].as_bytes();
        secret.data.as_ref().is_some_and(|data| data["front-proxy-client.crt"].0 != old)
    };
    eventually(world.api::<Secret>(), "t-front-proxy-client-certificate", "made anew", fresh).await;
    let uid = world.api::<Service>().get("t").await.expect("the Service").uid();
    world.api::<Service>().delete("t", &delete).await.expect("deleted");
    eventually(world.api::<Service>(), "t", "back", |service: &Service| service.uid() != uid).await;
    let uid = world.api::<Deployment>().get("t").await.expect("the Deployment").uid();
    world.api::<Deployment>().delete("t", &delete).await.expect("deleted");
    eventually(world.api::<Deployment>(), "t", "back", |deployment: &Deployment| deployment.uid() != uid)
        .await;
    world.api::<ConfigMap>().delete("t-kubeadmconfig", &delete).await.expect("deleted");
    eventually(world.api::<ConfigMap>(), "t-kubeadmconfig", "back", |_| true).await;
}

/// With the certificate of one tenant's Secret, every key of another is out of reach.
async fn another_tenants_certificate_opens_nothing(world: &World, etcd: &Etcd) {
    world.tenant("other", json!({})).await;
    eventually(world.api::<Deployment>(), "other", "there", |_| true).await;
    let (mine, theirs) =
        (world.data("other-datastore-certificate").await, world.data("t-datastore-config").await);
    let own = world.data("other-datastore-config").await;
    let tls = etcd_client::TlsOptions::new()
        .ca_certificate(etcd_client::Certificate::from_pem(&mine["ca.crt"]))
        .identity(etcd_client::Identity::from_pem(&mine["server.crt"], &mine["server.key"]));
    let options = etcd_client::ConnectOptions::new().with_tls(tls);
    let mut client =
        etcd_client::Client::connect([etcd.endpoint.as_str()], Some(options)).await.expect("a client");
    client.put(format!("/{}/x", own["DB_SCHEMA"]), "1", None).await.expect("its own prefix");
    let foreign = format!("/{}/registry/namespaces/default", theirs["DB_SCHEMA"]);
    for (what, refused) in [
        ("read", client.get(foreign.as_str(), None).await.is_err()),
        ("write", client.put(foreign.as_str(), "1", None).await.is_err()),
        ("delete", client.delete(foreign.as_str(), None).await.is_err()),
        ("list", client.get("/", Some(etcd_client::GetOptions::new().with_from_key())).await.is_err()),
        ("users", client.user_list().await.is_err()),
        ("a user", client.user_add("evil", "", None).await.is_err()),
    ] {
        assert!(refused, "{what} was not refused");
    }
    let watch = client.watch(foreign.as_str(), None).await;
    let canceled = match watch {
        Err(_) => true,
        Ok(mut stream) => stream.message().await.ok().flatten().is_none_or(|answer| answer.canceled()),
    };
    assert!(canceled, "a watch was not refused");
}

async fn nothing_is_left(etcd: &Etcd, schema: &str) {
    let (certificate, key) = etcd.client_certificate("root").expect("issued");
    let tls = etcd_client::TlsOptions::new()
        .ca_certificate(etcd_client::Certificate::from_pem(&etcd.ca_certificate))
        .identity(etcd_client::Identity::from_pem(certificate, key));
    let options = etcd_client::ConnectOptions::new().with_tls(tls);
    let mut root =
        etcd_client::Client::connect([etcd.endpoint.as_str()], Some(options)).await.expect("a client");
    let all = etcd_client::GetOptions::new().with_prefix().with_keys_only();
    let keys = root.get(format!("/{schema}"), Some(all)).await.expect("listed");
    assert_eq!(keys.count(), 0);
    assert!(!root.user_list().await.expect("listed").users().iter().any(|user| user == schema));
    assert!(!root.role_list().await.expect("listed").roles().iter().any(|role| role == schema));
}

#[tokio::test]
async fn sleeping_keeps_the_data_and_a_scale_request_wakes_it() {
    let etcd = Etcd::start().expect("etcd");
    let world = World::start("sleep", Arc::new(RealEtcd)).await;
    world.datastore(&etcd).await;
    world.tenant("t", json!({})).await;
    eventually(world.api::<Deployment>(), "t", "there", |_| true).await;
    let scale = |replicas: i32| Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    let api = world.api::<TenantControlPlane>();
    api.patch_scale("t", &PatchParams::default(), &scale(0)).await.expect("the scale subresource");
    let zero = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(0);
    eventually(world.api::<Deployment>(), "t", "scaled to zero", zero).await;
    world.pods_ready("t", 0).await;
    let asleep = |tcp: &TenantControlPlane| {
        phase(tcp) == "Sleeping"
            && tcp.status.as_ref().and_then(|status| status.observed_generation).is_some()
    };
    eventually(world.api(), "t", "asleep", asleep).await;
    world.data("t-datastore-certificate").await;
    api.patch_scale("t", &PatchParams::default(), &scale(3)).await.expect("the scale subresource");
    let three = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(3);
    eventually(world.api::<Deployment>(), "t", "awake", three).await;
}
