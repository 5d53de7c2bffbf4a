//! The packer on the CC0 data set and against the exact solver.

mod cc0;

use cc0::Random;
use scute_plan::pack::groups::{Rule, place, violations};
use scute_plan::pack::{fewest_hosts, pack};

#[test]
fn the_data_set_is_packed_within_two_percent_of_a_bound_above_the_plain_relaxation() {
    for (n, plain) in [(1, 714), (2, 681), (3, 781)] {
        let case = cc0::case(n);
        let placed = place(&case.problem, &case.instances, &case.items, &[], &[]);
        assert!(placed.at.iter().all(Option::is_some));
        assert!(placed.bound.at_least >= plain, "C{n}: {:?}", placed.bound);
        assert!(placed.hosts() as u64 * 100 <= placed.bound.at_least * 102, "C{n}: {}", placed.hosts());
        assert!(placed.hosts() as u64 >= placed.bound.at_least, "a bound above a plan is no bound");
        assert!(violations(&case.problem, &case.instances, &case.items, &[], &placed).is_empty());
    }
}

#[test]
fn groups_are_kept_for_a_tenth_more_servers() {
    for n in 1..=3 {
        let case = cc0::case(n);
        let free = place(&case.problem, &case.instances, &case.items, &[], &[]);
        let placed = place(&case.problem, &case.instances, &case.items, &case.groups, &[]);
        assert!(placed.at.iter().all(Option::is_some));
        assert_eq!(
            violations(&case.problem, &case.instances, &case.items, &case.groups, &placed),
            Vec::<String>::new()
        );
        assert!(placed.hosts() * 10 <= free.hosts() * 11);
        // Groups that were split are proven too large, or nearly: no server has their CPU and memory.
        for (g, _) in &placed.split {
            assert_eq!(case.groups[*g].rule, Rule::Together);
        }
    }
}

#[test]
fn most_affinity_groups_of_the_data_set_fit_no_server() {
    let case = cc0::case(1);
    let proven = case.groups.iter().filter(|g| g.rule == Rule::Together).filter(|g| {
        let total =
            |d: usize| g.members.iter().map(|(i, _)| case.problem.shapes[case.items[*i]].res[d]).sum::<i64>();
        !case
            .problem
            .hosts
            .iter()
            .any(|(h, _)| (0..2).all(|d| h.nodes.iter().map(|n| n[d]).sum::<i64>() >= total(d)))
    });
    assert_eq!(proven.count(), 53, "of 74: by volume alone");
}

#[test]
fn small_cases_are_optimal_or_one_more_and_the_bound_never_lies() {
    let mut random = Random(99);
    let (mut solved, mut good) = (0, 0);
    for _ in 0..60 {
        let problem = cc0::small(&mut random);
        let Some(want) = fewest_hosts(&problem, 60_000) else { continue };
        solved += 1;
        let got = pack(&problem);
        match want {
            Some(want) => {
                assert!(
                    got.bound.at_least <= want && !got.bound.infeasible,
                    "{:?} of {want}: {problem:?}",
                    got.bound
                );
                good += u32::from(got.unplaced.is_empty() && got.hosts() <= want + 1);
            }
            None => good += u32::from(!got.unplaced.is_empty()),
        }
    }
    assert!(solved >= 30, "{solved}");
    assert!(good * 100 >= solved * 98, "{good} of {solved}");
}
