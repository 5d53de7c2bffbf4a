//! What a Service asks for: an address by annotation or field, or any.

use k8s_openapi::api::core::v1::Service;
use scute_api::addresses::AddressRange;
use scute_kit::Why;
use std::net::{IpAddr, Ipv4Addr};

/// MetalLB's annotations, the current and the old name.
const ANNOTATIONS: [&str; 2] = ["metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"];

/// A Service's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Any free address.
    Any,
    /// This one.
    This(Ipv4Addr),
}

/// Reads the wish and checks that a pool has it.
pub fn validate(service: &Service, pools: &[AddressRange]) -> Result<Wanted, Why> {
    let wished = wished_addresses(service)?;
    match wished.as_slice() {
        [] => Ok(Wanted::Any),
        [ip] if pools.iter().any(|pool| pool.contains(*ip)) => Ok(Wanted::This(*ip)),
        [ip] => {
            let pools: Vec<_> = pools.iter().map(ToString::to_string).collect();
            Err(Why::new("AddressOutsidePool", format!("{ip} is in none of the pools {}", pools.join(", "))))
        }
        several => {
            let several: Vec<_> = several.iter().map(ToString::to_string).collect();
            let message =
                format!("{} are several IPv4 addresses; one per Service is given", several.join(", "));
            Err(Why::new("BadAddress", message))
        }
    }
}

/// Every address that a Service names, by whichever way; different ways must agree.
pub fn wished_addresses(service: &Service) -> Result<Vec<Ipv4Addr>, Why> {
    let mut found: Option<(String, Vec<Ipv4Addr>)> = None;
    for (place, text) in places(service) {
        let addresses = parse(&place, &text)?;
        match &found {
            Some((first, earlier)) if *earlier != addresses => {
                let message = format!("{first} and {place} ask for different addresses; remove one of them");
                return Err(Why::new("BadAddress", message));
            }
            _ => found = Some((place, addresses)),
        }
    }
    Ok(found.map(|(_, addresses)| addresses).unwrap_or_default())
}

fn places(service: &Service) -> Vec<(String, String)> {
    let annotation = |name: &str| service.metadata.annotations.as_ref()?.get(name).cloned();
    let mut places: Vec<_> = ANNOTATIONS
        .iter()
        .filter_map(|name| Some((format!("metadata.annotations[{name}]"), annotation(name)?)))
        .collect();
    let field = service.spec.as_ref().and_then(|spec| spec.load_balancer_ip.clone());
    places.extend(field.map(|text| ("spec.loadBalancerIP".to_owned(), text)));
    places.retain(|(_, text)| !text.trim().is_empty());
    places
}

fn parse(place: &str, text: &str) -> Result<Vec<Ipv4Addr>, Why> {
    let one = |part: &str| match part.trim().parse() {
        Ok(IpAddr::V4(ip)) => Ok(ip),
        Ok(IpAddr::V6(ip)) => {
            Err(Why::new("BadAddress", format!("{place}: {ip} is IPv6, the pools are IPv4")))
        }
        Err(_) => Err(Why::new("BadAddress", format!("{place}: {:?} is not an address", part.trim()))),
    };
    text.split(',').map(one).collect()
}
