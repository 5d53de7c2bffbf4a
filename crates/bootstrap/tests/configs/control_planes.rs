//! Hosts of a control plane: one begins the Cluster, the others join it.

use kube::api::DeleteParams;

use super::*;

/// A control-plane Machine that wants the KubeadmConfig of its name, and that.
async fn host(case: &Case, name: &str, spec: Value) {
    let labels = json!({"cluster.x-k8s.io/cluster-name": "c", "cluster.x-k8s.io/control-plane": ""});
    let reference = json!({"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": name});
    let machine = case
        .create(
            "Machine",
            name,
            json!({"metadata": {"labels": labels}, "spec": {"clusterName": "c", "version": "v1.35.4",
            "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "Y", "name": "c"},
            "bootstrap": {"configRef": reference}}}),
        )
        .await;
    let owner = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": name,
        "uid": machine.uid(), "controller": true});
    let metadata = json!({"ownerReferences": [owner], "labels": labels});
    case.create("KubeadmConfig", name, json!({"metadata": metadata, "spec": spec})).await;
}

async fn infrastructure(case: &Case) {
    case.status("Cluster", "c", json!({"initialization": {"infrastructureProvisioned": true}})).await;
}

/// Once the KubeadmConfig says so: its DataSecretAvailable condition.
async fn says(case: &Case, name: &str, reason: &str) -> String {
    let is = |config: &DynamicObject| condition(config, "DataSecretAvailable")["reason"] == reason;
    let config = scute_testkit::eventually(case.api("KubeadmConfig"), name, reason, is).await;
    condition(&config, "DataSecretAvailable")["message"].as_str().unwrap_or_default().to_owned()
}

/// The document for cloud-init, once it is made.
async fn document(case: &Case, name: &str) -> Value {
    let is = |config: &DynamicObject| config.data["status"]["initialization"]["dataSecretCreated"] == true;
    scute_testkit::eventually(case.api("KubeadmConfig"), name, "made", is).await;
    let secrets = Api::<Secret>::namespaced(case.client.clone(), &case.namespace);
    let text = data(&secrets.get(name).await.expect("the Secret"), "value");
    serde_saphyr::from_str(&text).expect("YAML")
}

fn paths(document: &Value) -> Vec<&str> {
    let files = document["write_files"].as_array().expect("files");
    files.iter().map(|file| file["path"].as_str().expect("a path")).collect()
}

async fn holder(case: &Case) -> Option<String> {
    let lock = case.api("ConfigMap").get_opt("c-lock").await.expect("an answer")?;
    let text = lock.data["data"]["lock-information"].as_str().expect("information").to_owned();
    let information: Value = serde_json::from_str(&text).expect("JSON");
    Some(information["machineName"].as_str().expect("a name").to_owned())
}

#[test]
fn one_of_two_hosts_begins_the_cluster_and_the_other_joins_it() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        let spec = json!({"clusterConfiguration": {"encryptionAlgorithm": "ECDSA-P256"}});
        tokio::join!(host(&case, "a", spec.clone()), host(&case, "b", spec));
        says(&case, "a", "WaitingForClusterInfrastructureReady").await;
        infrastructure(&case).await;

        // Whichever was faster.
        let lock = scute_testkit::eventually(case.api("ConfigMap"), "c-lock", "taken", |_| true).await;
        let owner = &lock.owner_references()[0];
        assert_eq!((owner.kind.as_str(), owner.controller), ("Cluster", None));
        assert_eq!(lock.labels()["cluster.x-k8s.io/cluster-name"], "c");
        let first = holder(&case).await.expect("a holder");
        let second = if first == "a" { "b" } else { "a" };
        let begins = document(&case, &first).await;
        // Who was slower by a moment says so first, and then looks who it was.
        let waits = format!("Machine {first} begins the Cluster");
        let is = |config: &DynamicObject| condition(config, "DataSecretAvailable")["message"] == waits.as_str();
        scute_testkit::eventually(case.api("KubeadmConfig"), second, "told whom it waits for", is).await;
        assert!(case.api("Secret").get_opt(second).await.expect("an answer").is_none());

        assert_eq!(
            paths(&begins),
            [
                "/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/etcd/ca.crt",
                "/etc/kubernetes/pki/etcd/ca.key", "/etc/kubernetes/pki/front-proxy-ca.crt",
                "/etc/kubernetes/pki/front-proxy-ca.key", "/etc/kubernetes/pki/sa.pub", "/etc/kubernetes/pki/sa.key",
                "/run/kubeadm/kubeadm.yaml", "/run/cluster-api/placeholder",
            ]
        );
        let command = begins["runcmd"][0].as_str().expect("a command");
        assert_eq!(command, "kubeadm init --config /run/kubeadm/kubeadm.yaml --skip-token-print && echo success > /run/cluster-api/bootstrap-success.complete");
        let configuration = begins["write_files"][8]["content"].as_str().expect("text");
        for part in ["clusterName: c", "controlPlaneEndpoint: 10.0.0.1:6443", "kubernetesVersion: v1.35.4", "kind: InitConfiguration"] {
            assert!(configuration.contains(part), "{part} is missing in\n{configuration}");
        }

        // Nothing keeps this Cluster's control plane: the first host's configuration made the key pairs.
        let secrets = Api::<Secret>::namespaced(case.client.clone(), &case.namespace);
        for name in ["c-ca", "c-etcd", "c-proxy", "c-sa"] {
            let secret = secrets.get(name).await.expect(name);
            assert_eq!(secret.type_.as_deref(), Some("cluster.x-k8s.io/secret"), "{name}");
            let owner = &secret.owner_references()[0];
            assert_eq!((owner.kind.as_str(), owner.controller), ("KubeadmConfig", Some(true)), "{name}");
        }
        let config = case.api("KubeadmConfig").get(&first).await.expect("there");
        for type_ in ["Ready", "DataSecretAvailable", "CertificatesAvailable"] {
            assert_eq!(condition(&config, type_)["status"], "True", "{type_}");
        }

        case.create("Secret", "c-kubeconfig", json!({"stringData": {"value": case.kubeconfig}})).await;
        case.initialized().await;
        let joins = document(&case, second).await;
        assert_eq!(paths(&joins)[..8], paths(&begins)[..8]);
        let written = |document: &Value, at: usize| document["write_files"][at]["content"].clone();
        assert_eq!(written(&joins, 1), written(&begins, 1), "one authority for both");
        let configuration: Value = serde_saphyr::from_str(written(&joins, 8).as_str().expect("text")).expect("YAML");
        assert_eq!(configuration["kind"], "JoinConfiguration");
        assert_eq!(configuration["controlPlane"], json!({}));
        assert!(configuration["nodeRegistration"]["taints"].is_null(), "kubeadm has the taint of control planes");
        scute_testkit::eventually_gone(case.api("ConfigMap"), "c-lock").await;
        // The first host's data stays what its host has booted with.
        assert_eq!(document(&case, &first).await, begins);
    });
}

