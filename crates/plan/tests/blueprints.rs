//! Random fleets and demands: every blueprint passes the linter, which recounts everything.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use scute_plan::blueprint::{Blueprint, HostRole, Purpose};
use scute_plan::input::{Demand, Fleet, parse_demand, parse_fleet};
use scute_plan::lint::blueprint::check;
use scute_plan::planner::diff::diff;
use scute_plan::planner::{plan, replan::replan};

fn fleet() -> impl Strategy<Value = String> {
    let kind = (2..9_i64, 1..5_usize, 1..4_usize, 0..2_i64, 1..3_i64);
    prop::collection::vec(kind, 1..4).prop_map(|kinds| {
        let rows = kinds.iter().enumerate().map(|(i, (count, size, per, gpus, numa))| {
            let (threads, gib) = ([16, 32, 64, 96, 128][*size], [64, 128, 256][per - 1] * (*size as i64 + 1));
            format!("- {{name: k{i}, count: {count}, cores: {threads}, memory: {gib}Gi, numaNodes: {numa}, gpus: {}, racks: [a, b, c], price: {}}}\n", gpus * 4, 100 + 40 * gpus + threads)
        });
        format!("hosts:\n{}", rows.collect::<String>())
    })
}

fn demand() -> impl Strategy<Value = String> {
    let tenant = (1..60_u32, 1..9_i64, 1..17_i64, 0..4_u8, 0..4_u8, 0..3_u8, 0..4_u32);
    let policy = (1..5_i64, 0..4_u32, any::<bool>(), any::<bool>(), 0..2_u32, any::<bool>());
    (policy, prop::collection::vec(tenant, 1..5)).prop_map(|((over, lose, numa, shapes, surge, cost), tenants)| {
        let (hosts, rack) = [(0, false), (1, false), (2, false), (0, true)][lose as usize];
        let objective = if cost { "cost" } else { "hosts" };
        let shapes = if shapes { "[4/16, 8/32]" } else { "[]" };
        let mut text = format!("policy: {{cpuOvercommit: {over}, survive: {{hosts: {hosts}, rack: {rack}}}, objective: {objective}, numa: {numa}, shapes: {shapes}, surge: {surge}, managementReplicas: 1}}\ntenants:\n");
        for (i, (count, cpu, gib, isolation, on, control, gpus)) in tenants.iter().enumerate() {
            let on = ["any", "vm", "metal", "any"][usize::from(*on)];
            let isolation = match isolation {
                0 => "isolation: dedicated".to_owned(),
                1 if i > 0 => "neverWith: [t0]".to_owned(),
                _ => "isolation: shared".to_owned(),
            };
            let control = ["hosted", "vm", "none"][usize::from(*control)];
            let train = match gpus {
                0 | 3 => String::new(),
                n => format!(", {{name: train, count: {}, cpu: 1, memory: 4Gi, gpus: {n}}}", 1 + count % 5),
            };
            text += &format!("- name: t{i}\n  nodesOn: {on}\n  {isolation}\n  controlPlane: {control}\n  pods: [{{name: p, count: {count}, cpu: {}m, memory: {gib}Gi}}{train}]\n", cpu * 250);
        }
        text
    })
}

fn read(fleet: &str, demand: &str) -> (Fleet, Demand) {
    (parse_fleet("fleet.yaml", fleet).unwrap(), parse_demand("demand.yaml", demand).unwrap())
}

/// A plan, which the linter finds nothing wrong with.
fn planned(fleet: &str, demand: &str) -> (Fleet, Demand, Blueprint) {
    let (fleet, demand) = read(fleet, demand);
    let blueprint = plan(&fleet, &demand, 0);
    assert_eq!(check(&blueprint, &demand), []);
    (fleet, demand, blueprint)
}

