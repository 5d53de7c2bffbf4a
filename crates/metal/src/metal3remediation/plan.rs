//! What to do about a Metal3Remediation. Pure.
//!
//! ```text
//! Running:   host is held off ─► off ─► Node out of service ─► its Pods and volumes are gone
//! Waiting:   host is let go ─► on ─► Node in service ─► Ready, by another boot
//!            not in time: Running once more, at most spec.strategy.retryLimit times, and then
//! Deleting machine:  OwnerRemediated of the Machine is False, no Metal3Machine takes the host
//! Failed:    the host shall not be on
//! ```
//!
//! Nothing is out of service before the server is off: two of a Pod, or two who write to a volume, are worse than none.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;
use scute_api::cluster::Machine;
use scute_api::infrastructure::{
    METAL3_REMEDIATION_FINALIZER, Metal3Remediation, Metal3RemediationStatus, RemediationPhase as Phase,
    RemediationStrategy,
};
use scute_api::metal3::BareMetalHost;
use scute_contract::spoken::{HEALTH_CHECK_SUCCEEDED, OWNER_REMEDIATED, condition, is};
use scute_kit::conditions::whole_seconds;
use scute_kit::{EventType, Next, Why, finalizer};

use super::observe::{Left, Observed, Seen, hold, is_on};
use super::tenant::is_out_of_service;

/// Annotation of a Metal3Remediation: the boot that its Node had when its server was held off. A Node that is Ready may be so
/// from before.
pub const BOOT_ANNOTATION: &str = "scute.dev/boot-id";
/// Until what cannot be watched is asked again: what is left on a Node that is out of service.
const BETWEEN: Duration = Duration::from_secs(5);
/// Until it is asked first. What is in the way of its deletion is seen when that has begun.
const AT_FIRST: Duration = Duration::from_secs(1);

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put the finalizer.
    Claim,
    /// Write down which boot the Node has.
    Remember(String),
    /// Hold a host off.
    PowerOff(Arc<BareMetalHost>),
    /// Let it be on again.
    PowerOn(Arc<BareMetalHost>),
    /// Put the Node of this name out of service.
    TakeOut(String),
    /// Put it into service.
    PutBack(String),
    /// Have whoever owns the Machine replace it, for this reason.
    HandOver(Arc<Machine>, String),
    /// Let no Metal3Machine take the host.
    Condemn(Arc<BareMetalHost>),
    /// Let the remediation go.
    RemoveFinalizer,
}

/// Kind, reason and note of an event.
pub type Told = (EventType, &'static str, String);

/// What to do, what is said, and what comes then.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// The status after that.
    pub status: Metal3RemediationStatus,
    /// For the user.
    pub told: Vec<Told>,
    /// What is waited for.
    pub next: Next,
}

/// Decides.
#[must_use]
pub fn plan(object: &Metal3Remediation, seen: &Observed, now: Timestamp) -> Plan {
    let status = object.status.clone().unwrap_or_default();
    Work { object, seen, now, strategy: object.spec.strategy.clone().unwrap_or_default() }.plan(status)
}

struct Work<'a> {
    object: &'a Metal3Remediation,
    seen: &'a Observed,
    now: Timestamp,
    strategy: RemediationStrategy,
}

