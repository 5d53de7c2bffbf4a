//! The address plan of a site. In: an index, wishes, and what is taken. Out: ranges that do not overlap, or which
//! two do. Pure. IPv4 only.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

pub use scute_api::addresses::AddressRange;

/// Why an address plan is not usable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// Every number that a site can have is taken.
    #[error("64 sites are on this machine already")]
    Full,
    /// Two ranges share addresses.
    #[error("{what} {range} overlaps {other} {taken}")]
    Overlap {
        /// Our range's role.
        what: &'static str,
        /// Our range.
        range: AddressRange,
        /// Whose range it runs into.
        other: String,
        /// That range.
        taken: AddressRange,
    },
    /// Too small for its purpose.
    #[error("{what} {range} is too small: at least /{need} is needed")]
    TooSmall {
        /// The range's role.
        what: &'static str,
        /// The range.
        range: Ipv4Net,
        /// Longest prefix that works.
        need: u8,
    },
    /// Every default plan runs into something.
    #[error(
        "no default address plan is free on this machine; choose ranges with --link, --pods and --services ({0})"
    )]
    NoneFree(Box<AddressError>),
}

/// Ranges that the user fixed.
#[derive(Clone, Debug, Default)]
pub struct AddressWishes {
    /// Network between host and Node.
    pub link: Option<Ipv4Net>,
    /// Pod addresses.
    pub pods: Option<Ipv4Net>,
    /// Service addresses.
    pub services: Option<Ipv4Net>,
    /// Addresses for Services of type LoadBalancer.
    pub pools: Vec<AddressRange>,
}

/// The address plan of one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// Number of the site on this machine; names its interface.
    pub index: u8,
    /// Network between host and Node; the host has the first address, the Node the second.
    pub link: Ipv4Net,
    /// The Node's address, which the API server is reached by.
    pub node: Ipv4Addr,
    /// Pod addresses.
    pub pods: Ipv4Net,
    /// Service addresses.
    pub services: Ipv4Net,
    /// Addresses for Services of type LoadBalancer.
    pub pools: Vec<AddressRange>,
}

/// An address range that something else on the machine uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Who: `site "lab"`, `the route of eth0`.
    pub by: String,
    /// What.
    pub range: AddressRange,
}

/// Longest prefix of a part for servers that is as large as it needs to be.
const SERVERS: u8 = 20;
/// The role of a pool, in errors.
const POOL: &str = "the LoadBalancer pool";

const fn net(a: u8, b: u8, c: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix)
}

fn nth(net: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()).wrapping_add(n))
}

/// Addresses in half a network.
fn half(net: Ipv4Net) -> u32 {
    1 << (31 - u32::from(net.prefix_len().clamp(8, 30)))
}

impl Addresses {
    /// The plan of site number `index`, with the user's wishes put in.
    pub fn of(index: u8, wishes: &AddressWishes) -> Self {
        let link = wishes.link.unwrap_or(net(172, 30, index, 24)).trunc();
        let pods = wishes.pods.unwrap_or(net(10, 85 + 2 * index, 0, 16)).trunc();
        let services = wishes.services.unwrap_or(net(10, 86 + 2 * index, 0, 16)).trunc();
        let mut pools = wishes.pools.clone();
        if pools.is_empty() {
            // The upper half of the link network; the broadcast address is nobody's.
            let half = half(link);
            pools.push(AddressRange { first: nth(link, half), last: nth(link, 2 * half - 2) });
        }
        Self { index, link, node: nth(link, 2), pods, services, pools }
    }

    /// The lowest-numbered plan that no one else on the machine is in the way of.
    ///
    /// With all three networks wished for, only the index is searched, and a clash names the first wish in the way.
    pub fn choose(
        wishes: &AddressWishes,
        taken: &[Taken],
        used_indexes: &[u8],
    ) -> Result<Self, AddressError> {
        Self::choose_with(wishes, taken, used_indexes, |plan| plan)
    }

