//! Who has which addresses: the objects' claims, with their places. What must not meet is said by [`scute_api::ranges`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use scute_api::addresses::AddressRange;
use scute_api::ipam::{Pool, PoolRange};
use scute_api::metal3::BmcAddress;
use scute_api::ranges::{Claim, Home, Management, Owner, Purpose, Role, harm, parse};
use serde::Deserialize;

use super::objects::{Object, Objects, text_of};
use super::{Finding, Level, Place};

/// A claim, and where it is made.
pub struct Placed {
    /// The claim.
    pub claim: Claim,
    /// The field.
    pub place: Place,
}

/// Checks addresses and networks.
pub fn check(objects: &Objects, found: &mut Vec<Finding>) {
    let mut reading = Reading { objects, placed: Vec::new(), found };
    objects.all.iter().for_each(|object| reading.read(object));
    let Reading { placed, found, .. } = reading;
    // BMCs do not clash with each other, and there may be thousands.
    let (bmcs, others): (Vec<_>, Vec<_>) =
        placed.iter().partition(|placed| placed.claim.purpose == Purpose::Bmc);
    for (at, one) in others.iter().enumerate() {
        for two in others[at + 1..].iter().chain(&bmcs) {
            found.extend(meeting(one, two));
        }
    }
    outside(&placed, found);
    servers(objects, found);
}

/// What comes of two ranges.
fn meeting(one: &Placed, two: &Placed) -> Option<Finding> {
    let harm = harm(&one.claim, &two.claim)?;
    let (one, two) = if one.claim.purpose <= two.claim.purpose { (one, two) } else { (two, one) };
    let shared = one.claim.range.shared(&two.claim.range)?;
    let inner = matches!(one.claim.purpose, Purpose::Pods | Purpose::Services);
    let said = |placed: &Placed| format!("{} ({})", placed.claim, placed.claim.text);
    let (rule, fix, places) = match inner {
        true => (
            "network-overlap",
            "give one of them another range; that of a cluster cannot be changed once it runs",
            [one, two],
        ),
        false => ("address-overlap", "make the ranges disjoint: every address has one owner", [two, one]),
    };
    Some(Finding {
        rule,
        level: if harm.certain { Level::Error } else { Level::Warning },
        message: format!("{} and {} share {shared}: {}", said(one), said(two), harm.why),
        fix: fix.to_owned(),
        places: places.map(|placed| placed.place.clone()).to_vec(),
    })
}

/// Requested addresses that no pool has.
fn outside(placed: &[Placed], found: &mut Vec<Finding>) {
    let of = |purpose| placed.iter().filter(move |placed| placed.claim.purpose == purpose);
    let pools: Vec<_> = of(Purpose::LoadBalancer).collect();
    for asked in of(Purpose::Requested).filter(|_| !pools.is_empty()) {
        if !pools.iter().any(|pool| pool.claim.range.covers(&asked.claim.range)) {
            found.push(Finding {
                rule: "address-outside-pool",
                level: Level::Error,
                message: format!(
                    "{} ({}) lies in no LoadBalancer pool: the Service stays pending",
                    asked.claim, asked.claim.text
                ),
                fix: "ask for an address of a pool, or add it to one".to_owned(),
                places: vec![asked.place.clone()],
            });
        }
    }
}

/// Hosts that are one server: behind one System of one BMC.
fn servers(objects: &Objects, found: &mut Vec<Finding>) {
    const PATH: [&str; 3] = ["spec", "bmc", "address"];
    let mut known: BTreeMap<String, Vec<(BmcAddress, &Object)>> = BTreeMap::new();
    for host in objects.of("BareMetalHost") {
        // What is no address is told at the door.
        let Some(Ok(address)) = host.text(&PATH).map(str::parse::<BmcAddress>) else { continue };
        let there = known.entry(address.endpoint()).or_default();
        if let Some((_, other)) = there.iter().find(|(other, _)| address.may_be(other)) {
            found.push(Finding {
                rule: "bmc-owner",
                level: Level::Error,
                message: format!(
                    "{} and {} are one server: both are behind {}",
                    other.title(),
                    host.title(),
                    host.text(&PATH).unwrap_or_default()
                ),
                fix: "give each host the address of its own System, or delete one".to_owned(),
                places: vec![host.place(&PATH), other.place(&PATH)],
            });
        }
        there.push((address, host));
    }
}

