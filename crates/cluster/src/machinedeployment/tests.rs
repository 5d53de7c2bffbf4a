//! Rollouts as stories: the sizes of the sets after every step, until nothing moves any more.

use proptest::prelude::*;
use scute_api::cluster::RolloutStrategyType;

use super::rollout::{Size, Want, first_size, sizes};

fn want(replicas: i32, surge: i32, unavailable: i32) -> Want {
    Want { replicas, surge, unavailable, strategy: RolloutStrategyType::RollingUpdate, paused: false }
}

fn steady(replicas: i32) -> Size {
    Size { replicas, machines: replicas, going: 0, available: replicas, desired: Some(replicas) }
}

/// A world in which Machines come and go one step after they were asked for.
struct World {
    want: Want,
    new: Option<Size>,
    old: Vec<Size>,
}

impl World {
    fn from(want: Want, old: Vec<Size>) -> Self {
        Self { want, new: None, old }
    }

    /// The deployment acts.
    fn plan(&mut self) {
        let (new, old) = sizes(self.want, self.new, &self.old);
        match self.new.as_mut() {
            Some(set) => set.replicas = new.unwrap_or(set.replicas),
            None => self.new = Some(Size { replicas: first_size(self.want, &self.old), ..Size::default() }),
        }
        for (set, replicas) in self.old.iter_mut().zip(old) {
            set.replicas = replicas;
        }
        for set in self.new.iter_mut().chain(&mut self.old) {
            set.desired = Some(self.want.replicas);
        }
    }

    /// The sets and the providers act: what was asked to go is gone, what was made becomes Available a
    /// step later.
    fn live(&mut self) {
        for set in self.new.iter_mut().chain(&mut self.old) {
            set.machines -= set.going;
            set.going = 0;
            set.available = set.available.max(set.machines.min(set.replicas)).min(set.machines);
            if set.machines > set.replicas {
                set.going = set.machines - set.replicas;
                // Those that are not Available go first.
                let useless = set.machines - set.available;
                set.available -= (set.going - useless).max(0);
            }
            set.machines = set.machines.max(set.replicas);
        }
    }

    fn line(&self) -> String {
        let show = |set: &Size| format!("{}({}/{})", set.replicas, set.available, set.machines);
        let old: Vec<_> = self.old.iter().map(show).collect();
        format!("old {} new {}", old.join(" "), self.new.as_ref().map_or("-".to_owned(), show))
    }

    fn story(&mut self, steps: usize) -> String {
        let mut lines = vec![self.line()];
        for _ in 0..steps {
            self.plan();
            self.live();
            let line = self.line();
            if lines.last() == Some(&line) {
                break;
            }
            lines.push(line);
        }
        lines.join("\n")
    }
}

#[test]
fn three_machines_one_at_a_time() {
    let mut world = World::from(want(3, 1, 0), vec![steady(3)]);
    assert_eq!(
        world.story(20),
        "old 3(3/3) new -\n\
         old 3(3/3) new 1(0/1)\n\
         old 3(3/3) new 1(1/1)\n\
         old 2(2/3) new 1(1/1)\n\
         old 2(2/2) new 1(1/1)\n\
         old 2(2/2) new 2(1/2)\n\
         old 2(2/2) new 2(2/2)\n\
         old 1(1/2) new 2(2/2)\n\
         old 1(1/1) new 2(2/2)\n\
         old 1(1/1) new 3(2/3)\n\
         old 1(1/1) new 3(3/3)\n\
         old 0(0/1) new 3(3/3)\n\
         old 0(0/0) new 3(3/3)",
        "replicas(available/machines)"
    );
}

#[test]
fn two_servers_and_none_to_spare() {
    let mut world = World::from(want(2, 0, 1), vec![steady(2)]);
    assert_eq!(
        world.story(20),
        "old 2(2/2) new -\n\
         old 2(2/2) new 0(0/0)\n\
         old 1(1/2) new 0(0/0)\n\
         old 1(1/1) new 0(0/0)\n\
         old 1(1/1) new 1(0/1)\n\
         old 1(1/1) new 1(1/1)\n\
         old 0(0/1) new 1(1/1)\n\
         old 0(0/0) new 1(1/1)\n\
         old 0(0/0) new 2(1/2)\n\
         old 0(0/0) new 2(2/2)"
    );
}

