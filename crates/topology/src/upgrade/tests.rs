use super::*;

fn cluster(wanted: &str, control_plane: &str, has: &[&str], workers: &[(&str, &str, bool)]) -> Facts {
    Facts {
        wanted: wanted.into(),
        control_plane: Some(ControlPlane {
            version: control_plane.into(),
            has: has.iter().map(|version| (*version).to_owned()).collect(),
        }),
        workers: workers
            .iter()
            .map(|(name, version, upgrading)| Workers {
                topology: (*name).into(),
                now: Some(Now {
                    name: (*name).into(),
                    version: Some((*version).into()),
                    upgrading: *upgrading,
                }),
                deferred: false,
            })
            .collect(),
        concurrency: 1,
        ..Facts::default()
    }
}

fn versions(upgrade: &Upgrade) -> Vec<&str> {
    upgrade.workers.iter().map(|version| version.as_deref().unwrap_or("-")).collect()
}

#[test]
fn a_new_cluster_has_its_version_at_once() {
    let facts = Facts { wanted: "v1.35.4".into(), workers: vec![Workers::default()], ..Facts::default() };
    let upgrade = decide(&facts).expect("decided");
    assert_eq!((upgrade.control_plane.as_str(), versions(&upgrade)), ("v1.35.4", vec!["v1.35.4"]));
    assert!(!upgrade.is_going_on());
}

#[test]
fn the_control_plane_goes_first_and_workers_follow_one_by_one() {
    let (old, new) = ("v1.34.0", "v1.35.4");
    let step = |facts: Facts| {
        let upgrade = decide(&facts).expect("decided");
        let versions = versions(&upgrade).into_iter().map(str::to_owned).collect::<Vec<_>>();
        (upgrade.state, upgrade.control_plane.clone(), versions)
    };
    let both = |first, second| [("a", first, false), ("b", second, false)];
    let went = |state, control_plane: &str, first: &str, second: &str| {
        (state, control_plane.to_owned(), vec![first.to_owned(), second.to_owned()])
    };
    assert_eq!(step(cluster(new, old, &[old], &both(old, old))), went(State::Starting, new, old, old));
    assert_eq!(step(cluster(new, new, &[old], &both(old, old))), went(State::Upgrading, new, old, old));
    assert_eq!(step(cluster(new, new, &[old, new], &both(old, old))), went(State::Upgrading, new, old, old));
    assert_eq!(step(cluster(new, new, &[new], &both(old, old))), went(State::Stable, new, new, old));
    let busy = [("a", new, true), ("b", old, false)];
    assert_eq!(step(cluster(new, new, &[new], &busy)), went(State::Stable, new, new, old));
    assert_eq!(step(cluster(new, new, &[new], &both(new, old))), went(State::Stable, new, new, new));
    let done = decide(&cluster(new, new, &[new], &both(new, new))).expect("decided");
    assert!(!done.is_going_on() && done.plan.is_empty() && done.workers_plan.is_empty());
}

#[test]
fn a_control_plane_that_was_never_there_keeps_its_version() {
    let upgrade = decide(&cluster("v1.35.4", "v1.34.0", &[], &[])).expect("decided");
    assert_eq!((upgrade.state, upgrade.control_plane.as_str()), (State::Provisioning, "v1.34.0"));
}

#[test]
fn so_many_workers_at_a_time_as_the_user_says() {
    let mut facts = cluster(
        "v1.35.4",
        "v1.35.4",
        &["v1.35.4"],
        &[("a", "v1.34.0", false), ("b", "v1.34.0", false), ("c", "v1.34.0", false)],
    );
    facts.concurrency = 2;
    let upgrade = decide(&facts).expect("decided");
    assert_eq!(versions(&upgrade), ["v1.35.4", "v1.35.4", "v1.34.0"]);
    assert_eq!(upgrade.pending.iter().collect::<Vec<_>>(), ["c"]);
}

#[test]
fn who_is_held_keeps_the_version_and_is_told_apart() {
    let mut facts =
        cluster("v1.35.4", "v1.35.4", &["v1.35.4"], &[("a", "v1.34.0", false), ("b", "v1.34.0", false)]);
    facts.workers[0].deferred = true;
    let upgrade = decide(&facts).expect("decided");
    assert_eq!(versions(&upgrade), ["v1.34.0", "v1.35.4"]);
    assert_eq!(upgrade.deferred.iter().collect::<Vec<_>>(), ["a"]);
    assert!(upgrade.is_going_on());
}