struct Reading<'a, 'f> {
    objects: &'a Objects,
    placed: Vec<Placed>,
    found: &'f mut Vec<Finding>,
}

impl Reading<'_, '_> {
    fn read(&mut self, object: &Object) {
        match (object.kind.as_str(), object.group.as_str()) {
            ("Cluster", _) => {
                self.networks(object);
                self.endpoint(object);
            }
            ("TenantControlPlane", _) => {
                self.tenant(object);
                self.asked(object);
            }
            ("Metal3Cluster" | "KubevirtCluster", _) => self.endpoint(object),
            ("KubeadmControlPlane", _) => self.of_kubeadm(object),
            ("KamajiControlPlane" | "Service", _) => self.asked(object),
            ("IPAddressPool", "metallb.io") => {
                let path = ["spec", "addresses"];
                self.list(object, &path, Purpose::LoadBalancer, None);
            }
            ("IPPool", "ipam.metal3.io") => self.pool(object),
            ("Ironic", _) => self.ironic(object),
            ("BareMetalHost", _) => self.bmc(object),
            ("ConfigMap", _) if object.name == "scute-manager" => self.management(object),
            _ => {}
        }
    }

    fn put(
        &mut self,
        object: &Object,
        path: &[&str],
        purpose: Purpose,
        home: Option<Home>,
        range: PoolRange,
        text: &str,
    ) {
        let owner = Owner::new(&object.kind, &object.namespace, &object.name);
        let (text, path_text) = (text.to_owned(), path.join("."));
        let claim = Claim { range, text, purpose, owner, path: path_text, home, holes: Vec::new() };
        self.placed.push(Placed { claim, place: object.place(path) });
    }

    /// A text that is a range. Where a name is legal too, only what looks like an address is judged.
    fn text(&mut self, object: &Object, path: &[&str], purpose: Purpose, home: Option<Home>, text: &str) {
        match parse(text) {
            Some(range) => self.put(object, path, purpose, home, range, text),
            None if purpose <= Purpose::Services
                || text.chars().all(|c| c.is_ascii_digit() || ".-/ ".contains(c)) =>
            {
                self.unreadable(object, path, format!("{text:?} is no address, range or network"));
            }
            None => {}
        }
    }

    fn unreadable(&mut self, object: &Object, path: &[&str], message: String) {
        self.found.push(Finding {
            rule: "address-range",
            level: Level::Error,
            message,
            fix: "write first-last with first not above last, or a network such as 10.244.0.0/16".to_owned(),
            places: vec![object.place(path)],
        });
    }

    fn list(&mut self, object: &Object, path: &[&str], purpose: Purpose, home: Option<Home>) {
        for (index, (text, _)) in object.texts(path).into_iter().enumerate() {
            self.text(object, &[path, &[&index.to_string()]].concat(), purpose, home.clone(), &text);
        }
    }

    fn networks(&mut self, cluster: &Object) {
        let home = Some(home(self.objects, cluster));
        for (name, purpose) in [("pods", Purpose::Pods), ("services", Purpose::Services)] {
            self.list(cluster, &["spec", "clusterNetwork", name, "cidrBlocks"], purpose, home.clone());
        }
    }

    /// The ranges of one that no Cluster has.
    fn tenant(&mut self, tenant: &Object) {
        if tenant.text(&["metadata", "labels", "cluster.x-k8s.io/cluster-name"]).is_some() {
            return;
        }
        let home = Home {
            namespace: tenant.namespace.clone(),
            name: tenant.name.clone(),
            role: Role::Hosted { on_vms: false },
        };
        for (list, single, purpose) in
            [("podCidrs", "podCidr", Purpose::Pods), ("serviceCidrs", "serviceCidr", Purpose::Services)]
        {
            self.list(tenant, &["spec", "networkProfile", list], purpose, Some(home.clone()));
            let path = ["spec", "networkProfile", single];
            if let Some(text) = tenant.text(&path) {
                self.text(tenant, &path, purpose, Some(home.clone()), text);
            }
        }
    }

