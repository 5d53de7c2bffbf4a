//! What is said of a TenantControlPlane: the whole status, computed at the end of every run.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use scute_api::kamaji::{
    AddonStatus, AddonsStatus, CertificatesStatus, ConfigMapStatus, DeploymentStatus, KubeconfigsStatus,
    LoadBalancerIngress, LoadBalancerStatus, Phase, SecretStatus, ServiceStatus, StorageSetupStatus,
    StorageStatus, TenantControlPlane, TenantControlPlaneStatus,
};
use scute_contract::paused::only_paused;
use scute_kit::Why;
use scute_kit::conditions::{Conditions, Draft, Status, find, whole_seconds};
use scute_kit::ladder::{self, Stage as _};
use serde_json::{Value, json};

use super::progress::{Progress, Stage};
use super::rollout::{self, Rollout};
use super::secrets::{Known, ends_soon};
use crate::inside::Inside;
use crate::names::{self, NAME_SELECTOR, TenantSecret};

/// Condition that sums up the others.
pub const READY: &str = "Ready";
/// Condition about the objects inside the tenant.
pub const INSIDE: &str = "TenantObjectsReady";

/// The whole status.
pub fn status(
    tcp: &TenantControlPlane,
    progress: &Progress,
    inside: Option<&Inside>,
    now: Timestamp,
) -> Value {
    let before = tcp.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let rollout =
        progress.deployment.as_deref().map(|deployment| rollout::of(deployment, progress.trouble.as_ref()));
    let usable = usable(&before, inside);
    if !progress.paused {
        storage(&mut status, progress, now);
        certificates(&mut status, tcp, progress, now);
        if let Some(endpoint) = &progress.endpoint {
            status.control_plane_endpoint = Some(endpoint.text());
        }
        resources(&mut status, tcp, progress, rollout.as_ref(), usable);
        if let Some(inside) = inside {
            addons(&mut status, inside, now);
        }
    }
    let conditions = conditions(tcp, &before, &status, progress, rollout.as_ref(), inside, now);
    let ready = find(&conditions, READY).is_some_and(|ready| ready.status == "True");
    let asleep = phase_of(&status) == Phase::Sleeping;
    let rolled_out = rollout.as_ref().is_some_and(Rollout::is_complete);
    if progress.stopped.is_none() && !progress.paused && rolled_out && (ready || asleep) {
        status.observed_generation = tcp.metadata.generation;
    }
    status.conditions = conditions;
    json!(status)
}

/// Whether a request with the administrator's kubeconfig succeeded. A process that has not looked yet believes the
/// one before it: a restart of the manager is no outage of its tenants.
fn usable(before: &TenantControlPlaneStatus, inside: Option<&Inside>) -> bool {
    match inside {
        Some(inside) => inside.usable,
        None => find(&before.conditions, READY).is_some_and(|ready| ready.status == "True"),
    }
}

fn phase_of(status: &TenantControlPlaneStatus) -> Phase {
    status.kubernetes_resources.as_ref().map(|resources| resources.version.status).unwrap_or_default()
}

fn storage(status: &mut TenantControlPlaneStatus, progress: &Progress, now: Timestamp) {
    let (Some(wanted), Some(name)) = (&progress.wanted, &progress.data_store) else { return };
    let before = status.storage.take().unwrap_or_default();
    let same =
        before.setup.filter(|setup| setup.schema == wanted.tenant.schema && setup.user == wanted.tenant.user);
    status.storage = Some(StorageStatus {
        data_store_name: name.clone(),
        setup: Some(same.unwrap_or_else(|| StorageSetupStatus {
            schema: wanted.tenant.schema.clone(),
            user: wanted.tenant.user.clone(),
            last_update: Some(Time(whole_seconds(now))),
        })),
        ..before
    });
}

fn certificates(
    status: &mut TenantControlPlaneStatus,
    tcp: &TenantControlPlane,
    progress: &Progress,
    now: Timestamp,
) {
    let Some(known) = &progress.known else { return };
    let name = tcp.name_any();
    let put = |slot: &mut Option<SecretStatus>, which| *slot = secret(slot.take(), known, which, &name, now);
    let made = status.certificates.get_or_insert_with(CertificatesStatus::default);
    put(&mut made.ca, TenantSecret::Ca);
    put(&mut made.api_server, TenantSecret::ApiServer);
    put(&mut made.api_server_kubelet_client, TenantSecret::KubeletClient);
    put(&mut made.front_proxy_ca, TenantSecret::FrontProxyCa);
    put(&mut made.front_proxy_client, TenantSecret::FrontProxyClient);
    put(&mut made.sa, TenantSecret::ServiceAccount);
    let made = status.kubeconfig.get_or_insert_with(KubeconfigsStatus::default);
    put(&mut made.admin, TenantSecret::Admin);
    put(&mut made.controller_manager, TenantSecret::ControllerManager);
    put(&mut made.scheduler, TenantSecret::Scheduler);
    if let Some(storage) = &mut status.storage {
        put(&mut storage.config, TenantSecret::DataStoreConfig);
        put(&mut storage.certificate, TenantSecret::DataStoreCertificate);
    }
    let before = status.kubeadmconfig.take();
    let same = before.filter(|before| before.checksum.as_ref() == Some(&known.kubeadm_checksum));
    status.kubeadmconfig = Some(same.unwrap_or_else(|| ConfigMapStatus {
        configmap_name: names::kubeadm_config_map(&name),
        checksum: Some(known.kubeadm_checksum.clone()),
        last_update: Some(Time(whole_seconds(now))),
    }));
}