fn sound(blueprint: &Blueprint, demand: &Demand) -> Result<(), TestCaseError> {
    let findings = check(blueprint, demand);
    prop_assert!(findings.is_empty(), "{findings:#?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_blueprint_passes_the_linter(fleet in fleet(), demand in demand(), seed in 0..3_u64) {
        let (fleet, demand) = read(&fleet, &demand);
        let blueprint = plan(&fleet, &demand, seed);
        sound(&blueprint, &demand)?;
        let text = serde_json::to_string(&blueprint).unwrap();
        let back: Blueprint = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&back, &blueprint, "a blueprint reads back as it was written");
    }

    #[test]
    fn a_replan_of_the_same_demand_moves_nothing_without_gain(fleet in fleet(), demand in demand()) {
        let (fleet, demand) = read(&fleet, &demand);
        let old = plan(&fleet, &demand, 0);
        let new = replan(&fleet, &demand, &old, 0);
        sound(&new, &demand)?;
        prop_assert!(diff(&old, &new).moves.is_empty(), "{:?}", diff(&old, &new).moves);
    }
}

#[test]
fn a_loss_that_only_a_good_order_survives_is_survived() {
    // Metal must leave the server with GPUs to the VM that needs them, and the VMs beside that one must fill it up.
    let fleet = "hosts:\n- {name: k0, count: 2, cores: 128, memory: 640Gi, gpus: 4, racks: [a, b, c], price: 268}\n- {name: k1, count: 6, cores: 128, memory: 640Gi, racks: [a, b, c], price: 228}\n";
    let demand = "policy: {cpuOvercommit: 1, survive: {rack: true}, objective: cost, shapes: [], managementReplicas: 1}\ntenants:\n- name: t0\n  controlPlane: vm\n  pods: [{name: p, count: 4, cpu: 1250m, memory: 10Gi}]\n- name: t1\n  neverWith: [t0]\n  controlPlane: hosted\n  pods: [{name: p, count: 21, cpu: 2000m, memory: 11Gi}, {name: train, count: 2, cpu: 1, memory: 4Gi, gpus: 2}]\n- name: t2\n  nodesOn: metal\n  controlPlane: none\n  pods: [{name: p, count: 26, cpu: 1500m, memory: 4Gi}]\n";
    let (_, demand, mut plan) = planned(fleet, demand);
    assert!(plan.survives.starts_with("any one rack"));
    let spare = plan.hosts.iter().position(|h| h.role == HostRole::Spare && h.capacity.gpus > 0).unwrap();
    plan.hosts[spare].role = HostRole::Free;
    assert!(check(&plan, &demand).iter().any(|f| f.rule == "survival"), "but not without the GPUs");
}

#[test]
fn a_dedicated_tenant_may_start_again_beside_its_own_room_for_rolling() {
    let fleet = "hosts:\n- {name: h, count: 2, cores: 64, memory: 256Gi}\n";
    let demand = "policy: {survive: {hosts: 1}, surge: 1, managementReplicas: 0, cpuOvercommit: 1}\ntenants:\n- {name: t, isolation: dedicated, controlPlane: none, nodes: [{size: 16/32, count: 2, on: vm}]}\n";
    let (_, demand, mut plan) = planned(fleet, demand);
    // Its room for rolling on the other server, which is the only one left when the first is lost.
    let [first, second] = &mut plan.hosts[..] else { panic!("two servers") };
    let rolling = first.placements.iter().position(|p| p.purpose == Purpose::Surge).unwrap();
    let rolling = first.placements.remove(rolling);
    first.used = first.used.minus(rolling.takes);
    second.used = rolling.takes;
    second.placements = vec![rolling];
    second.role = HostRole::Vm;
    let survival = check(&plan, &demand).into_iter().filter(|f| f.rule == "survival");
    assert_eq!(survival.collect::<Vec<_>>(), []);
}

/// Servers of one class that differ in GPUs: two without, then some with.
const MIXED: &str = "hosts:\n- {name: plain, class: big, count: 2, cores: 128, memory: 640Gi}\n- {name: gpu, class: big, count: 3, cores: 128, memory: 640Gi, gpus: 4}\n";

#[test]
fn a_metal_node_with_gpus_lies_on_a_server_that_has_them_whatever_its_class() {
    let demand = "policy: {managementReplicas: 0, survive: {hosts: 1}}\ntenants:\n- {name: t, controlPlane: none, nodes: [{size: 128/640+4gpu, on: metal, count: 2}]}\n";
    let (_, demand, plan) = planned(MIXED, demand);
    let in_use = plan.hosts.iter().filter(|h| h.role != HostRole::Free);
    assert_eq!(in_use.map(|h| h.name.as_str()).collect::<Vec<_>>(), ["gpu-01", "gpu-02", "gpu-03"]);

    let mut small = plan;
    let node = small.hosts[0].placements.pop().unwrap();
    small.hosts[3].placements.push(node);
    assert!(
        check(&small, &demand)
            .iter()
            .any(|f| f.message.ends_with("at least 128/640+4gpu, plain-01 is smaller"))
    );
}

