//! The arithmetic of a rollout: how large each MachineSet should be next. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use scute_api::cluster::{MachineDeployment, RolloutStrategyType};

/// What the deployment wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// How many Machines.
    pub replicas: i32,
    /// How many more there may be.
    pub surge: i32,
    /// How many of `replicas` may be missing.
    pub unavailable: i32,
    /// How Machines are replaced.
    pub strategy: RolloutStrategyType,
    /// No rollout; scaling only.
    pub paused: bool,
}

/// A MachineSet as far as arithmetic goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// `spec.replicas`.
    pub replicas: i32,
    /// Machines that there are, going ones included.
    pub machines: i32,
    /// Machines on their way out.
    pub going: i32,
    /// Machines that are Available.
    pub available: i32,
    /// `replicas` of the deployment when the set was last sized.
    pub desired: Option<i32>,
}

impl Size {
    /// As many as there are or are about to be.
    fn most(self) -> i32 {
        self.replicas.max(self.machines)
    }

    fn usable(self) -> i32 {
        self.available.min(self.replicas)
    }
}

/// A sum that stays at the end of its range instead of wrapping: what is counted is bounded, what is asked for is not.
fn sum(numbers: impl IntoIterator<Item = i32>) -> i32 {
    numbers.into_iter().fold(0, i32::saturating_add)
}

impl Want {
    /// How many Machines there may be in all.
    #[must_use]
    pub fn most(self) -> i32 {
        self.replicas.saturating_add(self.surge)
    }

    /// From a deployment with its defaults. Percentages of surge round up, those of unavailable down; when
    /// both come to nothing, one may be missing, or no rollout could ever move.
    #[must_use]
    pub fn of(deployment: &MachineDeployment) -> Self {
        let spec = &deployment.spec;
        let replicas = spec.replicas.unwrap_or(1);
        let strategy = spec.rollout.as_ref().and_then(|rollout| rollout.strategy.clone()).unwrap_or_default();
        let limits = strategy.rolling_update.unwrap_or_default();
        let surge = resolve(limits.max_surge.as_ref(), 1, replicas, true);
        let unavailable = resolve(limits.max_unavailable.as_ref(), 0, replicas, false);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { replicas, surge, unavailable, strategy: strategy.type_, paused: spec.paused == Some(true) }
    }
}

/// What a number or a percentage of `replicas` comes to.
#[must_use]
pub fn resolve(limit: Option<&IntOrString>, default: i32, replicas: i32, up: bool) -> i32 {
    match limit {
        None => default,
        Some(IntOrString::Int(number)) => (*number).max(0),
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
            let hundredths = percent.clamp(0, 1_000_000) * i64::from(replicas);
            let whole = if up { (hundredths + 99) / 100 } else { hundredths / 100 };
            i32::try_from(whole).unwrap_or(i32::MAX)
        }
    }
}

/// The new sizes: of the set with the current template, and of the others, which are given eldest first.
#[must_use]
pub fn sizes(want: Want, new: Option<Size>, old: &[Size]) -> (Option<i32>, Vec<i32>) {
    let resized = new
        .iter()
        .chain(old)
        .any(|set| set.replicas > 0 && set.desired.is_some_and(|desired| desired != want.replicas));
    if want.paused || (resized && want.strategy == RolloutStrategyType::RollingUpdate) {
        return scaled(want, new, old);
    }
    match (new, want.strategy) {
        (None, _) => (None, old.iter().map(|set| set.replicas).collect()),
        (Some(new), RolloutStrategyType::OnDelete) => on_delete(want, new, old),
        (Some(new), RolloutStrategyType::RollingUpdate) => rolling(want, new, old),
    }
}

/// How large the set of a new template starts.
#[must_use]
pub fn first_size(want: Want, old: &[Size]) -> i32 {
    match want.strategy {
        RolloutStrategyType::OnDelete => {
            want.replicas.saturating_sub(sum(old.iter().map(|set| set.most()))).max(0)
        }
        RolloutStrategyType::RollingUpdate => {
            let room = want.most().saturating_sub(sum(old.iter().map(|set| set.most())));
            room.clamp(0, want.replicas)
        }
    }
}

