//! Requests and limits of the containers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use scute_api::kamaji::ComponentResources;
use scute_api::kubevirt;
use scute_kit::FieldError;

use super::probes::Component;

type Amounts = BTreeMap<String, Quantity>;

/// Checks what the user asks for: amounts are quantities, and no request is above its limit.
pub fn check(asked: Option<&ComponentResources>, bad: &mut Vec<FieldError>) {
    let Some(ComponentResources { api_server, controller_manager, scheduler }) = asked else { return };
    for (component, asked) in
        [("apiServer", api_server), ("controllerManager", controller_manager), ("scheduler", scheduler)]
    {
        let path = format!("spec.controlPlane.deployment.resources.{component}");
        let Some(ResourceRequirements { requests, limits, .. }) = asked else { continue };
        let (requests, limits) = (requests.iter().flatten(), limits.iter().flatten());
        let mut amounts = BTreeMap::new();
        for (field, (name, Quantity(text))) in
            limits.map(|limit| ("limits", limit)).chain(requests.map(|request| ("requests", request)))
        {
            let path = format!("{path}.{field}.{name}");
            match kubevirt::Quantity(text.clone()).thousandths() {
                Err(error) => bad.push(FieldError::new(path, text, error.to_string())),
                Ok(amount) => match amounts.insert(name, (amount, text)) {
                    Some((limit, written)) if amount > limit => {
                        bad.push(FieldError::new(
                            path,
                            text,
                            format!("must not be above the limit, {written}"),
                        ));
                    }
                    _ => {}
                },
            }
        }
    }
}

/// What a container asks for: the user's, in the API server's spelling so that what was applied looks applied, or ours.
pub fn of(component: Component, asked: Option<ResourceRequirements>) -> ResourceRequirements {
    let Some(mut asked) = asked else { return usual(component) };
    for amounts in [&mut asked.requests, &mut asked.limits] {
        *amounts = amounts.take().map(canonical);
    }
    asked
}

fn canonical(amounts: Amounts) -> Amounts {
    let one = |Quantity(text): Quantity| {
        let canonical = kubevirt::Quantity(text.clone()).canonical();
        Quantity(canonical.map_or(text, |canonical| canonical.0))
    };
    amounts.into_iter().map(|(name, amount)| (name, one(amount))).collect()
}

/// What a component requests unless the user says otherwise: the memory that it holds when idle, and CPU in such
/// proportions that on a busy machine API servers start before their clients do. Without any request a tenant's
/// processes would be the first that the kernel starves and kills.
fn usual(component: Component) -> ResourceRequirements {
    let (cpu, memory) = match component {
        Component::ApiServer => ("20m", "192Mi"),
        Component::ControllerManager => ("2m", "64Mi"),
        Component::Scheduler => ("2m", "32Mi"),
    };
    let requests = [("cpu", cpu), ("memory", memory)];
    ResourceRequirements {
        requests: Some(requests.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into()),
        ..ResourceRequirements::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn told(scheduler: Value) -> Vec<String> {
        let asked = serde_json::from_value(json!({ "scheduler": scheduler })).expect("resources");
        let mut bad = Vec::new();
        check(Some(&asked), &mut bad);
        bad.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn amounts_are_quantities_and_requests_fit_their_limits() {
        assert!(told(json!({ "requests": { "cpu": "0.05" }, "limits": { "cpu": "50m" } })).is_empty());
        assert!(told(json!({ "limits": { "memory": "64e6" } })).is_empty());
        let path = "spec.controlPlane.deployment.resources.scheduler";
        assert_eq!(
            told(json!({ "requests": { "cpu": "two", "memory": "2Gi" }, "limits": { "memory": "1Gi" } })),
            [
                format!(
                    "{path}.requests.cpu: Invalid value: \"two\": \"two\" is not a quantity such as 512Mi, 4Gi, 2 or 500m"
                ),
                format!("{path}.requests.memory: Invalid value: \"2Gi\": must not be above the limit, 1Gi"),
            ]
        );
    }

    #[test]
    fn the_users_amounts_are_spelled_as_they_are_stored() {
        let asked =
            json!({ "requests": { "cpu": "0.05", "memory": "262144Ki" }, "limits": { "cpu": "2000m" } });
        let asked = serde_json::from_value(asked).expect("resources");
        let stored = json!({ "requests": { "cpu": "50m", "memory": "256Mi" }, "limits": { "cpu": "2" } });
        assert_eq!(json!(of(Component::ApiServer, Some(asked))), stored);
    }
}