#[test]
fn machines_that_serve_nobody_go_first() {
    let broken = Size { available: 1, ..steady(3) };
    let new = Size { replicas: 1, machines: 1, going: 0, available: 1, desired: Some(3) };
    let (new, old) = sizes(want(3, 1, 0), Some(new), &[broken]);
    assert_eq!((new, old), (Some(1), vec![2]), "one of the two broken ones, as four are allowed");
}

#[test]
fn a_deployment_that_is_resized_in_the_middle_keeps_its_shares() {
    let old = Size { replicas: 6, machines: 6, going: 0, available: 6, desired: Some(10) };
    let new = Size { replicas: 5, machines: 5, going: 0, available: 5, desired: Some(10) };
    let (new_size, old_sizes) = sizes(want(20, 1, 0), Some(new), &[old]);
    assert_eq!((new_size, old_sizes.as_slice()), (Some(9), [12].as_slice()), "21 in all, by shares");
    let (new_size, old_sizes) = sizes(want(4, 1, 0), Some(new), &[old]);
    assert_eq!((new_size, old_sizes.as_slice()), (Some(3), [2].as_slice()), "5 in all, by shares");
}

#[test]
fn percentages_round_to_the_safe_side() {
    let deployment = |surge: &str, unavailable: &str, replicas: i32| {
        let value = serde_json::json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "metadata": {"name": "md"},
            "spec": {"clusterName": "c", "replicas": replicas, "selector": {}, "template": {"spec": {"clusterName": "c",
                "bootstrap": {}, "infrastructureRef": {"apiGroup": "g", "kind": "k", "name": "n"}}},
                "rollout": {"strategy": {"type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}
        });
        let want = Want::of(&serde_json::from_value(value).expect("a MachineDeployment"));
        (want.surge, want.unavailable)
    };
    assert_eq!(deployment("25%", "25%", 10), (3, 2));
    assert_eq!(deployment("0%", "5%", 10), (0, 1), "both nothing: one may be missing, or nothing ever moves");
    assert_eq!(deployment("100%", "0%", 3), (3, 0));
}

#[test]
fn the_largest_numbers_do_not_wrap() {
    let huge = |strategy| Want { strategy, ..want(i32::MAX, i32::MAX, 0) };
    for strategy in [RolloutStrategyType::RollingUpdate, RolloutStrategyType::OnDelete] {
        let old = [steady(i32::MAX), steady(i32::MAX)];
        let (new, old_sizes) = sizes(huge(strategy), Some(steady(i32::MAX)), &old);
        assert!(new.is_some_and(|size| size >= 0) && old_sizes.iter().all(|size| *size >= 0));
        assert_eq!(first_size(huge(strategy), &old), 0);
    }
    let resized = Size { desired: Some(1), ..steady(i32::MAX) };
    let (new, _) = sizes(huge(RolloutStrategyType::RollingUpdate), Some(resized), &[resized, resized]);
    assert!(new.is_some_and(|size| size >= 0));
}

fn any_size() -> impl Strategy<Value = Size> {
    (0..6i32, 0..6i32, 0..6i32).prop_map(|(replicas, machines, available)| Size {
        replicas,
        machines,
        going: 0,
        available: available.min(machines),
        desired: None,
    })
}

proptest! {
    /// Whatever it starts from, a rollout ends with as many new Machines as wanted, and no others.
    #[test]
    fn every_rollout_ends(
        replicas in 0..8i32, surge in 0..3i32, unavailable in 0..3i32,
        old in prop::collection::vec(any_size(), 0..4), new in prop::option::of(any_size()),
    ) {
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let mut world = World { want: want(replicas, surge, unavailable), new, old };
        for _ in 0..200 {
            world.plan();
            world.live();
        }
        prop_assert_eq!(world.new.map(|set| (set.replicas, set.machines)), Some((replicas, replicas)), "{}", world.line());
        prop_assert!(world.old.iter().all(|set| set.replicas == 0 && set.machines == 0), "{}", world.line());
    }

    /// From a healthy start, the limits hold at every step.
    #[test]
    fn the_limits_hold(
        replicas in 1..9i32, surge in 0..4i32, unavailable in 0..4i32,
    ) {
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let mut world = World::from(want(replicas, surge, unavailable), vec![steady(replicas)]);
        for _ in 0..100 {
            world.plan();
            world.live();
            let all = || world.new.iter().chain(&world.old);
            let machines: i32 = all().map(|set| set.machines).sum();
            let available: i32 = all().map(|set| set.available).sum();
            prop_assert!(machines <= replicas + surge, "{}", world.line());
            prop_assert!(available >= replicas - unavailable, "{}", world.line());
        }
    }
}
