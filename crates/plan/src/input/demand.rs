//! The demand: tenants, and the policy of the site.

use std::collections::BTreeSet;

use serde::Serialize;

use super::InputError;
use super::policy::{Defaults, Policy, read_policy};
use super::reader::{Complaints, Fields};
use super::tenant::{Isolation, Tenant, Written, read_row, read_tenants};

/// Policy and tenants.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Demand {
    /// The rules.
    pub policy: Policy,
    /// Sorted by name; names are unique.
    pub tenants: Vec<Tenant>,
}

/// Reads a demand from YAML (`policy:`, `tenants:`) or CSV (one row a kind of Pod: `tenant,name,count,cpu,memory,…`).
pub fn parse_demand(file: &str, text: &str) -> Result<Demand, Vec<InputError>> {
    let mut c = Complaints::of(file);
    let Some(document) = super::document(file, text, "rows", &mut c) else {
        return c.verdict(Demand::default());
    };
    let mut f = Fields::of(&document, "", &mut c);
    f.node("apiVersion");
    f.node("kind");
    let (mut policy, mut defaults) = (Policy::default(), Defaults::default());
    if let Some(node) = f.node("policy") {
        (policy, defaults) = read_policy(node, &mut c);
    }
    let mut tenants: Vec<Written> = Vec::new();
    for (node, path) in f.list("tenants", &mut c) {
        let read = read_tenants(&node, &path, defaults, &mut c);
        tenants.extend(read.into_iter().map(|tenant| Written {
            tenant,
            line: node.line,
            path: path.clone(),
        }));
    }
    for (node, path) in f.list("rows", &mut c) {
        read_row(&node, &path, defaults, &mut tenants, &mut c);
    }
    if tenants.is_empty() && c.errors.is_empty() {
        c.add(f.line(), "tenants", "lists no tenant");
    }
    f.finish(&mut c);
    check_names(&mut tenants, &mut c);
    c.verdict(Demand { policy, tenants: tenants.into_iter().map(|t| t.tenant).collect() })
}

fn check_names(tenants: &mut [Written], c: &mut Complaints) {
    let key = |t: &Written| (super::fleet::natural(&t.tenant.name), t.line);
    tenants.sort_by_cached_key(key);
    for pair in tenants.windows(2).filter(|p| p[0].tenant.name == p[1].tenant.name) {
        let message = format!("tenant {:?} is already defined on line {}", pair[1].tenant.name, pair[0].line);
        c.add(pair[1].line, &format!("{}.name", pair[1].path), message);
    }
    let names: BTreeSet<&str> = tenants.iter().map(|t| t.tenant.name.as_str()).collect();
    for Written { tenant, line, path } in tenants.iter() {
        if let Isolation::NeverWith(others) = &tenant.isolation {
            for other in others.iter().filter(|o| !names.contains(o.as_str()) || **o == tenant.name) {
                c.add(*line, &format!("{path}.neverWith"), format!("{other:?} is no other tenant"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_csv_mean_the_same() {
        let yaml = "tenants:\n- name: shop\n  pods:\n  - {name: web, count: 3, cpu: 250m, memory: 512Mi}\n";
        let csv = "tenant,name,count,cpu,memory\nshop,web,3,250m,512Mi\n";
        assert_eq!(parse_demand("d.yaml", yaml).unwrap(), parse_demand("d.csv", csv).unwrap());
    }

    #[test]
    fn every_complaint_at_once() {
        let text = "policy:\n  reservations: gek\n  maxPods: 0\n  shapes: [8/32, eight]\ntenants:\n- name: a\n  pods:\n  - {cpu: 1, memory: 1Gi, cpuLimit: 500m}\n  neverWith: [b]\n- name: a\n  nodes: [{count: 2}]\n";
        let errors: Vec<String> =
            parse_demand("d.yaml", text).unwrap_err().iter().map(|e| e.to_string()).collect();
        assert_eq!(
            errors,
            [
                "d.yaml:2: policy.reservations: \"gek\" is none of kubelet, gke, eks, aks, aks-before-1.29, gdc, cce",
                "d.yaml:3: policy.maxPods: 0 is not within 1 to 2500",
                "d.yaml:4: policy.shapes[1]: \"eight\" is no Node size such as 8/32 or 8/32+1gpu (CPUs/GiB)",
                "d.yaml:6: tenants[0].neverWith: \"b\" is no other tenant",
                "d.yaml:8: tenants[0].pods[0].cpuLimit: 500m is below the request of 1",
                "d.yaml:10: tenants[1].name: tenant \"a\" is already defined on line 6",
                "d.yaml:11: tenants[1].nodes[0].size: is missing",
            ]
        );
    }
}
