//! The way to what listens on a control plane's host, its etcd member above all: through the tenant's API server to its static Pod, as nothing else is in reach of
//! a manager for sure. kubeadm's certificates of members name `localhost`, where the kubelet's port-forward ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use scute_etcd::{Connecting, Credentials, Error, Members, Stream, Way, open_member};
use scute_kit::said;
use scute_pki::Certificate;
use tokio_rustls::TlsConnector;

/// Port of etcd for its clients.
const PORT: u16 = 2379;
/// Port of an API server on its host.
const API_PORT: u16 = 6443;
/// Name in the certificate of every API server that kubeadm makes.
const API_SERVER_NAME: &str = "kubernetes";
/// Until a certificate is served through an API server and a kubelet.
const PATIENCE: Duration = Duration::from_secs(10);
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

    /// When the certificate ends that the API server on this Node serves with; its authority is given, PEM.
    fn certificates_end(
        &self,
        tenant: Client,
        node: &str,
        authority: String,
    ) -> BoxFuture<'static, Result<Timestamp, String>>;
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
        let way: Way = Arc::new(move || forward(tenant.clone(), pod.clone(), PORT));
        Box::pin(async move { open_member(&credentials, way).await })
    }

    fn certificates_end(
        &self,
        tenant: Client,
        node: &str,
        authority: String,
    ) -> BoxFuture<'static, Result<Timestamp, String>> {
        let pod = format!("kube-apiserver-{node}");
        Box::pin(async move {
            let look = async {
                let stream = forward(tenant, pod, API_PORT).await.map_err(|error| error.to_string())?;
                serving_until(stream, &authority).await
            };
            tokio::time::timeout(PATIENCE, look).await.map_err(|_| "no answer in time".to_owned())?
        })
    }
}

/// Until when the certificate is valid that is served at the other end of a stream, by this authority.
async fn serving_until(stream: Box<dyn Stream>, authority: &str) -> Result<Timestamp, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(API_SERVER_NAME).map_err(|error| error.to_string())?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let connected = connected.map_err(|error| error.to_string())?;
    let served = connected.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let served = served.ok_or_else(|| "no certificate was served".to_owned())?;
    let certificate = Certificate::parse(&pem(served)).map_err(|error| error.to_string())?;
    Ok(certificate.not_after())
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

fn forward(tenant: Client, pod: String, port: u16) -> Connecting {
    Box::pin(async move {
        let pods = Api::<Pod>::namespaced(tenant, "kube-system");
        let mut forwarder =
            pods.portforward(&pod, &[port]).await.map_err(|error| io::Error::other(said(&error)))?;
        let stream = forwarder.take_stream(port).ok_or_else(|| io::Error::other("no stream was opened"))?;
        // The forwarder's task lives as long as its stream does, not as long as the handle.
        Ok(Box::new(stream) as Box<dyn Stream>)
    })
}

#[cfg(test)]
mod tests {
    use scute_testkit::ApiServer;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_serving_certificate_is_seen_and_a_stranger_is_not_believed() {
        let server = ApiServer::start().await.expect("started");
        let connect = || async {
            let address = server.url().trim_start_matches("https://");
            let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
            Box::new(stream) as Box<dyn Stream>
        };
        let (authority, _) = server.authority();
        let end = serving_until(connect().await, authority).await.expect("served");
        assert!(end > Timestamp::now());
        let (_, _, other) = server.serving_certificate();
        assert!(serving_until(connect().await, &other).await.is_err());
    }
}