    fn pool(&mut self, pool: &Object) {
        let cluster = pool.text(&["spec", "clusterName"]).unwrap_or_default();
        let home = Home {
            namespace: pool.namespace.clone(),
            name: cluster.to_owned(),
            role: Role::Hosted { on_vms: false },
        };
        for (index, entry) in pool.list(&["spec", "pools"]).iter().enumerate() {
            let text = |key: &str| entry.get(key).and_then(text_of).map(str::to_owned);
            let entry =
                Pool { start: text("start"), end: text("end"), subnet: text("subnet"), ..Pool::default() };
            let path = ["spec", "pools", &index.to_string()];
            match PoolRange::of(&entry) {
                Ok(range) => {
                    self.put(pool, &path, Purpose::Servers, Some(home.clone()), range, &range.to_string());
                }
                Err(error) => self.unreadable(pool, &path, format!("{} {}", error.field, error.detail)),
            }
        }
    }

    fn ironic(&mut self, ironic: &Object) {
        let at = |last: &[&'static str]| [&["spec", "networking"][..], last].concat();
        let (begin, end) = (at(&["dhcp", "rangeBegin"]), at(&["dhcp", "rangeEnd"]));
        if let (Some(first), Some(last)) = (ironic.text(&begin), ironic.text(&end)) {
            self.text(ironic, &begin, Purpose::Leases, None, &format!("{first}-{last}"));
        }
        let own = at(&["ipAddress"]);
        if let Some(address) = ironic.text(&own) {
            self.text(ironic, &own, Purpose::Endpoint, None, address);
        }
    }

    fn bmc(&mut self, host: &Object) {
        let path = ["spec", "bmc", "address"];
        let Some(Ok(address)) = host.text(&path).map(str::parse::<BmcAddress>) else { return };
        if let Some(range) = address.host.parse::<IpAddr>().ok().and_then(|ip| PoolRange::between(ip, ip)) {
            self.put(host, &path, Purpose::Bmc, None, range, &address.host);
        }
    }

    /// Endpoints: those that a LoadBalancer Service will carry are requests, the others are announced by the machines.
    fn endpoint(&mut self, object: &Object) {
        let path = ["spec", "controlPlaneEndpoint", "host"];
        let Some(host) = object.text(&path).filter(|host| !host.is_empty()) else { return };
        let home = home_of(self.objects, object);
        let carried = matches!(home.role, Role::Hosted { .. }) && hosted(self.objects, object);
        self.text(
            object,
            &path,
            if carried { Purpose::Requested } else { Purpose::Endpoint },
            Some(home),
            host,
        );
    }

    fn of_kubeadm(&mut self, object: &Object) {
        let path = ["spec", "kubeadmConfigSpec", "clusterConfiguration", "controlPlaneEndpoint"];
        let Some(host) = object.text(&path) else { return };
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']);
        self.text(object, &path, Purpose::Endpoint, Some(home_of(self.objects, object)), host);
    }

    /// Addresses that the Service of a control plane asks for.
    fn asked(&mut self, object: &Object) {
        let home = home_of(self.objects, object);
        let base: &[&str] = match object.kind.as_str() {
            "KamajiControlPlane" => &["spec", "network", "serviceAnnotations"],
            "TenantControlPlane" => &["spec", "controlPlane", "service", "additionalMetadata", "annotations"],
            _ => &["metadata", "annotations"],
        };
        let path = [base, &["metallb.io/loadBalancerIPs"]].concat();
        for address in object.text(&path).unwrap_or_default().split(',').filter(|text| !text.is_empty()) {
            self.text(object, &path, Purpose::Requested, Some(home.clone()), address);
        }
        for path in [&["spec", "network", "serviceAddress"][..], &["spec", "networkProfile", "address"]] {
            if let Some(address) = object.text(path).filter(|text| !text.is_empty()) {
                self.text(object, path, Purpose::Requested, Some(home.clone()), address);
            }
        }
    }

    /// What the manager is told of its own cluster.
    fn management(&mut self, map: &Object) {
        let path = ["data", "config.yaml"];
        let Some(text) = map.text(&path) else { return };
        let config: Config = match serde_saphyr::from_str(text) {
            Ok(config) => config,
            Err(error) => return self.unreadable(map, &path, format!("config.yaml does not read: {error}")),
        };
        let Config { networks, load_balancer, metal } = config;
        let Networks { nodes, pods, services, servers, leases } = networks;
        let load_balancer = load_balancer.pools;
        // A name is no range.
        let service = metal.and_then(|metal| metal.service_address.parse().ok());
        let own = Management { nodes, pods, services, load_balancer, servers, leases, service };
        self.placed.extend(own.claims().into_iter().map(|claim| Placed { claim, place: map.place(&path) }));
    }
}

/// Of the manager's configuration, what addresses are in it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    networks: Networks,
    load_balancer: Pools,
    metal: Option<Metal>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Networks {
    nodes: Vec<IpNet>,
    pods: Vec<IpNet>,
    services: Vec<IpNet>,
    servers: Vec<AddressRange>,
    leases: Vec<AddressRange>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pools {
    pools: Vec<AddressRange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metal {
    service_address: String,
}

/// What a Cluster is to others.
fn home(objects: &Objects, cluster: &Object) -> Home {
    let role = match is_hosted(cluster) || on_vms(objects, cluster) {
        true => Role::Hosted { on_vms: on_vms(objects, cluster) },
        false => Role::Standing,
    };
    Home { namespace: cluster.namespace.clone(), name: cluster.name.clone(), role }
}

/// The Cluster that an object belongs to, and what it is; without one, the object stands for it.
fn home_of(objects: &Objects, object: &Object) -> Home {
    let name = owner(objects, object).to_owned();
    match objects.get("Cluster", &object.namespace, &name) {
        Some(cluster) => home(objects, cluster),
        None => Home { namespace: object.namespace.clone(), name, role: Role::Standing },
    }
}

/// A cluster with a hosted control plane carries no other cluster's VMs: it is a tenant.
fn is_hosted(cluster: &Object) -> bool {
    cluster.text(&["spec", "controlPlaneRef", "kind"]) == Some("KamajiControlPlane")
}

/// Whether Nodes of a cluster are VMs of another: its infrastructure says so, or one of its pools does.
fn on_vms(objects: &Objects, cluster: &Object) -> bool {
    if cluster.text(&["spec", "infrastructureRef", "kind"]) == Some("KubevirtCluster") {
        return true;
    }
    is_hosted(cluster)
        && objects.of("MachineDeployment").any(|machines| {
            machines.namespace == cluster.namespace
                && machines.text(&["spec", "clusterName"]) == Some(&cluster.name)
                && machines.text(&["spec", "template", "spec", "infrastructureRef", "kind"])
                    == Some("KubevirtMachineTemplate")
        })
}

/// The Cluster that an object belongs to, by reference or by name.
pub fn owner<'a>(objects: &'a Objects, o: &'a Object) -> &'a str {
    if o.kind == "Cluster" {
        return &o.name;
    }
    let refers = |c: &&Object| {
        c.namespace == o.namespace
            && ["controlPlaneRef", "infrastructureRef"].iter().any(|r| {
                c.text(&["spec", r, "kind"]) == Some(&o.kind) && c.text(&["spec", r, "name"]) == Some(&o.name)
            })
    };
    let named = |c: &&Object| {
        c.namespace == o.namespace && c.text(&["spec", "infrastructureRef", "name"]) == Some(&o.name)
    };
    let found = objects.of("Cluster").find(refers).or_else(|| objects.of("Cluster").find(named));
    found.map_or(o.name.as_str(), |c| c.name.as_str())
}

/// Whether the cluster of an object has a hosted control plane behind a LoadBalancer.
fn hosted(objects: &Objects, o: &Object) -> bool {
    objects.get("Cluster", &o.namespace, owner(objects, o)).is_some_and(is_hosted)
}