fn rolling(want: Want, new: Size, old: &[Size]) -> (Option<i32>, Vec<i32>) {
    let total = sum(old.iter().map(|set| set.most()).chain([new.most()]));
    let room = want.most().saturating_sub(total).max(0);
    let new_size = if new.replicas >= want.replicas {
        want.replicas
    } else {
        new.replicas + room.min(want.replicas - new.replicas)
    };
    let mut sizes: Vec<i32> = old.iter().map(|set| set.replicas).collect();
    let at_least = want.replicas - want.unavailable;
    let not_yet = new_size - new.available.min(new_size);
    let mut budget =
        sum(sizes.iter().copied().chain([new_size])).saturating_sub(at_least).saturating_sub(not_yet);
    // Machines that serve nobody go first: they cost no availability.
    for (size, set) in sizes.iter_mut().zip(old) {
        let useless = (set.replicas - set.usable()).min(budget).max(0);
        *size -= useless;
        budget -= useless;
    }
    let available = sum(old.iter().map(|set| set.usable()).chain([new.usable()]));
    let mut spare = available.saturating_sub(at_least).min(budget).max(0);
    for size in &mut sizes {
        let leaving = (*size).min(spare);
        *size -= leaving;
        spare -= leaving;
    }
    (Some(new_size), sizes)
}

/// The user deletes; what is gone is replaced by Machines of the new template.
fn on_delete(want: Want, new: Size, old: &[Size]) -> (Option<i32>, Vec<i32>) {
    let mut sizes: Vec<i32> = old.iter().map(|set| set.replicas.min(set.machines - set.going)).collect();
    let present = sum(old.iter().map(|set| set.machines));
    let mut surplus = sum(sizes.iter().copied().chain([new.replicas])).saturating_sub(want.replicas);
    for size in &mut sizes {
        let leaving = (*size).min(surplus.max(0));
        *size -= leaving;
        surplus -= leaving;
    }
    let new_size =
        if surplus > 0 { new.replicas - surplus } else { new.replicas.max(want.replicas - present) };
    (Some(new_size.max(0)), sizes)
}

/// The deployment was resized in the middle of a rollout, or is paused: every set keeps its share.
fn scaled(want: Want, new: Option<Size>, old: &[Size]) -> (Option<i32>, Vec<i32>) {
    let all: Vec<Size> = new.into_iter().chain(old.iter().copied()).collect();
    let mut sizes: Vec<i32> = all.iter().map(|set| set.replicas).collect();
    let active: Vec<usize> = (0..all.len()).filter(|index| all[*index].replicas > 0).collect();
    match active.as_slice() {
        [] => {
            // The new set, or else the youngest of the others.
            let latest = if new.is_some() { Some(0) } else { all.len().checked_sub(1) };
            if let Some(latest) = latest {
                sizes[latest] = want.replicas;
            }
        }
        [one] => sizes[*one] = want.replicas,
        several => share(want, &all, several, &mut sizes),
    }
    let mut sizes = sizes.into_iter();
    let new_size = new.and_then(|_| sizes.next());
    (new_size, sizes.collect())
}

/// Divides the change by size; what rounding leaves over goes to the largest.
fn share(want: Want, all: &[Size], active: &[usize], sizes: &mut [i32]) {
    let surge =
        if want.strategy == RolloutStrategyType::RollingUpdate && want.replicas > 0 { want.surge } else { 0 };
    let before = sum(active.iter().map(|index| all[*index].replicas));
    let change = want.replicas.saturating_add(surge).saturating_sub(before);
    // The surge may only be used up by growing: a deployment that got smaller has no need of it.
    let change = if change > 0
        && active.iter().all(|index| all[*index].desired.is_none_or(|desired| desired == want.replicas))
    {
        0
    } else {
        change
    };
    let mut order = active.to_vec();
    order.sort_by_key(|index| std::cmp::Reverse(all[*index].replicas));
    let mut left = change;
    for index in &order {
        let part = i64::from(all[*index].replicas) * i64::from(change) / i64::from(before.max(1));
        let part = i32::try_from(part).unwrap_or_default();
        sizes[*index] += part;
        left -= part;
    }
    for index in order {
        let next = sizes[index].saturating_add(left).max(0);
        left -= next - sizes[index];
        sizes[index] = next;
    }
}
