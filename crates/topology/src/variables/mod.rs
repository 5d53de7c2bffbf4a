//! Variables of a class: what values they may have, which they have in a Cluster, and what each part of it sees.

mod builtins;
mod check;
mod format;
mod lookup;
mod schema;
mod validate;

use scute_api::cluster::clusterclass::ClusterClassVariable;
use scute_api::cluster::topology::{ClusterVariable, Topology};
use scute_kit::FieldError;

pub use builtins::{Part, values};
pub use check::check_class;
pub use lookup::{find, root};
pub use schema::Schema;

/// The topology with the defaults of its class filled in, in the Cluster's values and, where a part has a value of its own,
/// in that.
#[must_use]
pub fn with_defaults(topology: &Topology, variables: &[ClusterClassVariable]) -> Topology {
    let mut filled = topology.clone();
    for variable in variables {
        let Ok(schema) = Schema::read(&variable.schema.open_api_v3_schema) else { continue };
        match filled.variables.iter_mut().find(|given| given.name == variable.name) {
            Some(given) => schema.fill(&mut given.value),
            None => {
                if let Some(mut value) = schema.default.clone() {
                    schema.fill(&mut value);
                    filled.variables.push(ClusterVariable { name: variable.name.clone(), value });
                }
            }
        }
        for given in overrides(&mut filled).into_iter().filter(|given| given.name == variable.name) {
            schema.fill(&mut given.value);
        }
    }
    filled
}

fn overrides(topology: &mut Topology) -> Vec<&mut ClusterVariable> {
    let control_plane = topology.control_plane.iter_mut().filter_map(|part| part.variables.as_mut());
    let workers = topology.workers.iter_mut().flat_map(|workers| &mut workers.machine_deployments);
    let workers = workers.filter_map(|part| part.variables.as_mut());
    control_plane.chain(workers).flat_map(|variables| &mut variables.overrides).collect()
}

/// What is wrong with the values of a topology whose defaults are filled in.
#[must_use]
pub fn check_values(topology: &Topology, variables: &[ClusterClassVariable]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = "spec.topology.variables";
    for variable in variables.iter().filter(|variable| variable.required) {
        if !topology.variables.iter().any(|given| given.name == variable.name) {
            errors.push(FieldError::new(path, &variable.name, "the class requires a value of this variable"));
        }
    }
    check_given(path, &topology.variables, variables, &mut errors);
    if let Some(own) = topology.control_plane.as_ref().and_then(|part| part.variables.as_ref()) {
        let path = "spec.topology.controlPlane.variables.overrides";
        check_given(path, &own.overrides, variables, &mut errors);
    }
    for (at, part) in topology.machine_deployments().iter().enumerate() {
        let Some(own) = &part.variables else { continue };
        let path = format!("spec.topology.workers.machineDeployments[{at}].variables.overrides");
        check_given(&path, &own.overrides, variables, &mut errors);
    }
    errors
}

fn check_given(
    path: &str,
    given: &[ClusterVariable],
    variables: &[ClusterClassVariable],
    errors: &mut Vec<FieldError>,
) {
    for (at, given) in given.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let Some(variable) = variables.iter().find(|variable| variable.name == given.name) else {
            let known: Vec<_> = variables.iter().take(20).map(|variable| variable.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let detail = format!("the class has no such variable; it has {known}");
            errors.push(FieldError::new(format!("{path}.name"), &given.name, detail));
            continue;
        };
        match Schema::read(&variable.schema.open_api_v3_schema) {
            Ok(schema) => schema.validate(&format!("{path}.value"), &given.value, errors),
            Err(why) => errors.push(FieldError::new(path, &given.name, format!("the class's schema: {why}"))),
        }
    }
}

#[cfg(test)]
mod tests;