fn secret(
    before: Option<SecretStatus>,
    known: &Known,
    which: TenantSecret,
    tcp: &str,
    now: Timestamp,
) -> Option<SecretStatus> {
    let checksum = known.checksums.get(&which)?;
    let same = before.filter(|before| before.checksum.as_ref() == Some(checksum));
    Some(same.unwrap_or_else(|| SecretStatus {
        secret_name: which.name(tcp),
        checksum: Some(checksum.clone()),
        last_update: Some(Time(whole_seconds(now))),
    }))
}

fn resources(
    status: &mut TenantControlPlaneStatus,
    tcp: &TenantControlPlane,
    progress: &Progress,
    rollout: Option<&Rollout>,
    usable: bool,
) {
    let before = tcp.status.as_ref();
    let ca = |status: Option<&TenantControlPlaneStatus>| {
        status.and_then(|status| status.certificates.as_ref()?.ca.as_ref()?.checksum.clone())
    };
    let ca_changed = ca(before).is_some_and(|before| Some(before) != ca(Some(status)));
    let mut resources = status.kubernetes_resources.take().unwrap_or_default();
    let counts = resources.deployment.is_some() || rollout.is_some_and(has_begun);
    resources.deployment =
        progress.deployment.as_deref().filter(|_| counts).map(numbers).or(resources.deployment);
    resources.service = progress.service.as_deref().map(service).or(resources.service);
    if let Some(wanted) = &progress.wanted {
        resources.version = rollout::version(&resources.version, wanted, rollout, usable, ca_changed);
    }
    status.kubernetes_resources = Some(resources);
}

/// Whether the numbers say more than the condition, which has them too: before the first Pod is ready they are worth no
/// write of their own.
fn has_begun(rollout: &Rollout) -> bool {
    rollout.wanted == 0 || rollout.ready > 0 || rollout.trouble.is_some()
}

fn numbers(deployment: &Deployment) -> DeploymentStatus {
    let seen = deployment.status.clone().unwrap_or_default();
    DeploymentStatus {
        name: deployment.name_any(),
        namespace: deployment.namespace().unwrap_or_default(),
        selector: format!("{NAME_SELECTOR}={}", deployment.name_any()),
        replicas: seen.replicas.unwrap_or_default(),
        updated_replicas: seen.updated_replicas.unwrap_or_default(),
        ready_replicas: seen.ready_replicas.unwrap_or_default(),
        available_replicas: seen.available_replicas.unwrap_or_default(),
        unavailable_replicas: seen.unavailable_replicas.unwrap_or_default(),
        observed_generation: seen.observed_generation,
    }
}

fn service(service: &k8s_openapi::api::core::v1::Service) -> ServiceStatus {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let given = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.clone());
    let ingress = given.map(|given| LoadBalancerStatus {
        ingress: given
            .into_iter()
            .map(|ingress| LoadBalancerIngress {
                ip: ingress.ip,
                hostname: ingress.hostname,
                ip_mode: ingress.ip_mode,
            })
            .collect(),
    });
    ServiceStatus {
        name: service.name_any(),
        namespace: service.namespace().unwrap_or_default(),
        port: ports.and_then(|ports| ports.first()).map(|port| port.port).unwrap_or_default(),
        load_balancer: ingress,
    }
}

fn addons(status: &mut TenantControlPlaneStatus, inside: &Inside, now: Timestamp) {
    if !inside.complete {
        return;
    }
    let before = status.addons.take().unwrap_or_default();
    let keep = |before: AddonStatus, enabled: bool| match before.enabled == enabled {
        true => before,
        false => AddonStatus { enabled, last_update: Some(Time(whole_seconds(now))) },
    };
    status.addons = Some(AddonsStatus {
        core_dns: keep(before.core_dns, inside.core_dns),
        kube_proxy: keep(before.kube_proxy, inside.kube_proxy),
    });
}