    fn choose_with(
        wishes: &AddressWishes,
        taken: &[Taken],
        used_indexes: &[u8],
        finish: impl Fn(Self) -> Self,
    ) -> Result<Self, AddressError> {
        let mut first_clash = None;
        for index in (0..64).filter(|i| !used_indexes.contains(i)) {
            let plan = finish(Self::of(index, wishes));
            plan.check_itself()?;
            match plan.check_against(taken, "") {
                Ok(()) => return Ok(plan),
                Err(clash) => _ = first_clash.get_or_insert(clash),
            }
        }
        let clash = first_clash.unwrap_or(AddressError::Full);
        let all_wished = wishes.link.is_some() && wishes.pods.is_some() && wishes.services.is_some();
        Err(if all_wished { clash } else { AddressError::NoneFree(Box::new(clash)) })
    }

    /// A plan whose Node is the machine itself, at `node`; the wish for the link is the machine's network, in which
    /// `there` are the machine and its neighbours.
    pub fn choose_on_host(
        node: Ipv4Addr,
        wishes: &AddressWishes,
        taken: &[Taken],
        there: &[Taken],
        used_indexes: &[u8],
    ) -> Result<Self, AddressError> {
        // Without a wish there is no pool: which addresses of its network are free, the machine does not know.
        let plan =
            Self::choose_with(wishes, taken, used_indexes, |plan| Self { node, pools: Vec::new(), ..plan })?;
        plan.with_pools(&wishes.pools, &[taken, there].concat())
    }

    /// Whether a pool may lie where it does in the link network: within it, and without an address that is somebody's.
    fn may_be_pool(&self, pool: &AddressRange) -> bool {
        let own = [self.link.network(), self.link.broadcast(), self.host(), self.node];
        let within = self.link.contains(&pool.first) && self.link.contains(&pool.last);
        within && !own.iter().any(|address| pool.contains(*address))
    }

    /// The host's address on the link.
    pub fn host(&self) -> Ipv4Addr {
        nth(self.link, 1)
    }

    /// The address of the bridge of Pods.
    pub fn pods_gateway(&self) -> Ipv4Addr {
        nth(self.pods, 1)
    }

    /// The part of the Pods' range that no Pod gets, for servers on the bridge: its last /20, or its last quarter where that
    /// is smaller.
    pub fn servers(&self) -> Ipv4Net {
        let prefix = (self.pods.prefix_len() + 2).clamp(SERVERS, 32);
        Ipv4Net::new_assert(self.pods.broadcast(), prefix).trunc()
    }

    /// Of the servers' part, the half that the rack gives to its hosts by DHCP.
    pub fn leased_servers(&self) -> AddressRange {
        let servers = self.servers();
        // An address that ends in nothing is good, and some tools refuse it.
        AddressRange { first: nth(servers, 1), last: nth(servers, half(servers) - 1) }
    }

    /// Of the servers' part, the half that users give: static addresses and IPPools.
    pub fn given_servers(&self) -> AddressRange {
        let servers = self.servers();
        // The last address is the broadcast address of the whole range.
        AddressRange { first: nth(servers, half(servers)), last: nth(servers, 2 * half(servers) - 2) }
    }

