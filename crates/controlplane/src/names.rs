//! Names, labels and keys of the objects of one TenantControlPlane: upstream's, exactly.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use scute_api::kamaji::{COMPONENT_LABEL, LIFECYCLE_LABEL, NAME_LABEL, PROJECT_LABEL, TenantControlPlane};

/// Field manager of everything that the TenantControlPlane controller applies.
pub const MANAGER: &str = "scute-tenantcontrolplane";

/// Label by which a Deployment finds its Pods.
pub const NAME_SELECTOR: &str = NAME_LABEL;

/// One Secret of a TenantControlPlane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TenantSecret {
    /// Authority of the tenant.
    Ca,
    /// Authority of aggregated API servers.
    FrontProxyCa,
    /// Keys of service account tokens.
    ServiceAccount,
    /// Serving certificate.
    ApiServer,
    /// Client certificate towards kubelets.
    KubeletClient,
    /// Client certificate towards aggregated API servers.
    FrontProxyClient,
    /// Kubeconfigs of administrators.
    Admin,
    /// Kubeconfig of the controller-manager.
    ControllerManager,
    /// Kubeconfig of the scheduler.
    Scheduler,
    /// Client certificate towards the DataStore.
    DataStoreCertificate,
    /// User and prefix in the DataStore.
    DataStoreConfig,
}

impl TenantSecret {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 11] = [
        Self::Ca,
        Self::FrontProxyCa,
        Self::ServiceAccount,
        Self::ApiServer,
        Self::KubeletClient,
        Self::FrontProxyClient,
        Self::Admin,
        Self::ControllerManager,
        Self::Scheduler,
        Self::DataStoreCertificate,
        Self::DataStoreConfig,
    ];

    /// Name of the Secret.
    pub fn name(self, tcp: &str) -> String {
        let suffix = match self {
            Self::Ca => "ca",
            Self::FrontProxyCa => "front-proxy-ca-certificate",
            Self::ServiceAccount => "sa-certificate",
            Self::ApiServer => "api-server-certificate",
            Self::KubeletClient => "api-server-kubelet-client-certificate",
            Self::FrontProxyClient => "front-proxy-client-certificate",
            Self::Admin => "admin-kubeconfig",
            Self::ControllerManager => "controller-manager-kubeconfig",
            Self::Scheduler => "scheduler-kubeconfig",
            Self::DataStoreCertificate => "datastore-certificate",
            Self::DataStoreConfig => "datastore-config",
        };
        format!("{tcp}-{suffix}")
    }

    /// Value of the label `kamaji.clastix.io/component`, and the end of the Pods' checksum label.
    pub fn component(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::FrontProxyCa => "front-proxy-ca-certificate",
            Self::ServiceAccount => "service-account",
            Self::ApiServer => "api-server-certificate",
            Self::KubeletClient => "api-server-kubelet-client-certificate",
            Self::FrontProxyClient => "front-proxy-client-certificate",
            Self::Admin => "admin-kubeconfig",
            Self::ControllerManager => "controller-manager-kubeconfig",
            Self::Scheduler => "scheduler-kubeconfig",
            Self::DataStoreCertificate => "datastore-certificate",
            Self::DataStoreConfig => "datastore-config",
        }
    }

    /// Value of the label `kamaji.clastix.io/certificate_lifecycle_controller`; authorities and keys have none.
    pub fn lifecycle(self) -> Option<&'static str> {
        match self {
            Self::ApiServer | Self::KubeletClient | Self::FrontProxyClient | Self::DataStoreCertificate => {
                Some("x509")
            }
            Self::Admin | Self::ControllerManager | Self::Scheduler => Some("kubeconfig"),
            Self::Ca | Self::FrontProxyCa | Self::ServiceAccount | Self::DataStoreConfig => None,
        }
    }

    /// Whether users put one of their own there: keys that sign for a tenant's whole life.
    pub fn is_brought_by_users(self) -> bool {
        matches!(self, Self::Ca | Self::FrontProxyCa | Self::ServiceAccount)
    }

    /// Whether the Pods read it, so that a change has to replace them.
    pub fn is_read_by_pods(self) -> bool {
        !matches!(self, Self::Admin)
    }
}

/// Name of the ConfigMap with kubeadm's configuration.
pub fn kubeadm_config_map(tcp: &str) -> String {
    format!("{tcp}-kubeadmconfig")
}

/// The label by which the Deployment finds its Pods.
pub fn selector(tcp: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(NAME_LABEL.to_owned(), tcp.to_owned())])
}

/// Labels of an object of a TenantControlPlane.
pub fn labels(tcp: &str, component: &str, lifecycle: Option<&str>) -> BTreeMap<String, String> {
    let mut labels = selector(tcp);
    labels.insert(PROJECT_LABEL.to_owned(), "kamaji".to_owned());
    labels.insert(COMPONENT_LABEL.to_owned(), component.to_owned());
    labels.extend(lifecycle.map(|lifecycle| (LIFECYCLE_LABEL.to_owned(), lifecycle.to_owned())));
    labels
}

/// Metadata of an object that belongs to a TenantControlPlane.
pub fn owned_meta(
    tcp: &TenantControlPlane,
    name: String,
    component: &str,
    lifecycle: Option<&str>,
) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: tcp.namespace(),
        labels: Some(labels(&tcp.name_any(), component, lifecycle)),
        owner_references: tcp.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        let names: Vec<_> = TenantSecret::ALL.iter().map(|which| which.name("t")).collect();
        assert_eq!(
            names,
            [
                "t-ca",
                "t-front-proxy-ca-certificate",
                "t-sa-certificate",
                "t-api-server-certificate",
                "t-api-server-kubelet-client-certificate",
                "t-front-proxy-client-certificate",
                "t-admin-kubeconfig",
                "t-controller-manager-kubeconfig",
                "t-scheduler-kubeconfig",
                "t-datastore-certificate",
                "t-datastore-config",
            ]
        );
    }

    #[test]
    fn every_object_is_labelled() {
        let labels = labels("t", "ca", Some("x509"));
        assert_eq!(labels["kamaji.clastix.io/project"], "kamaji");
        assert_eq!(labels["kamaji.clastix.io/name"], "t");
        assert_eq!(labels["kamaji.clastix.io/component"], "ca");
        assert_eq!(labels["kamaji.clastix.io/certificate_lifecycle_controller"], "x509");
    }
}
