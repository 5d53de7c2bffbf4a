//! Which version each part of a Cluster gets next. The control plane goes first, minor by minor; workers follow in their
//! order, so many at a time, when the control plane stands still. Pure.
//!
//! ```text
//! control plane ──► stable ──► workers, in order ──► control plane, next minor ──► ...
//! ```

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::template::Version;

/// The most minors that workers may be behind their control plane.
const SKEW: u64 = 3;

/// What is known before.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Version that the topology asks for.
    pub wanted: String,
    /// Versions of the class, oldest first.
    pub offered: Vec<String>,
    /// The control plane, once it is there.
    pub control_plane: Option<ControlPlane>,
    /// MachineDeployments in their order.
    pub workers: Vec<Workers>,
    /// How many of them are upgraded at a time.
    pub concurrency: usize,
}

/// A control plane, by its contract.
#[derive(Clone, Debug, Default)]
pub struct ControlPlane {
    /// `spec.version`.
    pub version: String,
    /// Versions that it has, of its status.
    pub has: Vec<String>,
}

/// A MachineDeployment.
#[derive(Clone, Debug, Default)]
pub struct Workers {
    /// Its name in the topology.
    pub topology: String,
    /// Name and version of what is there.
    pub now: Option<Now>,
    /// It keeps its version, by an annotation of its own or of one before it.
    pub deferred: bool,
}

/// A MachineDeployment that is there.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// Its name.
    pub name: String,
    /// The version of its template.
    pub version: Option<String>,
    /// Some of its Machines have another version.
    pub upgrading: bool,
}

/// What is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrade {
    /// Version of the control plane.
    pub control_plane: String,
    /// Versions of the MachineDeployments, in their order; `None`: not to be made yet.
    pub workers: Vec<Option<String>>,
    /// Versions that the control plane still has to go through.
    pub plan: Vec<String>,
    /// Versions that the workers still have to go through.
    pub workers_plan: Vec<String>,
    /// How the control plane stands.
    pub state: State,
    /// MachineDeployments whose Machines are being replaced.
    pub upgrading: BTreeSet<String>,
    /// Those that wait.
    pub pending: BTreeSet<String>,
    /// Those that keep their version by an annotation.
    pub deferred: BTreeSet<String>,
    /// Names in the topology of those that are not made yet.
    pub not_made: BTreeSet<String>,
}

/// How the control plane stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It is not there.
    #[default]
    New,
    /// It has no version yet.
    Provisioning,
    /// It does not have its own version yet.
    Upgrading,
    /// It gets its next version now.
    Starting,
    /// It will get a next version, and something goes first.
    Pending,
    /// It will get a next version when the workers have this one.
    WaitsForWorkers,
    /// It has the version that is asked for.
    Stable,
}

impl Upgrade {
    /// Whether anything is on its way to another version.
    #[must_use]
    pub fn is_going_on(&self) -> bool {
        use State::{Pending, Starting, Upgrading, WaitsForWorkers};
        matches!(self.state, Upgrading | Starting | Pending | WaitsForWorkers)
            || !self.upgrading.is_empty()
            || !self.pending.is_empty()
            || !self.deferred.is_empty()
            || !self.not_made.is_empty()
    }
}

/// Decides.
///
/// # Errors
/// A version that cannot be read, or from which no way leads to the one that is asked for.
pub fn decide(facts: &Facts) -> Result<Upgrade, String> {
    let Some(now) = &facts.control_plane else {
        let all = facts.workers.iter().map(|workers| match &workers.now {
            Some(now) => now.version.clone().or_else(|| Some(facts.wanted.clone())),
            None => Some(facts.wanted.clone()),
        });
        return Ok(Upgrade {
            control_plane: facts.wanted.clone(),
            workers: all.collect(),
            ..Upgrade::default()
        });
    };
    let mut upgrade = Upgrade { control_plane: now.version.clone(), ..Upgrade::default() };
    let (wanted, version) = (Version::parse(&facts.wanted)?, Version::parse(&now.version)?);
    if !same(&wanted, &version) {
        upgrade.plan = plan(facts, &version, &wanted)?;
    }
    upgrade.workers_plan = workers_plan(facts, &version, &wanted, &upgrade.plan)?;
    let names = facts.workers.iter().filter_map(|workers| workers.now.as_ref()).filter(|now| now.upgrading);
    upgrade.upgrading = names.map(|now| now.name.clone()).collect();
    upgrade.state = state(now, &version, &wanted, &upgrade);
    if upgrade.state == State::Starting {
        upgrade.control_plane = upgrade.plan.first().cloned().unwrap_or_else(|| now.version.clone());
    }
    for workers in &facts.workers {
        let version = one(workers, facts, &mut upgrade)?;
        upgrade.workers.push(version);
    }
    Ok(upgrade)
}

/// Whether two versions are one: also their build metadata is.
fn same(a: &Version, b: &Version) -> bool {
    a.order_with_build(b) == Some(Ordering::Equal)
}