#[test]
fn a_metal_node_without_gpus_survives_on_a_server_without_any() {
    let demand = "policy: {managementReplicas: 0, survive: {hosts: 1}}\ntenants:\n- {name: t, controlPlane: none, nodes: [{size: 128/640, on: metal, count: 4}]}\n";
    let (fleet, demand, old) = planned(MIXED, demand);
    assert_eq!((old.totals.used, old.totals.spare), (4, 1));
    assert_eq!(check(&replan(&fleet, &demand, &old, 0), &demand), []);
}

#[test]
fn pods_with_gpus_find_the_servers_that_have_them_whatever_their_class() {
    let demand = "policy: {managementReplicas: 0}\ntenants:\n- {name: t, controlPlane: none, nodesOn: vm, pods: [{name: p, count: 12, cpu: 1, memory: 4Gi, gpus: 1}]}\n";
    let (_, _, plan) = planned(MIXED, demand);
    assert_eq!((plan.unplaced.as_slice(), plan.totals.used), (&[][..], 3));
}

#[test]
fn the_linter_is_no_rubber_stamp() {
    let fleet = "hosts:\n- {name: h, count: 4, cores: 32, memory: 128Gi}\n";
    let demand = "policy: {shapes: [8/32], survive: {hosts: 1}}\ntenants:\n- {name: a, isolation: dedicated, nodes: [{size: 8/32, count: 3}]}\n- {name: b, nodes: [{size: 8/32, count: 2}]}\n";
    let (fleet, demand) = read(fleet, demand);
    let good = plan(&fleet, &demand, 0);
    let rules = |b: &Blueprint| -> Vec<&'static str> { check(b, &demand).iter().map(|f| f.rule).collect() };
    assert!(good.unplaced.is_empty() || !good.notes.is_empty() || rules(&good).is_empty());

    let mut overfull = good.clone();
    let host = overfull.hosts.iter_mut().find(|h| !h.placements.is_empty()).unwrap();
    host.placements[0].takes.memory += 1 << 20;
    host.used.memory += 1 << 20;
    assert!(rules(&overfull).contains(&"capacity"));

    let mut lost = good.clone();
    lost.hosts.iter_mut().find(|h| !h.placements.is_empty()).unwrap().placements.pop();
    assert!(!rules(&lost).is_empty());

    let mut moved = good.clone();
    let from =
        moved.hosts.iter().position(|h| h.placements.iter().any(|p| p.tenant == "b" && p.size == "8/32"));
    let to =
        moved.hosts.iter().position(|h| h.placements.iter().any(|p| p.tenant == "a" && p.size == "8/32"));
    if let (Some(from), Some(to)) = (from, to) {
        let at =
            moved.hosts[from].placements.iter().position(|p| p.tenant == "b" && p.size == "8/32").unwrap();
        let p = moved.hosts[from].placements.remove(at);
        moved.hosts[to].placements.push(p);
        assert!(
            check(&moved, &demand).iter().any(|f| f.message.contains("share")),
            "a dedicated tenant's host is shared"
        );
    }

    let mut doubled = good;
    let copy = doubled.hosts.iter().find(|h| !h.placements.is_empty()).unwrap().placements[0].clone();
    doubled.hosts[3].placements.push(copy);
    assert!(rules(&doubled).contains(&"duplicate"));
}

/// Blueprints of random fleets that must survive `survive`, and hold everything without a note that they do not.
fn surviving(survive: &str, cases: usize) -> Vec<(Blueprint, Demand)> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut all = Vec::new();
    for _ in 0..cases {
        let fleet = fleet().new_tree(&mut runner).unwrap().current();
        let demand = demand().new_tree(&mut runner).unwrap().current();
        let (before, rest) = demand.split_once("survive: {").unwrap();
        let rest = rest.split_once('}').unwrap().1;
        // Twice the servers: random demands seldom leave a rack's worth of room.
        let fleet = fleet.replace("count: ", "count: 1");
        let (fleet, demand) = read(&fleet, &format!("{before}survive: {survive}{rest}"));
        let blueprint = plan(&fleet, &demand, 0);
        assert_eq!(check(&blueprint, &demand), [], "{fleet:#?} {demand:#?}");
        if blueprint.unplaced.is_empty() && blueprint.survives.starts_with("any ") {
            all.push((blueprint, demand));
        }
    }
    all
}

