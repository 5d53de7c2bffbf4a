//! KubevirtMachineTemplate: what one Machine of it brings.

use std::collections::BTreeMap;
use std::sync::Arc;

use scute_api::infrastructure::{KubevirtMachineTemplate, KubevirtMachineTemplateStatus};
use scute_api::kubevirt::{Cpu, Domain, Quantity};
use scute_kit::{Controller, Hub, Next};
use serde_json::json;

/// Runs the controller.
pub async fn run(hub: Arc<Hub>) {
    Controller::<KubevirtMachineTemplate>::new("kubevirtmachinetemplate", &hub).run(hub, reconcile).await;
}

async fn reconcile(template: Arc<KubevirtMachineTemplate>, hub: Arc<Hub>) -> Next {
    let machine = &template.spec.template.spec.virtual_machine_template;
    let status = KubevirtMachineTemplateStatus { capacity: capacity(&machine.spec.template.spec.domain) };
    hub.report(template.as_ref(), json!(status), Next::Settled).await
}

/// CPU and memory as the cluster autoscaler wants them: the topology and the guest's memory, else the
/// requests, else the limits.
#[must_use]
pub fn capacity(domain: &Domain) -> BTreeMap<String, Quantity> {
    let resources = domain.resources.clone().unwrap_or_default();
    let (requests, limits) = (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default());
    let topology = domain.cpu.clone().filter(|cpu| *cpu != Cpu::default());
    let cpu = topology.map(|_| Quantity(domain.vcpus().to_string())).or(requests.cpu).or(limits.cpu);
    let guest = domain.memory.as_ref().and_then(|memory| memory.guest.clone());
    let memory = guest.or(requests.memory).or(limits.memory);
    let named = [("cpu", cpu), ("memory", memory)];
    named.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), amount?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_prefers_the_guest() {
        let capacity =
            |domain| serde_json::to_value(capacity(&serde_json::from_value(domain).unwrap())).unwrap();
        assert_eq!(
            capacity(json!({"cpu": {"cores": 2, "sockets": 2}, "memory": {"guest": "4Gi"},
                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}})),
            json!({"cpu": "4", "memory": "4Gi"})
        );
        assert_eq!(
            capacity(json!({"resources": {"requests": {"memory": "1Gi"}, "limits": {"cpu": 3}}})),
            json!({"cpu": "3", "memory": "1Gi"})
        );
    }
}