impl Work<'_> {
    fn plan(&self, status: Metal3RemediationStatus) -> Plan {
        let plan = Plan { actions: Vec::new(), status, told: Vec::new(), next: Next::Settled };
        let phase = plan.status.phase;
        if self.object.metadata.deletion_timestamp.is_some() {
            return self.deleted(plan);
        }
        let Some(machine) = &self.seen.machine else {
            let message = "no Machine owns this object, and none has its name";
            return plan.wait("WaitingForMachine", message);
        };
        if machine.metadata.deletion_timestamp.is_some() {
            let message = format!("Machine {} is being deleted", machine.name_any());
            return self.released(plan).wait("MachineDeleted", message);
        }
        let host = self.seen.host.as_ref();
        let unwanted = host.filter(|host| !host.spec.online);
        match (phase, unwanted) {
            (Some(Phase::DeletingMachine), _) => self.handed_over(plan, machine),
            (Some(Phase::Failed), _) => self.released(plan),
            (_, Some(host)) => {
                let message =
                    format!("spec.online of BareMetalHost {} is false: it is not restarted", host.name_any());
                self.released(plan.to(Phase::Failed)).tell(EventType::Warning, "RemediationFailed", message)
            }
            (None, None) => self.begin(plan, 0),
            (Some(Phase::Running), None) => self.running(plan, machine),
            (Some(Phase::Waiting), None) => self.waiting(plan, machine),
        }
    }

    /// A try.
    fn begin(&self, plan: Plan, retries: i32) -> Plan {
        let mut plan = plan.to(Phase::Running);
        plan.status.last_remediated = Some(Time(whole_seconds(self.now)));
        plan.status.retry_count = (retries > 0).then_some(retries);
        let which =
            format!("try {} of {}", retries.saturating_add(1), self.strategy.retry_limit.saturating_add(1));
        let message = match &self.seen.host {
            Some(host) => format!("BareMetalHost {} is powered off and on: {which}", host.name_any()),
            None => which,
        };
        plan.tell(EventType::Normal, "Remediating", message.clone()).wait("Remediating", message)
    }

    /// The server goes off, and what was on its Node elsewhere.
    fn running(&self, mut plan: Plan, machine: &Arc<Machine>) -> Plan {
        if !finalizer::has(self.object, METAL3_REMEDIATION_FINALIZER) {
            plan.actions.push(Action::Claim);
        }
        let Some(host) = &self.seen.host else { return self.without_host(plan, machine) };
        if let Some(why) = left_alone(host) {
            return plan.held_up(why);
        }
        if host.annotation(&hold(self.object)).is_none() {
            let boot = self.node().map(boot_id).unwrap_or_default();
            if self.object.annotations().get(BOOT_ANNOTATION).map(String::as_str).unwrap_or_default() != boot
            {
                plan.actions.push(Action::Remember(boot.to_owned()));
            }
            plan.actions.push(Action::PowerOff(Arc::clone(host)));
            return plan
                .wait("PoweringOff", format!("BareMetalHost {} is being powered off", host.name_any()));
        }
        if is_on(host) {
            return self.until_late(plan, machine, None, "PoweringOff", not_off(host));
        }
        match (&self.seen.node, &self.seen.left) {
            (Seen::Unknown(why), _) => plan.held_up(why.clone()),
            (Seen::Found(node), _) if !is_out_of_service(node) => {
                plan.actions.push(Action::TakeOut(node.name_any()));
                plan.after(AT_FIRST, "Draining", format!("Node {} is put out of service", node.name_any()))
            }
            (Seen::Found(_), Left::Something(left)) => {
                self.until_late(plan, machine, Some(BETWEEN), "Draining", left.clone())
            }
            (Seen::Found(node), Left::NotAsked) => {
                plan.after(AT_FIRST, "Draining", format!("Node {} was put out of service", node.name_any()))
            }
            (Seen::None, _) | (Seen::Found(_), Left::Nothing) => {
                let message = format!("BareMetalHost {} is being powered on", host.name_any());
                plan.actions.push(Action::PowerOn(Arc::clone(host)));
                plan.to(Phase::Waiting).wait("PoweringOn", message)
            }
        }
    }

    /// The server comes back, and is a Node again.
    fn waiting(&self, mut plan: Plan, machine: &Arc<Machine>) -> Plan {
        let Some(host) = &self.seen.host else { return self.without_host(plan, machine) };
        if host.annotation(&hold(self.object)).is_some() {
            plan.actions.push(Action::PowerOn(Arc::clone(host)));
        }
        if let Some(why) = left_alone(host) {
            return plan.held_up(why);
        }
        if !is_on(host) {
            let message = with_error(format!("BareMetalHost {} is not on yet", host.name_any()), host);
            return self.until_late(plan, machine, None, "PoweringOn", message);
        }
        let node = match &self.seen.node {
            Seen::Unknown(why) => return plan.held_up(why.clone()),
            Seen::None => {
                let message = format!("Machine {} has no Node yet", machine.name_any());
                return self.until_late(plan, machine, None, "WaitingForNode", message);
            }
            Seen::Found(node) => node,
        };
        let name = node.name_any();
        if is_out_of_service(node) {
            plan.actions.push(Action::PutBack(name.clone()));
        }
        if !self.is_back(node) {
            let message =
                format!("Node {name} is not Ready yet since BareMetalHost {} was restarted", host.name_any());
            return self.until_late(plan, machine, None, "WaitingForNode", message);
        }
        if finalizer::has(self.object, METAL3_REMEDIATION_FINALIZER) {
            let message =
                format!("Node {name} is Ready after a restart of BareMetalHost {}", host.name_any());
            plan.actions.push(Action::RemoveFinalizer);
            plan = plan.tell(EventType::Normal, "Remediated", message);
        }
        match complaint(machine) {
            Some(why) => self.until_late(plan, machine, None, "WaitingForHealthCheck", why),
            None => plan.wait("Remediated", format!("Node {name} is Ready")),
        }
    }

    fn node(&self) -> Option<&Node> {
        match &self.seen.node {
            Seen::Found(node) => Some(node),
            Seen::None | Seen::Unknown(_) => None,
        }
    }

    /// Whether the Node has been started since it was held off, and is well.
    fn is_back(&self, node: &Node) -> bool {
        let before = self.object.annotations().get(BOOT_ANNOTATION).map(String::as_str).unwrap_or_default();
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready = conditions.into_iter().any(|is| is.type_ == "Ready" && is.status == "True");
        ready && !is_out_of_service(node) && (before.is_empty() || before != boot_id(node))
    }

    fn without_host(&self, plan: Plan, machine: &Arc<Machine>) -> Plan {
        let message = format!("no BareMetalHost is the server of Machine {}", machine.name_any());
        self.until_late(plan, machine, None, "WaitingForHost", message)
    }

    /// Waits for something, as long as the try may take; then it is tried once more, or given up.
    fn until_late(
        &self,
        plan: Plan,
        machine: &Arc<Machine>,
        again: Option<Duration>,
        reason: &'static str,
        message: String,
    ) -> Plan {
        let begun = plan.status.last_remediated.as_ref().map_or(self.now, |begun| begun.0);
        let limit = SignedDuration::from_secs(self.strategy.timeout_seconds.into());
        let left = limit - self.now.duration_since(begun);
        if left > SignedDuration::ZERO {
            let left = left.unsigned_abs();
            return plan.after(again.map_or(left, |again| again.min(left)), reason, message);
        }
        let tried = plan.status.retry_count.unwrap_or_default();
        let note = format!("after {} s: {message}", self.strategy.timeout_seconds);
        if tried < self.strategy.retry_limit {
            let plan = self.begin(plan, tried.saturating_add(1));
            return plan.tell(EventType::Warning, "RemediationRetried", note);
        }
        let mut plan = self.handed_over(plan.to(Phase::DeletingMachine), machine);
        if let Some(host) = self.seen.host.as_ref().filter(|host| !host.is_unhealthy()) {
            plan.actions.insert(0, Action::Condemn(Arc::clone(host)));
        }
        plan.tell(
            EventType::Warning,
            "RemediationFailed",
            format!("{note}; Machine {} is to be replaced", machine.name_any()),
        )
    }

    /// The Machine is for its owner to replace. Said again if somebody has written over it.
    fn handed_over(&self, mut plan: Plan, machine: &Arc<Machine>) -> Plan {
        if !is(machine, OWNER_REMEDIATED, "False") {
            let tries = plan.status.retry_count.unwrap_or_default().saturating_add(1);
            let message = format!(
                "Metal3Remediation {} has tried {tries} times to restart the server, and it is no Node that is well",
                self.object.name_any()
            );
            plan.actions.push(Action::HandOver(Arc::clone(machine), message));
        }
        let message = format!("Machine {} is to be replaced by its owner", machine.name_any());
        self.released(plan).wait("DeletingMachine", message)
    }

    /// Nothing is held any more: neither host nor Node.
    fn released(&self, mut plan: Plan) -> Plan {
        plan.actions.extend(self.seen.held.iter().cloned().map(Action::PowerOn));
        if let Some(node) = self.node().filter(|node| is_out_of_service(node))
            && finalizer::has(self.object, METAL3_REMEDIATION_FINALIZER)
        {
            plan.actions.push(Action::PutBack(node.name_any()));
        }
        if finalizer::has(self.object, METAL3_REMEDIATION_FINALIZER) {
            plan.actions.push(Action::RemoveFinalizer);
        }
        plan
    }

    fn deleted(&self, mut plan: Plan) -> Plan {
        let stays = |meta: &ObjectMeta| meta.deletion_timestamp.is_none();
        let machine = self.seen.machine.as_ref().is_some_and(|machine| stays(&machine.metadata));
        let cluster = self.seen.cluster.as_ref().is_some_and(|cluster| stays(&cluster.metadata));
        // A Node goes with its Machine, out of service or not.
        if let (Seen::Unknown(why), true) = (&self.seen.node, machine && cluster) {
            plan.actions.extend(self.seen.held.iter().cloned().map(Action::PowerOn));
            return plan.held_up(format!("the Node may be out of service: {why}"));
        }
        self.released(plan)
    }
}

