//! What a KamajiControlPlane and its Cluster ask of a TenantControlPlane. Pure.

use std::collections::BTreeMap;

use ipnet::IpNet;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use scute_api::cluster::{Cluster, ClusterNetwork, NetworkRanges, RangeOverlap};
use scute_api::controlplane::{ComponentSpec, KamajiControlPlane};
use scute_api::kamaji::{
    AddonImage, Addons, ComponentArgs, ComponentResources, ControlPlane, DELETION_POLICY_ANNOTATION,
    DeploymentSpec, EGRESS_ANNOTATION, KUBECONFIG_KEY_ANNOTATION, KubernetesSpec, NetworkProfile, Probes,
    RegistrySettings, ServiceSpec, TenantControlPlane, TenantControlPlaneSpec,
};
use scute_api::meta::{CLUSTER_NAME_LABEL, TemplateMeta};
use scute_kit::FieldError;

use crate::inside::{EMBEDDED, POD_NETWORK_ANNOTATION};

/// Label on a Cluster whose Pod network somebody else installs.
const CNI_LABEL: &str = "cni";
/// Value of the annotation `scute.dev/pod-network` on a Cluster that brings its own.
const NONE: &str = "none";

/// The TenantControlPlane. What was decided once and is not asked for here stays as `existing` has it: the API server
/// counts defaults of an admission webhook as ours, and would take them away again.
pub fn tenant(
    kcp: &KamajiControlPlane,
    cluster: &Cluster,
    existing: Option<&TenantControlPlane>,
) -> TenantControlPlane {
    let spec = &kcp.spec;
    let before = existing.map(|tcp| tcp.spec.clone()).unwrap_or_default();
    let mut network = network(kcp, cluster);
    let before_network = before.network_profile;
    for (list, before) in [
        (&mut network.service_cidrs, before_network.service_cidrs),
        (&mut network.pod_cidrs, before_network.pod_cidrs),
        (&mut network.dns_service_ips, before_network.dns_service_ips),
    ] {
        if list.is_empty() {
            *list = before;
        }
    }
    TenantControlPlane {
        metadata: metadata(kcp, cluster),
        spec: TenantControlPlaneSpec {
            data_store: spec.data_store_name.clone().or(before.data_store),
            data_store_schema: spec.data_store_schema.clone().or(before.data_store_schema),
            data_store_username: spec.data_store_username.clone().or(before.data_store_username),
            control_plane: ControlPlane { deployment: deployment(kcp), service: service(kcp) },
            kubernetes: KubernetesSpec {
                version: spec.kubernetes_version(),
                kubelet: spec.kubelet.clone().unwrap_or_default(),
                admission_controllers: spec.admission_controllers.clone(),
            },
            network_profile: network,
            addons: addons(kcp),
        },
        status: None,
    }
}

