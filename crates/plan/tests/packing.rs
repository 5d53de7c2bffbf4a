//! The packer on the CC0 data set and against the exact solver.

mod cc0;

use cc0::Random;
use scute_plan::pack::groups::{Crowd, Group, Rule, place, violations};
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
        for split in &placed.split {
            assert_eq!(case.groups[split.group].rule, Rule::Together);
            assert_eq!(split.why, Crowd::TooLarge, "C{n}: {split:?}");
        }
    }
}

#[test]
fn groups_that_compete_for_few_large_servers_are_all_kept() {
    for seed in 0..40 {
        let case = cc0::contended(&mut Random(seed));
        let placed = place(&case.problem, &case.instances, &case.items, &case.groups, &[]);
        let lines = violations(&case.problem, &case.instances, &case.items, &case.groups, &placed);
        assert_eq!((lines, &placed.split), (Vec::new(), &Vec::new()), "seed {seed}");
    }
}

#[test]
fn of_more_groups_than_servers_for_them_it_is_proven_that_not_all_can_be_kept() {
    let mut case = cc0::contended(&mut Random(0));
    // Groups of 80 CPUs: five servers have 128, three 96, all others fewer.
    let shape = case.problem.shapes.iter().position(|s| s.res[0] == 16_000).expect("a shape of 16 CPUs");
    let group =
        |g: usize| Group { rule: Rule::Together, members: (g * 5..g * 5 + 5).map(|i| (i, 0)).collect() };
    for (wanted, split) in [(8, 0), (10, 2)] {
        case.items = vec![shape; wanted * 5];
        case.groups = (0..wanted).map(group).collect();
        let placed = place(&case.problem, &case.instances, &case.items, &case.groups, &[]);
        assert_eq!(placed.split.len(), split, "{:?}", placed.split);
        assert!(placed.split.iter().all(|s| s.why == Crowd::TooMany && s.hosts == 2));
        assert!(placed.at.iter().all(Option::is_some), "split groups are placed all the same");
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