impl Plan {
    fn to(mut self, phase: Phase) -> Self {
        self.status.phase = Some(phase);
        self
    }

    fn tell(mut self, kind: EventType, reason: &'static str, note: String) -> Self {
        self.told.push((kind, reason, note));
        self
    }

    fn wait(self, reason: &'static str, message: impl Into<String>) -> Self {
        Self { next: Next::OnChange(Why::new(reason, message)), ..self }
    }

    /// What is waited for may also be that nothing happens.
    fn after(self, time: Duration, reason: &'static str, message: String) -> Self {
        Self { next: Next::After(time, Why::new(reason, message)), ..self }
    }

    /// Somebody else's business, however long it takes.
    fn held_up(self, why: String) -> Self {
        self.tell(EventType::Warning, "RemediationHeldUp", why.clone()).wait("HeldUp", why)
    }
}

/// Why nothing may be asked of a host.
fn left_alone(host: &BareMetalHost) -> Option<String> {
    let by = match (host.is_paused(), host.detached().is_some()) {
        (true, _) => "paused",
        (_, true) => "detached",
        _ => return None,
    };
    Some(format!("BareMetalHost {} is {by} by an annotation", host.name_any()))
}

fn not_off(host: &BareMetalHost) -> String {
    let name = host.name_any();
    if host.spec.disable_power_off {
        return format!("spec.disablePowerOff of BareMetalHost {name} forbids that it is powered off");
    }
    with_error(format!("BareMetalHost {name} is not off yet"), host)
}

fn with_error(message: String, host: &BareMetalHost) -> String {
    match host.status.as_ref().map(|status| status.error_message.as_str()).unwrap_or_default() {
        "" => message,
        error => format!("{message}: {error}"),
    }
}

fn boot_id(node: &Node) -> &str {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    info.map(|info| info.boot_id.as_str()).unwrap_or_default()
}

/// What a MachineHealthCheck still says of a Machine whose Node is back.
fn complaint(machine: &Machine) -> Option<String> {
    let said = condition(machine, HEALTH_CHECK_SUCCEEDED).filter(|said| said.status == "False")?;
    Some(format!("Machine {} is not healthy yet: {}", machine.name_any(), said.message))
}

#[cfg(test)]
mod tests;