fn state(now: &ControlPlane, version: &Version, wanted: &Version, upgrade: &Upgrade) -> State {
    if now.has.is_empty() {
        return State::Provisioning;
    }
    let behind = |has: &String| Version::parse(has).is_ok_and(|has| has.order(version) == Ordering::Less);
    if now.has.iter().any(behind) {
        return State::Upgrading;
    }
    if same(version, wanted) {
        return State::Stable;
    }
    if upgrade.workers_plan.first() == Some(&now.version) {
        return State::WaitsForWorkers;
    }
    if upgrade.upgrading.is_empty() { State::Starting } else { State::Pending }
}

/// The version of one MachineDeployment; the next one counts those before it.
fn one(workers: &Workers, facts: &Facts, upgrade: &mut Upgrade) -> Result<Option<String>, String> {
    let Some(now) = &workers.now else {
        // A join may meet a control plane that is just being replaced.
        if upgrade.state != State::Stable {
            upgrade.not_made.insert(workers.topology.clone());
            return Ok(None);
        }
        return Ok(Some(facts.wanted.clone()));
    };
    let Some(version) = &now.version else { return Ok(Some(facts.wanted.clone())) };
    if same(&Version::parse(version)?, &Version::parse(&facts.wanted)?) {
        return Ok(Some(version.clone()));
    }
    let wait = |upgrade: &mut Upgrade| {
        upgrade.pending.insert(now.name.clone());
        Ok(Some(version.clone()))
    };
    if workers.deferred {
        upgrade.deferred.insert(now.name.clone());
        return wait(upgrade);
    }
    let may = matches!(upgrade.state, State::Stable | State::WaitsForWorkers);
    let next = upgrade.workers_plan.first().cloned();
    let Some(next) = next.filter(|next| may && next != version) else { return wait(upgrade) };
    if upgrade.upgrading.len() >= facts.concurrency.max(1) {
        return wait(upgrade);
    }
    upgrade.upgrading.insert(now.name.clone());
    Ok(Some(next))
}

/// The versions that a control plane goes through: of each minor the last that the class has.
fn plan(facts: &Facts, from: &Version, to: &Version) -> Result<Vec<String>, String> {
    if to.order_with_build(from) == Some(Ordering::Less) {
        return Err(format!("a control plane cannot go back from {from} to {to}"));
    }
    let mut steps: Vec<(Version, String)> = Vec::new();
    for text in &facts.offered {
        let version = Version::parse(text)?;
        if version.order(from) != Ordering::Greater || version.order_with_build(to) == Some(Ordering::Greater)
        {
            continue;
        }
        if same(&version, to) {
            break;
        }
        // Within the minor that it has, nothing lies between.
        if version.minor == from.minor || version.minor == to.minor {
            continue;
        }
        match steps.last_mut().filter(|(last, _)| last.minor == version.minor) {
            Some(last) => *last = (version, text.clone()),
            None => steps.push((version, text.clone())),
        }
    }
    steps.push((to.clone(), facts.wanted.clone()));
    let mut at = from.clone();
    for (step, text) in &steps {
        if step.major != at.major || step.minor > at.minor + 1 {
            return Err(format!(
                "no way leads from {at} to {text}: a control plane takes one minor after the other, and kubernetesVersions of the ClusterClass has none between"
            ));
        }
        at = step.clone();
    }
    Ok(steps.into_iter().map(|(_, text)| text).collect())
}

/// The versions that the workers go through: as few as the skew to their control plane allows.
fn workers_plan(
    facts: &Facts,
    has: &Version,
    wanted: &Version,
    plan: &[String],
) -> Result<Vec<String>, String> {
    let mut oldest: Option<Version> = None;
    for text in facts.workers.iter().filter_map(|workers| workers.now.as_ref()?.version.as_ref()) {
        let version = Version::parse(text)?;
        let older = match oldest.as_ref().map(|oldest| version.order_with_build(oldest)) {
            None | Some(Some(Ordering::Less)) => true,
            Some(Some(_)) => false,
            // They differ in their build: one that is not the control plane's is the older.
            Some(None) => !same(&version, has),
        };
        if older {
            oldest = Some(version);
        }
    }
    let Some(oldest) = oldest.filter(|oldest| !same(oldest, wanted)) else { return Ok(Vec::new()) };
    let mut way =
        vec![(has.clone(), facts.control_plane.as_ref().map(|now| now.version.clone()).unwrap_or_default())];
    for text in plan {
        way.push((Version::parse(text)?, text.clone()));
    }
    let mut steps = Vec::new();
    let minors = wanted.minor.saturating_sub(oldest.minor);
    for stop in (1..minors).filter(|minor| minor % SKEW == 0) {
        let minor = oldest.minor + stop;
        // One that the control plane has left behind is reached no more.
        if let Some((_, text)) = way.iter().rfind(|(version, _)| version.minor == minor) {
            steps.push(text.clone());
        }
    }
    if steps.last() != Some(&facts.wanted) {
        steps.push(facts.wanted.clone());
    }
    Ok(steps)
}

#[cfg(test)]
mod tests;