#[test]
fn the_lock_of_a_machine_that_is_gone_is_taken_over() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        infrastructure(&case).await;
        host(&case, "a", json!({"clusterConfiguration": {"encryptionAlgorithm": "ECDSA-P256"}})).await;
        document(&case, "a").await;
        host(&case, "b", json!({})).await;
        says(&case, "b", "WaitingForControlPlaneInitialized").await;
        case.api("Machine").delete("a", &DeleteParams::default()).await.expect("deleted");
        document(&case, "b").await;
        assert_eq!(holder(&case).await.as_deref(), Some("b"));
        // The key pairs of the first attempt are those of the second.
        let secrets = Api::<Secret>::namespaced(case.client.clone(), &case.namespace);
        let owner = secrets.get("c-ca").await.expect("there").owner_references()[0].clone();
        assert_eq!(owner.name, "a");
    });
}

#[test]
fn a_host_that_cannot_begin_lets_another_do_it() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        infrastructure(&case).await;
        case.create("ConfigMap", "c-lock", json!({"data": {"lock-information": r#"{"machineName":"a"}"#}}))
            .await;
        // It has the lock, and its file waits for a Secret that nobody makes.
        host(
            &case,
            "a",
            json!({"files": [{"path": "/x", "contentFrom": {"secret": {"name": "none", "key": "k"}}}]}),
        )
        .await;
        says(&case, "a", "WaitingForSecret").await;
        host(&case, "b", json!({"clusterConfiguration": {"encryptionAlgorithm": "ECDSA-P256"}})).await;
        document(&case, "b").await;
        assert_eq!(holder(&case).await.as_deref(), Some("b"));
    });
}

#[test]
fn a_control_plane_object_makes_the_key_pairs_itself() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        let reference = json!({"apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KubeadmControlPlane", "name": "c"});
        let patch = Patch::Merge(json!({"spec": {"controlPlaneRef": reference}}));
        case.api("Cluster").patch("c", &PatchParams::default(), &patch).await.expect("patched");
        infrastructure(&case).await;
        host(&case, "a", json!({})).await;
        let message = says(&case, "a", "WaitingForCertificates").await;
        assert_eq!(
            message,
            "Secret c-ca does not exist; Secret c-etcd does not exist; Secret c-proxy does not exist; Secret c-sa does not exist"
        );
        assert!(holder(&case).await.is_none(), "who cannot begin takes no lock");
        case.create("Secret", "c-ca", json!({"stringData": {"tls.crt": "none", "tls.key": "none"}})).await;
        let is = |config: &DynamicObject| {
            let message = condition(config, "DataSecretAvailable")["message"].as_str().unwrap_or_default().to_owned();
            message.contains("Secret c-ca: ") && !message.contains("c-ca does not exist")
        };
        scute_testkit::eventually(case.api("KubeadmConfig"), "a", "what is wrong with it", is).await;
    });
}

#[test]
fn a_worker_is_no_control_plane_and_a_version_is_needed() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        case.secrets().await;
        case.initialized().await;
        case.config(json!({"joinConfiguration": {"controlPlane": {}}})).await;
        let message = case.waits("InvalidConfiguration").await;
        assert!(message.contains("the Machine is a worker"), "{message}");
    });
}

#[test]
fn a_kubeconfig_of_the_users_replaces_the_token() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        case.secrets().await;
        case.initialized().await;
        let file = json!({"kubeConfigPath": "/etc/discovery.conf", "kubeConfig": {"user": {"exec": {"command": "/bin/x"}}}});
        case.config(json!({"joinConfiguration": {"discovery": {"file": file}}})).await;
        let document = document(&case, "m").await;
        let files = document["write_files"].as_array().expect("files");
        let made = files.iter().find(|file| file["path"] == "/etc/discovery.conf").expect("made");
        let config: Value = serde_saphyr::from_str(made["content"].as_str().expect("text")).expect("YAML");
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://10.0.0.1:6443");
        assert!(config["clusters"][0]["cluster"]["certificate-authority-data"].is_string());
        let config = case.api("KubeadmConfig").get("m").await.expect("there");
        assert!(config.data["spec"]["joinConfiguration"]["discovery"]["bootstrapToken"].is_null());
    });
}