#[test]
fn every_rack_and_every_host_may_go() {
    for survive in ["{rack: true}", "{hosts: 1}", "{hosts: 2}", "{hosts: 1, rack: true}"] {
        let survivors = surviving(survive, 30);
        assert!(survivors.len() >= 15, "{survive}: {} of 30 say something", survivors.len());
        let mut caught = 0;
        for (mut blueprint, demand) in survivors {
            // Without its spares a plan that kept some must fail: the linter really takes racks and hosts away.
            let spares = blueprint.hosts.iter_mut().filter(|h| h.role == HostRole::Spare);
            let spares = spares.map(|h| h.role = HostRole::Free).count();
            let found = check(&blueprint, &demand).iter().any(|f| f.rule == "survival");
            caught += usize::from(spares > 0 && found);
        }
        assert!(caught >= 8, "{survive}: {caught} plans are caught without their spares");
    }
}

#[test]
fn a_quorum_in_one_rack_is_no_quorum() {
    let fleet = "hosts:\n- {name: h, count: 6, cores: 32, memory: 128Gi, racks: [a, b, c]}\n";
    let demand = "policy: {survive: {rack: true}}\ntenants:\n- {name: a, nodes: [{size: 8/32, count: 3}]}\n";
    let (fleet, demand) = read(fleet, demand);
    let good = plan(&fleet, &demand, 0);
    assert_eq!(check(&good, &demand), []);
    assert_eq!(good.survives, "any one rack");
    let mut huddled = good.clone();
    huddled
        .hosts
        .iter_mut()
        .for_each(|h| h.rack = if h.rack == "c" { "b".to_owned() } else { h.rack.clone() });
    let found = check(&huddled, &demand);
    assert!(found.iter().any(|f| f.message.contains("datastore-1 loses 2 of its 3 members")), "{found:#?}");

    let two = "hosts:\n- {name: h, count: 6, cores: 32, memory: 128Gi, racks: [a, b]}\n";
    let honest = plan(&read(two, "tenants: [{name: x, nodes: [{size: 2/4}]}]\n").0, &demand, 0);
    assert_eq!(check(&honest, &demand), []);
    assert!(honest.notes.iter().any(|n| n.contains("keeps no quorum")), "{:#?}", honest.notes);
    assert!(honest.survives.contains("but for a quorum"), "{}", honest.survives);
}

#[test]
fn datastores_have_members_for_the_losses_they_must_outlive() {
    let fleet = "hosts:\n- {name: h, count: 12, cores: 32, memory: 128Gi}\n";
    let demand = "policy: {survive: {hosts: 2}, managementReplicas: 5}\ntenants:\n- {name: a, nodes: [{size: 8/32, count: 3}]}\n";
    let (fleet, demand) = read(fleet, demand);
    let plan = plan(&fleet, &demand, 0);
    let members = plan.hosts.iter().flat_map(|h| &h.placements).filter(|p| p.purpose == Purpose::Datastore);
    assert_eq!(members.count(), 5);
    assert_eq!((plan.survives.as_str(), check(&plan, &demand)), ("any 2 hosts", vec![]));
}

#[test]
fn many_tenants_with_many_sizes_to_choose_from_are_planned() {
    let fleet = "hosts:\n- {name: h, count: 200, cores: 64, memory: 512Gi, racks: [a, b, c]}\n";
    let tenant =
        |i: u32| format!("- {{name: t{i}, pods: [{{count: {}, cpu: 500m, memory: 1Gi}}]}}\n", 20 + i);
    let demand =
        format!("policy: {{survive: {{hosts: 1}}}}\ntenants:\n{}", (0..80).map(tenant).collect::<String>());
    let (fleet, demand) = read(fleet, &demand);
    let plan = plan(&fleet, &demand, 0);
    assert!(plan.unplaced.is_empty() && plan.totals.gap_percent <= 5.0, "{:?}", plan.totals);
    assert_eq!(check(&plan, &demand), []);
}
