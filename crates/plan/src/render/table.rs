//! A blueprint for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::grid::{self, Grid};
use super::{gib, proof, thousands, threads};
use crate::blueprint::{Blueprint, HostPlan, HostRole, Material, Placement, Purpose};
use crate::planner::compare::Row;
use crate::planner::diff::{Diff, MIGRATION_GBITS};

/// Beyond so many hosts they are shown by pattern, not by name.
const MOST_ROWS: usize = 48;

/// Columns padded to their widest cell, three blanks apart.
pub fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        row.iter().zip(&mut widths).for_each(|(cell, w)| *w = (*w).max(cell.chars().count()));
    }
    let head: Vec<String> = header.iter().map(|h| (*h).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}   ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn grid(grid: &Grid) -> String {
    let titles: Vec<String> = grid.columns.iter().map(|c| c.title.to_uppercase()).collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    columns(&titles, &grid.rows)
}

/// The whole answer.
pub fn blueprint(b: &Blueprint) -> String {
    let mut out = summary(b);
    for line in b.unplaced.iter().map(|u| format!("{}{} x {}: {}", prefix(&u.tenant), u.count, u.what, u.why))
    {
        let _ = writeln!(out, "NOT PLACED  {line}");
    }
    for note in &b.notes {
        let _ = writeln!(out, "NOTE  {note}");
    }
    section(&mut out, "WHAT BINDS");
    for binding in &b.binding {
        let _ = writeln!(out, "{}: {}", binding.class, binding.words);
    }
    section(&mut out, "SERVERS");
    out.push_str(&hosts(b));
    section(&mut out, "TENANTS");
    out.push_str(&grid(&grid::tenants(b)));
    section(&mut out, "SHARES");
    out.push_str(&grid(&grid::shares(b)));
    out
}

fn prefix(tenant: &str) -> String {
    if tenant.is_empty() { String::new() } else { format!("{tenant}: ") }
}

fn section(out: &mut String, title: &str) {
    let _ = write!(out, "\n{title}\n");
}

/// The first lines: what to do with the servers, and how good that is.
pub fn summary(b: &Blueprint) -> String {
    let t = &b.totals;
    let count = |role| b.hosts.iter().filter(|h| h.role == role).count();
    let mut out = format!(
        "{} of {}: VM hosts {}, metal Nodes {}, spares {}; free for other use {}.\n",
        t.used + t.spare,
        super::many(t.hosts, "server"),
        count(HostRole::Vm),
        count(HostRole::Metal),
        t.spare,
        t.free
    );
    let _ = writeln!(out, "{}", proof(t));
    let _ = writeln!(
        out,
        "{} tenant Nodes; survives {}. In use: CPU {} %, memory {} %, Pod slots {} %{}.",
        nodes(b),
        if b.survives.is_empty() { "no loss" } else { &b.survives },
        t.percent.cpu,
        t.percent.memory,
        t.percent.pods,
        if t.percent.gpus > 0 { format!(", GPUs {} %", t.percent.gpus) } else { String::new() },
    );
    if !b.standard_size.is_empty() {
        let _ = writeln!(
            out,
            "Stranded (free, but no room for another {}): {} threads, {}.",
            b.standard_size,
            threads(t.stranded.cpu),
            gib(t.stranded.memory)
        );
    }
    if t.price > 0.0 || t.power > 0.0 {
        let _ = writeln!(out, "Price {} a month, power {:.1} kW.", thousands(t.price), t.power / 1000.0);
    }
    out
}

/// How many Nodes of tenants there are, and of how many when some found no place.
fn nodes(b: &Blueprint) -> String {
    let all = b.hosts.iter().flat_map(|h| &h.placements);
    let placed = all.filter(|p| p.purpose == Purpose::Worker).count() as u32;
    if placed < b.totals.nodes { format!("{placed} of {}", b.totals.nodes) } else { placed.to_string() }
}

/// `3 x shop 8/32, 2 cp`.
pub fn content(placements: &[Placement]) -> String {
    let mut groups: BTreeMap<(Purpose, Material, &str, &str), u32> = BTreeMap::new();
    for p in placements {
        *groups.entry((p.purpose, p.material, &p.tenant, &p.size)).or_default() += 1;
    }
    let mut parts = Vec::new();
    let (mut hosted, mut rolling) = (0, 0);
    for ((purpose, material, tenant, size), n) in groups {
        match purpose {
            Purpose::Worker => parts.push(format!("{n} x {tenant} {size}")),
            Purpose::ControlPlane => hosted += n,
            Purpose::Datastore => parts.push(format!("{n} etcd")),
            Purpose::Management => parts.push("management".to_owned()),
            Purpose::Surge if material == Material::Pod => rolling += n,
            Purpose::Surge => parts.push(format!("room for {n} x {size}")),
        }
    }
    if hosted > 0 {
        parts.push(super::many(hosted, "control-plane replica"));
    }
    if rolling > 0 {
        parts.push(format!("room for {}", super::many(rolling, "control-plane replica")));
    }
    parts.join(", ")
}

