//! Writes a decision into the Service's status: its address, a condition, and an event.

use super::{
    observe::{Observed, ingress},
    plan::Plan,
};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::Condition};
use scute_kit::{
    EventType, Hub,
    conditions::{Conditions, Status},
};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// The condition's type.
pub const CONDITION: &str = "scute.dev/AddressAssigned";

/// Writes status and event; nothing when nothing changes.
pub async fn report(
    hub: &Hub,
    service: &Service,
    seen: &Observed,
    decision: &Plan,
) -> Result<(), scute_kit::Error> {
    let now = hub.now();
    let status = match decision {
        Plan::Ignore => return Ok(()),
        Plan::Release => status(service, None, Vec::new()),
        Plan::Assign(ip) => {
            let message = format!("{ip} of the site's pool");
            status(service, Some(*ip), condition(service, now, Status::True, "AddressAssigned", &message))
        }
        Plan::Refuse(why) => {
            let kept = seen.current.filter(|ip| !seen.others.contains_key(ip));
            status(service, kept, condition(service, now, Status::False, &why.reason, &why.message))
        }
    };
    hub.patch_status(service, status).await?;
    match decision {
        Plan::Refuse(why) => hub.event(service, EventType::Warning, &why.reason, &why.message).await,
        Plan::Assign(ip) if !ingress(service).contains(ip) => {
            hub.event(service, EventType::Normal, "AddressAssigned", &format!("{ip} assigned")).await;
        }
        Plan::Ignore | Plan::Release | Plan::Assign(_) => {}
    }
    Ok(())
}

/// Our condition, with its transition time kept.
fn condition(
    service: &Service,
    now: Timestamp,
    status: Status,
    reason: &str,
    message: &str,
) -> Vec<Condition> {
    let existing = conditions(service);
    let generation = service.metadata.generation;
    Conditions::new(&existing, generation, now).put(CONDITION, status, reason, message).finish()
}

fn conditions(service: &Service) -> Vec<Condition> {
    service.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default()
}

/// The whole status: ours, and the conditions of others as they are.
fn status(service: &Service, ip: Option<Ipv4Addr>, ours: Vec<Condition>) -> Value {
    let others = conditions(service).into_iter().filter(|condition| condition.type_ != CONDITION);
    let conditions: Vec<_> = others.chain(ours).collect();
    // The API server adds the mode; without it every comparison would find a difference.
    let ingress: Vec<_> = ip.into_iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
    let balancer = if ingress.is_empty() { json!({}) } else { json!({"ingress": ingress}) };
    json!({"loadBalancer": balancer, "conditions": conditions})
}