    /// The last address that a Pod may get.
    pub fn last_pod(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.servers().network()).wrapping_sub(1))
    }

    /// The API server's Service address.
    pub fn api_service(&self) -> Ipv4Addr {
        nth(self.services, 1)
    }

    /// The cluster DNS Service address.
    pub fn dns(&self) -> Ipv4Addr {
        nth(self.services, 10)
    }

    /// The site's interface on the host: the host's end of the link, or in the host's network the bridge of its Pods.
    pub fn host_interface(&self) -> String {
        format!("scute{}", self.index)
    }

    /// Networks that the host routes to the Node.
    pub fn routed(&self) -> Vec<Ipv4Net> {
        let mut nets = vec![self.pods, self.services];
        nets.extend(self.pools.iter().flat_map(AddressRange::networks));
        nets
    }

    fn roles(&self) -> Vec<(&'static str, AddressRange)> {
        let mut roles = vec![
            ("the link network", self.link.into()),
            ("the Pod network", self.pods.into()),
            ("the Service network", self.services.into()),
        ];
        roles.extend(self.pools.iter().map(|pool| (POOL, *pool)));
        roles
    }

    /// Sizes, and that no range runs into another of the same plan (a pool may lie in the link network).
    pub fn check_itself(&self) -> Result<(), AddressError> {
        for (what, range, need) in [
            ("the link network", self.link, 28),
            ("the Pod network", self.pods, 24),
            ("the Service network", self.services, 24),
        ] {
            if range.prefix_len() > need {
                return Err(AddressError::TooSmall { what, range, need });
            }
        }
        let roles = self.roles();
        for (i, (what, range)) in roles.iter().enumerate() {
            for (other, taken) in &roles[..i] {
                let pool_in_link = i >= 3 && *other == "the link network" && self.may_be_pool(range);
                if range.overlaps(taken) && !pool_in_link {
                    let other = (*other).to_owned();
                    return Err(AddressError::Overlap { what, range: *range, other, taken: *taken });
                }
            }
        }
        Ok(())
    }

    /// The same plan with other LoadBalancer pools.
    ///
    /// # Errors
    /// A pool runs into another range of the site or into what is taken.
    pub fn with_pools(&self, pools: &[AddressRange], taken: &[Taken]) -> Result<Self, AddressError> {
        let plan = Self { pools: pools.to_vec(), ..self.clone() };
        plan.check_itself()?;
        plan.check_against(taken, POOL)?;
        Ok(plan)
    }

    /// Of the ranges whose role begins with `which`.
    fn check_against(&self, taken: &[Taken], which: &str) -> Result<(), AddressError> {
        for (what, range) in self.roles().into_iter().filter(|(what, _)| what.starts_with(which)) {
            if let Some(hit) = taken.iter().find(|t| t.range.overlaps(&range)) {
                return Err(AddressError::Overlap { what, range, other: hit.by.clone(), taken: hit.range });
            }
        }
        Ok(())
    }

    /// Every range with its owner's name, for the plans of other sites.
    pub fn taken_by(&self, owner: &str) -> Vec<Taken> {
        self.roles().into_iter().map(|(_, range)| Taken { by: owner.to_owned(), range }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(by: &str, range: &str) -> Taken {
        Taken { by: by.to_owned(), range: range.parse().unwrap() }
    }

    #[test]
    fn the_first_site_has_the_documented_ranges() {
        let plan = Addresses::choose(&AddressWishes::default(), &[], &[]).unwrap();
        assert_eq!(plan.host().to_string(), "172.30.0.1");
        assert_eq!(plan.node.to_string(), "172.30.0.2");
        assert_eq!(plan.dns().to_string(), "10.86.0.10");
        assert_eq!(plan.pools[0].to_string(), "172.30.0.128-172.30.0.254");
        let routed: Vec<_> = plan.routed().iter().map(ToString::to_string).collect();
        assert_eq!(routed[..3], ["10.85.0.0/16", "10.86.0.0/16", "172.30.0.128/26"]);
        assert!(!routed.contains(&"172.30.0.255/32".to_owned()));
    }

    #[test]
    fn pods_and_servers_never_meet_whatever_the_range() {
        for (pods, servers, last_pod, leased, given) in [
            (
                "10.85.0.0/16",
                "10.85.240.0/20",
                "10.85.239.255",
                "10.85.240.1-10.85.247.255",
                "10.85.248.0-10.85.255.254",
            ),
            (
                "10.0.0.0/8",
                "10.255.240.0/20",
                "10.255.239.255",
                "10.255.240.1-10.255.247.255",
                "10.255.248.0-10.255.255.254",
            ),
            ("10.7.0.0/19", "10.7.24.0/21", "10.7.23.255", "10.7.24.1-10.7.27.255", "10.7.28.0-10.7.31.254"),
            ("10.9.1.0/24", "10.9.1.192/26", "10.9.1.191", "10.9.1.193-10.9.1.223", "10.9.1.224-10.9.1.254"),
        ] {
            let wishes = AddressWishes { pods: Some(pods.parse().unwrap()), ..Default::default() };
            let plan = Addresses::of(0, &wishes);
            assert_eq!(plan.servers().to_string(), servers);
            assert_eq!(plan.last_pod().to_string(), last_pod);
            assert_eq!(plan.leased_servers().to_string(), leased);
            assert_eq!(plan.given_servers().to_string(), given);
            assert!(plan.pods_gateway() < plan.last_pod());
        }
    }

    #[test]
    fn a_second_site_and_a_foreign_route_are_stepped_over() {
        let first = Addresses::of(0, &AddressWishes::default());
        let mut busy = first.taken_by("site \"scute\"");
        busy.push(taken("the route of eth0", "10.87.5.0/24"));
        let plan = Addresses::choose(&AddressWishes::default(), &busy, &[0]).unwrap();
        assert_eq!((plan.index, plan.pods.to_string()), (2, "10.89.0.0/16".to_owned()));
    }

    #[test]
    fn a_wish_in_the_way_is_named_with_both_ranges() {
        let wishes = AddressWishes {
            link: Some("172.31.0.0/24".parse().unwrap()),
            pods: Some("10.0.0.0/16".parse().unwrap()),
            services: Some("10.1.0.0/16".parse().unwrap()),
            pools: vec![],
        };
        let err = Addresses::choose(&wishes, &[taken("the route of eth0", "10.0.0.0/8")], &[]).unwrap_err();
        let text = "the Pod network 10.0.0.0-10.0.255.255 overlaps the route of eth0 10.0.0.0-10.255.255.255";
        assert_eq!(err.to_string(), text);
    }

    #[test]
    fn ranges_of_one_plan_may_not_meet() {
        let wishes =
            AddressWishes { services: Some("10.85.128.0/20".parse().unwrap()), ..Default::default() };
        assert!(matches!(Addresses::of(0, &wishes).check_itself(), Err(AddressError::Overlap { .. })));
        let wishes =
            AddressWishes { pools: vec!["172.30.0.1-172.30.0.9".parse().unwrap()], ..Default::default() };
        assert!(Addresses::of(0, &wishes).check_itself().is_err(), "a pool over the Node's own address");
        let wishes = AddressWishes { pods: Some("10.85.0.0/26".parse().unwrap()), ..Default::default() };
        assert!(matches!(
            Addresses::of(0, &wishes).check_itself(),
            Err(AddressError::TooSmall { need: 24, .. })
        ));
    }

    #[test]
    fn a_pool_on_the_host_takes_no_address_of_the_machine_or_its_neighbours() {
        let choose = |pool: &str| {
            let wishes = AddressWishes {
                link: Some("192.168.7.0/24".parse().unwrap()),
                pools: vec![pool.parse().unwrap()],
                ..Default::default()
            };
            let there = [taken("the gateway", "192.168.7.254"), taken("an address of eth0", "192.168.7.21")];
            let far = [taken("the network of eth1", "10.200.0.0/16")];
            Addresses::choose_on_host("192.168.7.20".parse().unwrap(), &wishes, &far, &there, &[])
                .map(|plan| plan.pools.len())
                .map_err(|e| e.to_string())
        };
        // Below the Node's address as well as above.
        assert_eq!(choose("192.168.7.5-192.168.7.9"), Ok(1));
        assert_eq!(choose("192.168.7.30-192.168.7.39"), Ok(1));
        assert_eq!(choose("203.0.113.0/28"), Ok(1), "routed from elsewhere");
        for (pool, other) in [
            ("192.168.7.20", "the link network"),
            ("192.168.7.15-192.168.7.25", "the link network"),
            ("192.168.7.0/24", "the link network"),
            ("192.168.7.250-192.168.7.254", "the gateway"),
            ("192.168.7.21-192.168.7.22", "an address of eth0"),
            ("10.85.3.0/28", "the Pod network"),
            ("10.86.0.1", "the Service network"),
            ("10.200.1.1", "the network of eth1"),
        ] {
            let refused = choose(pool).unwrap_err();
            assert!(
                refused.contains(other) && refused.contains("the LoadBalancer pool"),
                "{pool}: {refused}"
            );
        }
    }
}