#[allow(clippy::too_many_arguments)] // all that a status can depend on
fn conditions(
    tcp: &TenantControlPlane,
    before: &TenantControlPlaneStatus,
    after: &TenantControlPlaneStatus,
    progress: &Progress,
    rollout: Option<&Rollout>,
    inside: Option<&Inside>,
    now: Timestamp,
) -> Vec<Condition> {
    if progress.paused {
        let why = "an annotation asks to leave it alone";
        return only_paused(&before.conditions, &tcp.metadata, now, why);
    }
    Conditions::new(&before.conditions, tcp.metadata.generation, now)
        .put_all(ladder::conditions(progress.stopped.as_ref(), |stage| passed(stage, progress, rollout)))
        .put_all([
            inside_condition(before, progress, inside),
            ready_condition(tcp, progress, phase_of(after), rollout, inside),
        ])
        .finish()
}

/// What is said of a stage that stopped nothing.
fn passed(stage: Stage, progress: &Progress, rollout: Option<&Rollout>) -> Draft {
    let said = |status: Status, reason: &str, message: String| {
        Draft::new(stage.condition(), status, reason, message)
    };
    match stage {
        Stage::Spec if !progress.ignored.is_empty() => {
            let message =
                format!("extraArgs that are managed and so ignored: {}", progress.ignored.join(" "));
            said(Status::True, "Valid", message)
        }
        Stage::Spec => said(Status::True, "Valid", String::new()),
        Stage::DataStore => said(
            Status::True,
            "Ready",
            format!("DataStore {}", progress.data_store.as_deref().unwrap_or_default()),
        ),
        Stage::Endpoint => {
            said(Status::True, "Assigned", progress.endpoint.as_ref().map(|e| e.text()).unwrap_or_default())
        }
        Stage::Certificates => match progress.known.as_ref().and_then(|known| ends_soon(&known.ending)) {
            Some(warning) => said(Status::True, "AuthorityEndsSoon", warning),
            None => said(Status::True, "Valid", String::new()),
        },
        Stage::Deployment => match rollout {
            Some(rollout) => rollout.said(),
            None => said(Status::Unknown, "Waiting", "the Deployment was not looked at".to_owned()),
        },
    }
}

fn inside_condition(
    before: &TenantControlPlaneStatus,
    progress: &Progress,
    inside: Option<&Inside>,
) -> Draft {
    let said = |status: Status, reason: &str, message: &str| Draft::new(INSIDE, status, reason, message);
    if progress.wanted.as_ref().is_some_and(|wanted| wanted.replicas == 0) {
        return said(Status::Unknown, "Sleeping", "no API server runs");
    }
    match (inside, find(&before.conditions, INSIDE)) {
        (Some(inside), _) => match (&inside.why, inside.complete) {
            (Some(why), _) => said(Status::False, &why.reason, why.message.as_str()),
            (None, true) => said(Status::True, "Applied", ""),
            (None, false) => said(Status::False, "Applying", "the objects inside the tenant are being made"),
        },
        // This process has not looked yet.
        (None, Some(old)) => said(Status::from(old.status.as_str()), &old.reason, old.message.as_str()),
        (None, None) => said(Status::Unknown, "Waiting", "waits for the API server"),
    }
}

fn ready_condition(
    tcp: &TenantControlPlane,
    progress: &Progress,
    phase: Phase,
    rollout: Option<&Rollout>,
    inside: Option<&Inside>,
) -> Draft {
    let said = |status: Status, reason: &str, message: &str| Draft::new(READY, status, reason, message);
    let stopped = progress.stopped.as_ref();
    if tcp.metadata.deletion_timestamp.is_some() {
        let message = stopped.map_or("is being deleted", |stop| stop.why.message.as_str());
        return said(Status::False, "Deleting", message);
    }
    let serves = matches!(
        phase,
        Phase::Ready | Phase::Upgrading | Phase::CertificateAuthorityRotating | Phase::WriteLimited
    );
    match (stopped, serves) {
        // What serves goes on serving while a change waits for something.
        (Some(stop), _) => said(Status::from(serves), &stop.why.reason, stop.why.message.as_str()),
        (None, true) => match trouble(rollout) {
            Some(why) => said(Status::True, &why.reason, &why.message),
            None => said(Status::True, "Ready", ""),
        },
        (None, false) if phase == Phase::Sleeping => said(Status::False, "Sleeping", "replicas is 0"),
        (None, false) => match trouble(rollout).or_else(|| inside.and_then(|inside| inside.why.as_ref())) {
            Some(why) => said(Status::False, &why.reason, why.message.as_str()),
            None => said(Status::False, "WaitingForAPIServer", waits_for(rollout)),
        },
    }
}

fn waits_for(rollout: Option<&Rollout>) -> &'static str {
    match rollout.is_some_and(|rollout| rollout.ready > 0) {
        true => "a Pod is ready; a request with admin.conf has to succeed",
        false => "no Pod is ready yet",
    }
}

/// What is wrong with Pods that are being made.
fn trouble(rollout: Option<&Rollout>) -> Option<&Why> {
    rollout.filter(|rollout| !rollout.is_complete())?.trouble.as_ref()
}