fn role(host: &HostPlan) -> &'static str {
    match host.role {
        HostRole::Vm => "vm host",
        HostRole::Metal => "metal",
        HostRole::Spare => "spare",
        HostRole::Free => "free",
    }
}

fn hosts(b: &Blueprint) -> String {
    let used: Vec<&HostPlan> = b.hosts.iter().filter(|h| h.role != HostRole::Free).collect();
    if used.len() > MOST_ROWS {
        return patterns(&used);
    }
    let gpus = used.iter().any(|h| h.hardware.gpus > 0);
    let mut titles = vec!["NAME", "RACK", "CLASS", "ROLE", "CPU", "MEMORY", "PODS", "CONTENT"];
    let mut rows: Vec<Vec<String>> = used
        .iter()
        .map(|h| {
            let p = h.used.percent_of(h.capacity);
            vec![
                h.name.clone(),
                h.rack.clone(),
                h.class.clone(),
                role(h).to_owned(),
                format!("{} %", p.cpu),
                format!("{} %", p.memory),
                format!("{}/{}", h.used.pods, h.capacity.pods),
                content(&h.placements),
            ]
        })
        .collect();
    if gpus {
        titles.insert(7, "GPUS");
        let cell = |h: &HostPlan| match h.capacity.gpus {
            0 => String::new(),
            all => format!("{}/{all}", h.used.gpus),
        };
        rows.iter_mut().zip(&used).for_each(|(row, h)| row.insert(7, cell(h)));
    }
    columns(&titles, &rows)
}

/// Variants side by side, and what each leaves as it is.
pub fn comparison(rows: &[Row]) -> String {
    let notes = rows.iter().flat_map(|r| r.notes.iter().map(move |n| format!("{}: {n}\n", r.variant)));
    notes.fold(grid(&grid::comparison(rows)), |out, note| out + &note)
}

/// Changes between two blueprints.
pub fn diff(d: &Diff) -> String {
    let mut rows = Vec::new();
    for (what, changes) in
        [("move", &d.moves), ("resize", &d.resized), ("add", &d.added), ("remove", &d.removed)]
    {
        for c in changes {
            let size = if c.was == c.becomes || c.becomes.is_empty() {
                c.was.clone()
            } else {
                format!("{} > {}", c.was, c.becomes)
            };
            let size = if c.was.is_empty() { c.becomes.clone() } else { size };
            rows.push(vec![what.to_owned(), c.name.clone(), size, c.from.clone(), c.to.clone()]);
        }
    }
    let mut out = if rows.is_empty() {
        "Nothing moves.\n".to_owned()
    } else {
        columns(&["CHANGE", "NAME", "SIZE", "FROM", "TO"], &rows)
    };
    for (host, was, is) in &d.roles {
        let _ = writeln!(out, "server {host}: {was:?} becomes {is:?}");
    }
    let _ = writeln!(
        out,
        "{} moves copy {} in {:.0} s or more at {} Gbit/s a server, in {} or more; {} added, {} removed, {} resized, {} servers installed anew.",
        d.moves.len(),
        gib(d.copied),
        d.seconds,
        MIGRATION_GBITS,
        super::many(d.rounds, "round"),
        d.added.len(),
        d.removed.len(),
        d.resized.len(),
        d.reinstalled
    );
    let _ = writeln!(out, "Servers {:+}, price {:+.0} a month.", d.hosts, d.price);
    out
}

/// Hosts that hold the same, counted.
fn patterns(hosts: &[&HostPlan]) -> String {
    let mut groups: BTreeMap<(&str, &str, String), Vec<&HostPlan>> = BTreeMap::new();
    for host in hosts {
        let mut sizes: BTreeMap<(Purpose, &str), u32> = BTreeMap::new();
        host.placements.iter().for_each(|p| *sizes.entry((p.purpose, &p.size)).or_default() += 1);
        let text: Vec<String> = sizes
            .iter()
            .map(|((purpose, size), n)| match purpose {
                Purpose::Worker | Purpose::Surge => format!("{n} x {size}"),
                Purpose::ControlPlane => format!("{n} cp"),
                Purpose::Datastore => format!("{n} etcd"),
                Purpose::Management => "management".to_owned(),
            })
            .collect();
        groups.entry((&host.class, role(host), text.join(", "))).or_default().push(host);
    }
    let mut rows: Vec<(usize, Vec<String>)> = groups
        .into_iter()
        .map(|((class, role, text), hosts)| {
            let p = hosts[0].used.percent_of(hosts[0].capacity);
            let first = hosts[0].name.clone();
            let cells = vec![
                hosts.len().to_string(),
                class.to_owned(),
                role.to_owned(),
                format!("{} %", p.cpu),
                format!("{} %", p.memory),
                format!("{}/{}", hosts[0].used.pods, hosts[0].capacity.pods),
                text,
                first,
            ];
            (hosts.len(), cells)
        })
        .collect();
    rows.sort_by_key(|r| std::cmp::Reverse(r.0));
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, r)| r).collect();
    columns(&["COUNT", "CLASS", "ROLE", "CPU", "MEMORY", "PODS", "CONTENT", "FIRST"], &rows)
}