fn metadata(kcp: &KamajiControlPlane, cluster: &Cluster) -> ObjectMeta {
    let mut labels = kcp.labels().clone();
    labels.insert(CLUSTER_NAME_LABEL.to_owned(), cluster.name_any());
    let mut annotations = BTreeMap::new();
    for annotation in [KUBECONFIG_KEY_ANNOTATION, DELETION_POLICY_ANNOTATION, EGRESS_ANNOTATION] {
        let asked = kcp.annotations().get(annotation);
        annotations.extend(asked.map(|value| (annotation.to_owned(), value.clone())));
    }
    if wants_pod_network(cluster) {
        annotations.insert(POD_NETWORK_ANNOTATION.to_owned(), EMBEDDED.to_owned());
    }
    ObjectMeta {
        name: kcp.metadata.name.clone(),
        namespace: kcp.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: kcp.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Users bring a Pod network by a ClusterResourceSet that selects the label `cni`, or say that they bring one.
fn wants_pod_network(cluster: &Cluster) -> bool {
    !cluster.labels().contains_key(CNI_LABEL)
        && cluster.annotations().get(POD_NETWORK_ANNOTATION).is_none_or(|asked| asked != NONE)
}

fn network(kcp: &KamajiControlPlane, cluster: &Cluster) -> NetworkProfile {
    let (asked, cluster) = (&kcp.spec.network, cluster.spec.cluster_network.clone().unwrap_or_default());
    let ranges = |ranges: Option<NetworkRanges>| ranges.map(|ranges| ranges.cidr_blocks).unwrap_or_default();
    let balancer = asked.load_balancer_config.clone().unwrap_or_default();
    let dns = kcp.spec.addons.as_ref().and_then(|addons| addons.core_dns.as_ref());
    let dns = dns.map(|dns| dns.dns_service_ips.clone()).filter(|ips| !ips.is_empty());
    let default = NetworkProfile::default();
    NetworkProfile {
        address: asked.service_address.clone().unwrap_or_default(),
        port: cluster.api_server_port.unwrap_or(default.port),
        cert_sans: asked.cert_sans.clone(),
        cluster_domain: cluster.service_domain.clone().unwrap_or(default.cluster_domain),
        service_cidrs: ranges(cluster.services),
        pod_cidrs: ranges(cluster.pods),
        dns_service_ips: dns.unwrap_or_else(|| asked.dns_service_ips.clone()),
        load_balancer_source_ranges: balancer.load_balancer_source_ranges,
        load_balancer_class: balancer.load_balancer_class,
        ..NetworkProfile::default()
    }
}

fn service(kcp: &KamajiControlPlane) -> ServiceSpec {
    let asked = &kcp.spec.network;
    let some = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
    let meta =
        TemplateMeta { labels: some(&asked.service_labels), annotations: some(&asked.service_annotations) };
    ServiceSpec {
        service_type: asked.service_type,
        additional_metadata: (meta != TemplateMeta::default()).then_some(meta),
        allocate_load_balancer_node_ports: None,
    }
}

fn deployment(kcp: &KamajiControlPlane) -> DeploymentSpec {
    let (spec, asked) = (&kcp.spec, kcp.spec.deployment.clone().unwrap_or_default());
    let component = |component: &Option<ComponentSpec>| component.clone().unwrap_or_default();
    let [api_server, controller_manager, scheduler] =
        [&spec.api_server, &spec.controller_manager, &spec.scheduler].map(component);
    let default = RegistrySettings::default();
    let image =
        |component: &ComponentSpec, default| component.container_image_name.clone().unwrap_or(default);
    let all = asked.probes.clone().unwrap_or_default();
    let probes = Probes {
        liveness: all.liveness,
        readiness: all.readiness,
        startup: all.startup,
        api_server: api_server.probes.clone(),
        controller_manager: controller_manager.probes.clone(),
        scheduler: scheduler.probes.clone(),
    };
    let resources = ComponentResources {
        api_server: api_server.resources.clone(),
        controller_manager: controller_manager.resources.clone(),
        scheduler: scheduler.resources.clone(),
    };
    let registry_settings = RegistrySettings {
        registry: spec.registry.clone(),
        tag_suffix: default.tag_suffix,
        api_server_image: image(&api_server, default.api_server_image),
        controller_manager_image: image(&controller_manager, default.controller_manager_image),
        scheduler_image: image(&scheduler, default.scheduler_image),
    };
    let extra_args = ComponentArgs {
        api_server: api_server.extra_args,
        controller_manager: controller_manager.extra_args,
        scheduler: scheduler.extra_args,
    };
    DeploymentSpec {
        registry_settings,
        replicas: spec.replicas,
        node_selector: asked.node_selector,
        tolerations: asked.tolerations,
        affinity: asked.affinity,
        topology_spread_constraints: asked.topology_spread_constraints,
        runtime_class_name: asked.runtime_class_name,
        strategy: asked.strategy,
        resources: (resources != ComponentResources::default()).then_some(resources),
        extra_args: (extra_args != ComponentArgs::default()).then_some(extra_args),
        additional_metadata: asked.additional_metadata,
        pod_additional_metadata: asked.pod_additional_metadata,
        service_account_name: asked.service_account_name,
        pod_security_context: None,
        probes: (probes != Probes::default()).then_some(probes),
    }
}

fn addons(kcp: &KamajiControlPlane) -> Addons {
    let asked = kcp.spec.addons.clone().unwrap_or_default();
    Addons {
        core_dns: asked
            .core_dns
            .map(|dns| AddonImage { image_repository: dns.image_repository, image_tag: dns.image_tag }),
        kube_proxy: asked.kube_proxy,
    }
}

/// VM Nodes have addresses in the management cluster's Pod range: a tenant that uses the same range for its own Pods
/// or Services could not reach its Nodes. And they use Services of the management cluster, its DNS to begin with: the
/// tenant's kube-proxy would take their addresses for its own, and the management cluster's translates what a Pod sends to one of them.
///
/// # Errors
/// The field, its range, and the one that it overlaps.
pub fn check_ranges(
    cluster: &Cluster,
    management_pods: &[IpNet],
    management_services: &[IpNet],
) -> Result<(), FieldError> {
    let on_vms =
        cluster.spec.infrastructure_ref.as_ref().is_some_and(|infra| infra.kind == "KubevirtCluster");
    if !on_vms {
        return Ok(());
    }
    let ours = ranges(cluster);
    let pods = "Pod range, in which VM Nodes have their addresses";
    let services = "Service range, in which VM Nodes have their DNS server";
    for (theirs, what) in [(management_pods, pods), (management_services, services)] {
        if let Some(RangeOverlap { field, range, taken }) = ours.overlap(theirs) {
            let path = format!("spec.clusterNetwork.{field}.cidrBlocks");
            let detail = format!("overlaps {taken}, the management cluster's {what}");
            return Err(FieldError::new(path, range.to_string(), detail));
        }
    }
    Ok(())
}

/// The ranges that the Cluster will have: ours, where its control plane is ours and it names none.
fn ranges(cluster: &Cluster) -> ClusterNetwork {
    let mut network = cluster.spec.cluster_network.clone().unwrap_or_default();
    let control_plane = cluster.spec.control_plane_ref.as_ref();
    if control_plane.is_some_and(|control_plane| control_plane.kind == "KamajiControlPlane") {
        let default = NetworkProfile::default();
        let or = |asked: &mut Option<NetworkRanges>, cidr_blocks: Vec<String>| {
            if asked.as_ref().is_none_or(|asked| asked.cidr_blocks.is_empty()) {
                *asked = Some(NetworkRanges { cidr_blocks });
            }
        };
        or(&mut network.pods, default.pod_ranges());
        or(&mut network.services, default.service_ranges());
    }
    network
}
