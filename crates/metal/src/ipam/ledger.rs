//! Which addresses of a pool are free. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use kube::ResourceExt;
use scute_api::ipam::{AllocationStrategy, IPClaim, IPPool, Pool, PoolRange, REQUESTED_ADDRESS_ANNOTATION};

use super::clash::is_gateway;

/// The addresses of a pool, and who may have which.
pub struct Ledger<'a> {
    pool: &'a IPPool,
    ranges: Vec<(PoolRange, &'a Pool)>,
    /// How many addresses the ranges have.
    total: u128,
    /// In use.
    taken: BTreeSet<IpAddr>,
    /// Kept for the claims of these names.
    kept: BTreeMap<IpAddr, &'a str>,
    /// Place of the first address that may be free: all before it are not.
    next: u128,
}

impl<'a> Ledger<'a> {
    /// Of a pool, and the addresses of its namespace that are in use.
    pub fn new(pool: &'a IPPool, taken: BTreeSet<IpAddr>) -> Self {
        let entries = pool.spec.pools.iter();
        let ranges: Vec<_> = entries.filter_map(|entry| Some((PoolRange::of(entry).ok()?, entry))).collect();
        let kept = pool.spec.pre_allocations.iter();
        let kept = kept.filter_map(|(claim, text)| Some((text.parse().ok()?, claim.as_str()))).collect();
        let total = ranges.iter().fold(0, |sum: u128, (range, _)| sum.saturating_add(range.size()));
        Self { pool, ranges, total, taken, kept, next: 0 }
    }

    /// An address for a claim: the one that is kept for it, the one that it asks for, else a free one.
    ///
    /// # Errors
    /// Why there is none, for a person.
    pub fn give(&mut self, claim: &IPClaim) -> Result<(IpAddr, &'a Pool), String> {
        let name = claim.name_any();
        let (pool, of_pool) = (self.pool, self.pool.name_any());
        let kept = pool.spec.pre_allocations.get(&name);
        let asked = claim.annotations().get(REQUESTED_ADDRESS_ANNOTATION).filter(|text| !text.is_empty());
        if let (Some(kept), Some(asked)) = (kept, asked)
            && kept != asked
        {
            return Err(format!(
                "the annotation {REQUESTED_ADDRESS_ANNOTATION} asks for {asked}, but IPPool {of_pool} keeps {kept} for this \
                 claim (spec.preAllocations): they must be equal"
            ));
        }
        let address = match kept.or(asked) {
            Some(text) => self.this(text, &name)?,
            None => self.any(claim)?,
        };
        let entry =
            self.range_of(address).ok_or_else(|| format!("{address} is in no range of IPPool {of_pool}"))?;
        self.taken.insert(address);
        Ok((address, entry))
    }

    fn range_of(&self, address: IpAddr) -> Option<&'a Pool> {
        self.ranges.iter().find(|(range, _)| range.contains(address)).map(|(_, entry)| *entry)
    }

    fn this(&self, text: &str, claim: &str) -> Result<IpAddr, String> {
        let address = text.parse().map_err(|_| format!("{text} is no IP address"))?;
        let pool = self.pool.name_any();
        if let Some(other) = self.kept.get(&address).filter(|other| **other != claim) {
            return Err(format!("IPPool {pool} keeps {address} for the claim {other} (spec.preAllocations)"));
        }
        if self.taken.contains(&address) {
            return Err(format!(
                "{address} of IPPool {pool} is in use: it is given to this claim when it is free"
            ));
        }
        Ok(address)
    }

    fn any(&mut self, claim: &IPClaim) -> Result<IpAddr, String> {
        let random = self.pool.spec.allocation_strategy == AllocationStrategy::Random;
        let start = if random { seed(claim).checked_rem(self.total).unwrap_or(0) } else { 0 };
        // No more places than there are addresses in use are passed over; once all are, `next` says so.
        for step in self.next..self.total {
            let rest = self.total - start;
            let place = if step < rest { start + step } else { step - rest };
            match self.at(place).filter(|address| self.is_free(*address)) {
                Some(address) => return Ok(address),
                None if !random => self.next = step + 1,
                None => {}
            }
        }
        self.next = self.total;
        Err(self.exhausted())
    }

    fn is_free(&self, address: IpAddr) -> bool {
        !self.taken.contains(&address) && !self.kept.contains_key(&address) && !is_gateway(self.pool, address)
    }

    fn at(&self, mut place: u128) -> Option<IpAddr> {
        for (range, _) in &self.ranges {
            if let Some(address) = range.nth(place) {
                return Some(address);
            }
            place = place.checked_sub(range.size())?;
        }
        None
    }

    fn exhausted(&self) -> String {
        let in_use = self.taken.iter().filter(|address| self.range_of(**address).is_some()).count();
        let kept = self.kept.keys().filter(|address| !self.taken.contains(address)).count();
        let kept = if kept == 0 { String::new() } else { format!(", {kept} kept by spec.preAllocations") };
        format!(
            "IPPool {} has no free address: {in_use} in use{kept}; this claim gets the next one that is given back",
            self.pool.name_any()
        )
    }
}

