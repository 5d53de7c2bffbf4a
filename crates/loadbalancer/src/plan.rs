//! Which address a Service gets. Pure.

use super::{
    observe::{Holder, Observed},
    validate::Wanted,
};
use scute_api::addresses::AddressRange;
use scute_kit::Why;
use std::net::Ipv4Addr;

/// What is to be done for a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: it is not ours and has nothing of ours.
    Ignore,
    /// It stopped being a LoadBalancer: take our condition away (the API server took the address).
    Release,
    /// It has or gets this address.
    Assign(Ipv4Addr),
    /// It gets none, or keeps the one that it has instead of the one it asks for.
    Refuse(Why),
}

/// An address once given stays, as long as it is not at odds with what is asked for.
pub fn plan(seen: &Observed, wanted: &Wanted, pools: &[AddressRange]) -> Plan {
    let in_pool = |ip: Ipv4Addr| pools.iter().any(|pool| pool.contains(ip));
    if !seen.ours {
        return if seen.leftover { Plan::Release } else { Plan::Ignore };
    }
    let keeps = seen.current.filter(|ip| in_pool(*ip) && !seen.others.contains_key(ip));
    match (wanted, keeps) {
        (Wanted::This(ip), _) => match seen.others.get(ip) {
            None => Plan::Assign(*ip),
            Some(holder) => Plan::Refuse(taken(*ip, holder)),
        },
        (Wanted::Any, Some(ip)) => Plan::Assign(ip),
        (Wanted::Any, None) => {
            let free = |ip: &Ipv4Addr| !seen.others.contains_key(ip) && !seen.wished.contains(ip);
            match pools.iter().flat_map(AddressRange::iter).find(free) {
                Some(ip) => Plan::Assign(ip),
                None => Plan::Refuse(exhausted(pools)),
            }
        }
    }
}

fn taken(ip: Ipv4Addr, holder: &Holder) -> Why {
    let message = match holder {
        Holder::Neighbour(name) => {
            format!("{ip} belongs to Service {name}; ask for another or delete that one")
        }
        Holder::Stranger => format!("{ip} belongs to a Service of another namespace; ask for another"),
    };
    Why::new("AddressTaken", message)
}

