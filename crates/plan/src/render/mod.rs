//! Blueprints as text: tables for terminals, pictures for people, manifests for clusters.

pub mod grid;
pub mod html;
pub mod manifests;
pub mod svg;
pub mod table;
mod treemap;

use crate::blueprint::Totals;
use crate::input::Objective;

/// A number with thousands set apart.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    if value < -0.5 { format!("-{out}") } else { out }
}

/// `1 server`, `2 servers`.
pub(crate) fn many(n: impl Into<i64>, what: &str) -> String {
    match n.into() {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// How good a plan is, with certainty.
pub(crate) fn proof(t: &Totals) -> String {
    let floor = match t.objective {
        Objective::Hosts => format!("No plan needs fewer than {} servers", thousands(t.at_least)),
        Objective::Cost => format!("No plan costs less than {} a month", thousands(t.at_least)),
    };
    if t.impossible {
        "It is proven that the fleet cannot hold all of it.".to_owned()
    } else if t.proven_best() {
        format!("{floor}: this one is proven best.")
    } else {
        let note =
            if t.bound_note.is_empty() { String::new() } else { format!(" (In between: {}.)", t.bound_note) };
        format!("{floor}: this one is at most {} % above the best.{note}", t.gap_percent)
    }
}

/// MiB for people.
pub(crate) fn gib(mib: i64) -> String {
    match mib {
        m if m.abs() >= 10 * 1024 => format!("{} GiB", thousands(m as f64 / 1024.0)),
        m => format!("{:.1} GiB", m as f64 / 1024.0),
    }
}

/// Millicores for people.
pub(crate) fn threads(millis: i64) -> String {
    if millis % 1000 == 0 || millis >= 100_000 {
        format!("{}", (millis + 500) / 1000)
    } else {
        format!("{:.1}", millis as f64 / 1000.0)
    }
}