/// Differs from claim to claim, and is the same after a restart.
fn seed(claim: &IPClaim) -> u128 {
    let mut hasher = DefaultHasher::new();
    claim.metadata.uid.hash(&mut hasher);
    hasher.finish().into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pool(spec: Value) -> IPPool {
        let mut spec = spec;
        spec["namePrefix"] = json!("p");
        serde_json::from_value(json!({
            "apiVersion": "ipam.metal3.io/v1alpha1", "kind": "IPPool", "metadata": {"name": "pool"}, "spec": spec,
        }))
        .unwrap()
    }

    fn claim(name: &str, asked: Option<&str>) -> IPClaim {
        let annotations = asked.map(|address| json!({ REQUESTED_ADDRESS_ANNOTATION: address }));
        serde_json::from_value(json!({
            "apiVersion": "ipam.metal3.io/v1alpha1", "kind": "IPClaim",
            "metadata": {"name": name, "uid": format!("uid-{name}"), "annotations": annotations},
            "spec": {"pool": {"name": "pool"}},
        }))
        .unwrap()
    }

    fn taken(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn given(ledger: &mut Ledger, name: &str, asked: Option<&str>) -> Result<String, String> {
        ledger.give(&claim(name, asked)).map(|(address, _)| address.to_string())
    }

    #[test]
    fn the_first_free_address_of_the_first_range_that_has_one() {
        let pool = pool(json!({"gateway": "10.0.0.1", "pools": [
            {"start": "10.0.0.1", "end": "10.0.0.4"}, {"start": "10.0.9.9", "end": "10.0.9.9"}]}));
        let mut ledger = Ledger::new(&pool, taken(&["10.0.0.3"]));
        let all: Vec<_> = (0..4).map(|index| given(&mut ledger, &format!("c{index}"), None)).collect();
        assert_eq!(all[..3], ["10.0.0.2", "10.0.0.4", "10.0.9.9"].map(|text| Ok(text.to_owned())));
        assert_eq!(
            all[3].clone().unwrap_err(),
            "IPPool pool has no free address: 4 in use; this claim gets the next one that is given back"
        );
    }

    #[test]
    fn what_is_kept_or_asked_for_is_that_claims_alone() {
        let pool = pool(
            json!({"preAllocations": {"mine": "10.0.0.1"}, "pools": [{"start": "10.0.0.1", "end": "10.0.0.3"}]}),
        );
        let mut ledger = Ledger::new(&pool, taken(&[]));
        assert_eq!(given(&mut ledger, "other", None).as_deref(), Ok("10.0.0.2"));
        for (name, asked, why) in [
            ("x", "10.0.0.1", "keeps 10.0.0.1 for the claim mine"),
            ("x", "10.0.0.2", "10.0.0.2 of IPPool pool is in use"),
            ("x", "10.0.0.9", "10.0.0.9 is in no range of IPPool pool"),
            ("mine", "10.0.0.3", "asks for 10.0.0.3, but IPPool pool keeps 10.0.0.1"),
        ] {
            let refused = given(&mut ledger, name, Some(asked)).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert_eq!(given(&mut ledger, "x", Some("10.0.0.3")).as_deref(), Ok("10.0.0.3"));
        let none = given(&mut ledger, "y", None).unwrap_err();
        assert!(none.contains("2 in use, 1 kept by spec.preAllocations"), "{none}");
        assert_eq!(given(&mut ledger, "mine", None).as_deref(), Ok("10.0.0.1"));
    }

    #[test]
    fn at_random_every_address_is_given_once_and_the_same_after_a_restart() {
        let pool = pool(json!({"allocationStrategy": "random", "pools": [
            {"start": "10.0.0.1", "end": "10.0.0.40"}, {"start": "fd00::1", "end": "fd00::a"}]}));
        let run = || -> Vec<_> {
            let mut ledger = Ledger::new(&pool, taken(&[]));
            (0..51).map(|index| given(&mut ledger, &format!("c{index}"), None)).collect()
        };
        let all = run();
        let distinct: BTreeSet<_> = all[..50].iter().map(|one| one.clone().unwrap()).collect();
        assert_eq!((distinct.len(), all[50].is_err()), (50, true));
        assert_ne!(all[0].as_deref(), Ok("10.0.0.1"));
        assert_eq!(all, run());
    }

    #[test]
    fn a_range_that_nobody_can_count_has_a_first_address() {
        let pool = pool(json!({"pools": [{"subnet": "::/0"}]}));
        let mut ledger = Ledger::new(&pool, taken(&["::1"]));
        assert_eq!(given(&mut ledger, "c", None).as_deref(), Ok("::2"));
    }
}