fn exhausted(pools: &[AddressRange]) -> Why {
    let size: u64 = pools.iter().map(AddressRange::size).sum();
    Why::new(
        "PoolExhausted",
        format!("all {size} LoadBalancer addresses are in use; delete a Service or add a --pool"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::{observe, validate::validate};
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    fn pools() -> Vec<AddressRange> {
        vec!["10.0.0.1-10.0.0.2".parse().unwrap()]
    }

    /// A LoadBalancer Service: name, changes of its spec, and the address in its status.
    fn service(name: &str, spec: serde_json::Value, has: Option<&str>) -> Service {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "ns", "name": name, "annotations": spec["annotations"].clone()},
            "spec": {"type": "LoadBalancer"},
        });
        for field in ["loadBalancerIP", "loadBalancerClass", "type"] {
            if !spec[field].is_null() {
                object["spec"][field] = spec[field].clone();
            }
        }
        if let Some(ip) = has {
            object["status"] = json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
        }
        serde_json::from_value(object).unwrap()
    }

    fn decide(service: &Service, others: &[Service]) -> String {
        let seen = observe::of(service, others.iter());
        let plan = match validate(service, &pools()) {
            Ok(wanted) => plan(&seen, &wanted, &pools()),
            Err(why) => Plan::Refuse(why),
        };
        match plan {
            Plan::Assign(ip) => ip.to_string(),
            Plan::Refuse(why) => format!("{}: {}", why.reason, why.message),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_lowest_free_address_is_given_and_then_kept() {
        let none = json!({});
        let first = service("a", none.clone(), Some("10.0.0.1"));
        assert_eq!(decide(&service("b", none.clone(), None), std::slice::from_ref(&first)), "10.0.0.2");
        assert_eq!(
            decide(&service("b", none.clone(), Some("10.0.0.2")), &[]),
            "10.0.0.2",
            "kept though a lower is free"
        );
        assert_eq!(
            decide(&service("b", none.clone(), Some("10.9.9.9")), &[]),
            "10.0.0.1",
            "the pool has changed"
        );
        let second = service("b", none.clone(), Some("10.0.0.2"));
        assert!(decide(&service("c", none, None), &[first, second]).starts_with("PoolExhausted"));
    }

    #[test]
    fn a_wish_by_field_or_annotation_is_honoured_and_reserved() {
        for wish in [
            json!({"loadBalancerIP": "10.0.0.1"}),
            json!({"annotations": {"metallb.io/loadBalancerIPs": "10.0.0.1"}}),
            json!({"annotations": {"metallb.universe.tf/loadBalancerIPs": " 10.0.0.1"}, "loadBalancerIP": "10.0.0.1"}),
        ] {
            let wishing = service("a", wish, None);
            assert_eq!(decide(&wishing, &[]), "10.0.0.1");
            assert_eq!(
                decide(&service("b", json!({}), None), &[wishing]),
                "10.0.0.2",
                "not under a wish's feet"
            );
        }
        let moved = service("a", json!({"loadBalancerIP": "10.0.0.2"}), Some("10.0.0.1"));
        assert_eq!(decide(&moved, &[]), "10.0.0.2");
    }

    #[test]
    fn refusals_name_what_is_in_the_way() {
        let holder = service("a", json!({}), Some("10.0.0.1"));
        let asking = service("b", json!({"loadBalancerIP": "10.0.0.1"}), None);
        assert_eq!(
            decide(&asking, std::slice::from_ref(&holder)),
            "AddressTaken: 10.0.0.1 belongs to Service a; ask for another or delete that one"
        );
        let mut stranger = holder;
        stranger.metadata.namespace = Some("strangers".into());
        assert_eq!(
            decide(&asking, &[stranger]),
            "AddressTaken: 10.0.0.1 belongs to a Service of another namespace; ask for another"
        );
        let said = decide(&service("b", json!({"loadBalancerIP": "10.0.0.9"}), None), &[]);
        assert_eq!(said, "AddressOutsidePool: 10.0.0.9 is in none of the pools 10.0.0.1-10.0.0.2");
        for bad in ["x", "::1", "10.0.0.1,10.0.0.2"] {
            assert!(
                decide(&service("b", json!({"loadBalancerIP": bad}), None), &[]).starts_with("BadAddress"),
                "{bad}"
            );
        }
        let both =
            json!({"annotations": {"metallb.io/loadBalancerIPs": "10.0.0.2"}, "loadBalancerIP": "10.0.0.1"});
        assert!(decide(&service("b", both, None), &[]).contains("different addresses"));
    }

    #[test]
    fn other_classes_and_types_are_left_alone() {
        let foreign = json!({"loadBalancerClass": "metallb.io/metallb"});
        assert_eq!(decide(&service("a", foreign, None), &[]), "Ignore");
        let mut plain = service("a", json!({"type": "ClusterIP"}), None);
        assert_eq!(decide(&plain, &[]), "Ignore");
        plain.status = serde_json::from_value(json!({"conditions": [{
            "type": "scute.dev/AddressAssigned", "status": "True", "reason": "AddressAssigned", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]}))
        .unwrap();
        assert_eq!(decide(&plain, &[]), "Release");
        let ours = json!({"loadBalancerClass": "scute.dev/loadbalancer"});
        assert_eq!(decide(&service("a", ours, None), &[]), "10.0.0.1");
        let foreign_holder = service("a", json!({"loadBalancerClass": "x/y"}), Some("10.0.0.1"));
        assert_eq!(decide(&service("b", json!({}), None), &[foreign_holder]), "10.0.0.2", "whoever gave it");
    }
}
