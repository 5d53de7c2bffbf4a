//! The way to the etcd member on a Node: through the tenant's API server to its static Pod, as nothing else is in reach of
//! a manager for sure. kubeadm's certificates of members name `localhost`, where the kubelet's port-forward ends.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use scute_etcd::{Connecting, Credentials, Error, Members, Stream, Way, open_member};
use scute_kit::said;

/// Port of etcd for its clients.
const PORT: u16 = 2379;
/// Name in the certificate of every member that kubeadm makes.
const SERVER_NAME: &str = "localhost";

/// How the etcd member of a Node is reached.
pub trait Reach: Send + Sync {
    /// The member on this Node, by a client certificate of its authority. Says nothing of whether it answers.
    fn member(
        &self,
        tenant: Client,
        node: &str,
        client: ClientCertificate,
    ) -> BoxFuture<'static, Result<Arc<dyn Members>, Error>>;
}

/// A certificate of the etcd authority for a client. `Debug` hides the key.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The authority, PEM.
    pub ca_pem: String,
    /// The pair.
    pub pair: scute_pki::KeyPairPem,
}

/// Through the tenant's API server to the Pod `etcd-NODE`.
#[derive(Clone, Copy, Debug, Default)]
pub struct EtcdPods;

impl Reach for EtcdPods {
    fn member(
        &self,
        tenant: Client,
        node: &str,
        client: ClientCertificate,
    ) -> BoxFuture<'static, Result<Arc<dyn Members>, Error>> {
        let pod = format!("etcd-{node}");
        let credentials = Credentials {
            ca_pem: client.ca_pem,
            certificate_pem: client.pair.certificate_pem,
            key_pem: client.pair.key_pem,
            server_name: SERVER_NAME.to_owned(),
        };
        let way: Way = Arc::new(move || forward(tenant.clone(), pod.clone()));
        Box::pin(async move { open_member(&credentials, way).await })
    }
}

fn forward(tenant: Client, pod: String) -> Connecting {
    Box::pin(async move {
        let pods = Api::<Pod>::namespaced(tenant, "kube-system");
        let mut forwarder =
            pods.portforward(&pod, &[PORT]).await.map_err(|error| io::Error::other(said(&error)))?;
        let stream = forwarder.take_stream(PORT).ok_or_else(|| io::Error::other("no stream was opened"))?;
        // The forwarder's task lives as long as its stream does, not as long as the handle.
        Ok(Box::new(stream) as Box<dyn Stream>)
    })
}
