//! Plays bootstrap, infrastructure and kubeadm on its hosts: each Machine gets its data, a host, and on that what
//! `kubeadm init` or `kubeadm join` leaves: static Pods, an etcd member, a Node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use scute_api::bootstrap::KubeadmConfig;
use scute_api::cluster::Machine;
use scute_etcd::fake_members::Ring;
use scute_testkit::Case;
use serde_json::{Value, json};

use super::kinds::resource;

/// What becomes of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Host {
    /// kubeadm runs to its end.
    #[default]
    Works,
    /// It never boots.
    NeverBoots,
    /// The join stops after its member was added: there is no Node.
    JoinStops,
}

/// The players of one namespace.
pub struct Player {
    client: Client,
    namespace: String,
    inside: Client,
    ring: Ring,
    next: Mutex<Vec<Host>>,
    hosts: Mutex<HashMap<String, Host>>,
    made: Mutex<Vec<String>>,
}

impl Player {
    pub fn new(case: &Case, inside: Client, ring: Ring) -> Self {
        Self {
            client: case.client.clone(),
            namespace: case.namespace.clone(),
            inside,
            ring,
            next: Mutex::default(),
            hosts: Mutex::default(),
            made: Mutex::default(),
        }
    }

    /// What becomes of the next hosts, in this order; those after them work.
    pub fn next_hosts(&self, hosts: &[Host]) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = hosts.iter().rev().copied().collect();
    }

    /// Whether it is decided what becomes of a Machine's host.
    pub fn has_host(&self, machine: &str) -> bool {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).contains_key(machine)
    }

    /// Names of all Machines that ever were.
    pub fn made(&self) -> Vec<String> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Plays; never returns. What fails is tried again: a server that is busy is no fault of the test's.
    pub async fn run(self: Arc<Self>) {
        loop {
            let _ = self.round().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn round(&self) -> Result<(), kube::Error> {
        let machines: Api<Machine> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = machines.list(&ListParams::default()).await?.items;
        for machine in &all {
            let name = machine.name_any();
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            if !made.contains(&name) {
                made.push(name);
            }
        }
        for machine in all.iter().filter(|machine| machine.metadata.deletion_timestamp.is_none()) {
            self.config(&machine.name_any()).await?;
            if machine.spec.bootstrap.data_secret_name.is_some() && machine.spec.provider_id.is_none() {
                self.host(machine).await?;
            }
        }
        // The hosts of Machines that are gone are off.
        let names: Vec<_> = all.iter().map(ResourceExt::name_any).collect();
        for gone in self.made().iter().filter(|name| !names.contains(name)) {
            self.ring.kill(gone);
        }
        Ok(())
    }

    async fn config(&self, name: &str) -> Result<(), kube::Error> {
        let configs: Api<KubeadmConfig> = Api::namespaced(self.client.clone(), &self.namespace);
        let Some(config) = configs.get_opt(name).await? else { return Ok(()) };
        if config.status.as_ref().is_some_and(|status| status.data_secret_name.is_some()) {
            return Ok(());
        }
        let status =
            json!({"status": {"dataSecretName": name, "initialization": {"dataSecretCreated": true}}});
        configs.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.map(drop)
    }

    async fn host(&self, machine: &Machine) -> Result<(), kube::Error> {
        let name = machine.name_any();
        let hosts = Api::<DynamicObject>::namespaced_with(
            self.client.clone(),
            &self.namespace,
            &resource("TestMachine"),
        );
        let Some(host) = hosts.get_opt(&name).await? else { return Ok(()) };
        if host.data["status"]["initialization"]["provisioned"] == true {
            return Ok(());
        }
        let kind = {
            let mut known = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            *known.entry(name.clone()).or_insert_with(|| {
                self.next.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
            })
        };
        let id = format!("test://{}/{name}", self.namespace);
        match kind {
            Host::NeverBoots => return Ok(()),
            Host::JoinStops => {
                if !self.ring.names().contains(&name) {
                    self.ring.add_learner(&name);
                }
            }
            Host::Works => self.kubeadm(machine, &id).await?,
        }
        let params = PatchParams::default();
        let spec = json!({"spec": {"providerID": id}});
        hosts.patch(&name, &params, &Patch::Merge(&spec)).await?;
        let status = json!({"status": {"initialization": {"provisioned": true},
            "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}]}});
        hosts.patch_status(&name, &params, &Patch::Merge(&status)).await.map(drop)
    }

    /// What kubeadm leaves. The Node comes last: what it is seen by is there then.
    async fn kubeadm(&self, machine: &Machine, id: &str) -> Result<(), kube::Error> {
        let (name, params) = (machine.name_any(), PatchParams::default());
        let version = machine.spec.version.clone().unwrap_or_default();
        if !self.ring.names().contains(&name) {
            self.ring.add(&name);
        }
        let pods = Api::<Pod>::namespaced(self.inside.clone(), "kube-system");
        for component in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"] {
            let pod = static_pod(component, &name);
            create(&pods, pod).await?;
            let status =
                json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
            pods.patch_status(&format!("{component}-{name}"), &params, &Patch::Merge(&status)).await?;
        }
        let records = Api::<ConfigMap>::namespaced(self.inside.clone(), "kube-system");
        let record = json!({"metadata": {"name": "kubeadm-config"},
            "data": {"ClusterConfiguration": format!("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: {version}\n")}});
        create(&records, record).await?;
        let nodes = Api::<Node>::all(self.inside.clone());
        create(
            &nodes,
            json!({"metadata": {"name": name, "labels": {"node-role.kubernetes.io/control-plane": ""}},
                "spec": {"providerID": id}}),
        )
        .await?;
        let status = json!({"status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": "the kubelet says so"}],
            "nodeInfo": {"kubeletVersion": version, "osImage": "Debian", "architecture": "amd64", "bootID": "",
                "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
                "operatingSystem": "linux", "systemUUID": ""}}});
        nodes.patch_status(&name, &params, &Patch::Merge(&status)).await.map(drop)
    }
}

fn static_pod(component: &str, node: &str) -> Value {
    json!({"metadata": {"name": format!("{component}-{node}"),
            "labels": {"component": component, "tier": "control-plane"},
            "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": node, "hostNetwork": true, "containers": [{"name": component, "image": "i"}],
            "tolerations": [{"operator": "Exists"}]}})
}

/// Creates an object, or finds it made.
async fn create<K>(api: &Api<K>, object: Value) -> Result<(), kube::Error>
where
    K: kube::Resource<DynamicType = ()>
        + serde::de::DeserializeOwned
        + serde::Serialize
        + Clone
        + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).expect("an object");
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}