#[test]
fn new_workers_wait_while_the_control_plane_is_upgraded() {
    let mut facts = cluster("v1.35.4", "v1.35.4", &["v1.34.0"], &[]);
    facts.workers = vec![Workers { topology: "new".into(), ..Workers::default() }];
    let upgrade = decide(&facts).expect("decided");
    assert_eq!((versions(&upgrade), upgrade.not_made.len()), (vec!["-"], 1));
}

/// Upstream's rule: workers may be three minors behind, and stop on the way when they would be more.
#[test]
fn a_long_way_is_gone_minor_by_minor_and_workers_catch_up_on_the_way() {
    let offered = ["v1.31.0", "v1.31.5", "v1.32.1", "v1.33.2", "v1.34.0", "v1.34.3", "v1.35.4"];
    let mut facts = cluster("v1.35.4", "v1.31.0", &["v1.31.0"], &[("a", "v1.31.0", false)]);
    facts.offered = offered.iter().map(|version| (*version).to_owned()).collect();
    let mut went = vec![];
    for _ in 0..30 {
        let upgrade = decide(&facts).expect("decided");
        let worker = upgrade.workers[0].clone().expect("there");
        if !upgrade.is_going_on() {
            break;
        }
        went.push(format!("{} {worker}", upgrade.control_plane));
        // What is asked for is done before it is looked at again.
        facts.control_plane =
            Some(ControlPlane { version: upgrade.control_plane.clone(), has: vec![upgrade.control_plane] });
        facts.workers[0].now = Some(Now { name: "a".into(), version: Some(worker), upgrading: false });
    }
    went.dedup();
    assert_eq!(
        went,
        [
            "v1.32.1 v1.31.0",
            "v1.33.2 v1.31.0",
            "v1.34.3 v1.31.0",
            "v1.34.3 v1.34.3",
            "v1.35.4 v1.34.3",
            "v1.35.4 v1.35.4"
        ]
    );
}

#[test]
fn no_way_is_told() {
    let jump = decide(&cluster("v1.35.4", "v1.33.0", &["v1.33.0"], &[])).expect_err("two minors");
    assert!(jump.contains("one minor after the other"), "{jump}");
    assert!(decide(&cluster("v1.33.0", "v1.34.0", &["v1.34.0"], &[])).is_err());
    assert!(decide(&cluster("latest", "v1.34.0", &["v1.34.0"], &[])).is_err());
}

/// Whatever a Cluster is, each step is one that Kubernetes supports, and the steps come to an end.
mod every_way {
    use proptest::prelude::*;

    use super::*;

    fn version(minor: u64) -> String {
        format!("v1.{minor}.1")
    }

    fn minor(text: &str) -> u64 {
        Version::parse(text).expect("a version").minor
    }

    proptest! {
        #[test]
        fn is_gone_in_supported_steps(
            begin in 20_u64..30,
            far in 0_u64..8,
            behind in proptest::collection::vec(0_u64..=3, 0..5),
            concurrency in 1_usize..4,
        ) {
            let mut facts = cluster(&version(begin + far), &version(begin), &[&version(begin)], &[]);
            facts.offered = (begin..=begin + far).map(version).collect();
            facts.concurrency = concurrency;
            facts.workers = behind
                .iter()
                .enumerate()
                .map(|(at, behind)| Workers {
                    topology: at.to_string(),
                    now: Some(Now { name: at.to_string(), version: Some(version(begin - behind)), upgrading: false }),
                    deferred: false,
                })
                .collect();
            for _ in 0..200 {
                let before = facts.control_plane.clone().expect("it").version;
                let upgrade = decide(&facts).expect("a way");
                prop_assert!(minor(&upgrade.control_plane) <= minor(&before) + 1);
                let changed = facts.workers.iter().zip(&upgrade.workers).filter(|(old, new)| {
                    old.now.as_ref().and_then(|now| now.version.as_ref()) != new.as_ref()
                });
                prop_assert!(changed.count() <= concurrency);
                for version in upgrade.workers.iter().flatten() {
                    let skew = minor(&upgrade.control_plane).checked_sub(minor(version));
                    prop_assert!(skew.is_some_and(|skew| skew <= SKEW), "{version} at {}", upgrade.control_plane);
                }
                if !upgrade.is_going_on() {
                    prop_assert_eq!(&upgrade.control_plane, &facts.wanted);
                    prop_assert!(upgrade.workers.iter().flatten().all(|version| *version == facts.wanted));
                    return Ok(());
                }
                facts.control_plane =
                    Some(ControlPlane { version: upgrade.control_plane.clone(), has: vec![upgrade.control_plane] });
                for (workers, version) in facts.workers.iter_mut().zip(upgrade.workers) {
                    workers.now.as_mut().expect("it").version = version;
                }
            }
            prop_assert!(false, "it never ends");
        }
    }
}
