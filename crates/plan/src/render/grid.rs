//! The tables of an answer, once for terminals and pages: titles, which columns are numbers, cells as text.

use super::{gib, thousands, threads};
use crate::blueprint::{Blueprint, Material, TenantPlan};
use crate::planner::compare::Row;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its title.
    pub title: &'static str,
    /// Its cells are numbers.
    pub number: bool,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Columns from left to right.
    pub columns: Vec<Column>,
    /// Cells of each row.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// `#` before a title says that its cells are numbers.
    pub fn new(titles: &[&'static str], rows: impl IntoIterator<Item = Vec<String>>) -> Grid {
        let column = |t: &&'static str| match t.strip_prefix('#') {
            Some(title) => Column { title, number: true },
            None => Column { title: t, number: false },
        };
        Grid { columns: titles.iter().map(column).collect(), rows: rows.into_iter().collect() }
    }
}

/// Variants side by side.
pub fn comparison(rows: &[Row]) -> Grid {
    let titles = [
        "Variant",
        "#Servers",
        "#Spare",
        "#At least",
        "#Nodes",
        "#CPU",
        "#Memory",
        "#Stranded CPU",
        "#Stranded memory",
        "#Price",
        "#kW",
        "Fits",
    ];
    let cells = |r: &Row| {
        let t = &r.totals;
        vec![
            r.variant.clone(),
            (t.used + t.spare).to_string(),
            t.spare.to_string(),
            thousands(t.at_least),
            t.nodes.to_string(),
            format!("{} %", t.percent.cpu),
            format!("{} %", t.percent.memory),
            threads(t.stranded.cpu),
            gib(t.stranded.memory),
            thousands(t.price),
            format!("{:.1}", t.power / 1000.0),
            if r.unplaced > 0 { format!("no: {} not placed", r.unplaced) } else { "yes".to_owned() },
        ]
    };
    Grid::new(&titles, rows.iter().map(cells))
}

/// Tenants with their pools.
pub fn tenants(b: &Blueprint) -> Grid {
    let titles = ["Tenant", "Pool", "Nodes", "Binds", "Limits", "Control plane", "Isolation"];
    let pools = |t: &TenantPlan| {
        let control = match t.control_plane.as_str() {
            "none" => "elsewhere".to_owned(),
            mode => format!("{} x {mode}", t.replicas),
        };
        let row = |pool: [String; 4]| {
            [std::slice::from_ref(&t.name), &pool[..], &[control.clone(), t.isolation.clone()]].concat()
        };
        if t.pools.is_empty() {
            return vec![row(["-".to_owned(), String::new(), String::new(), String::new()])];
        }
        let cells = |p: &crate::blueprint::Pool| {
            let material = if p.material == Material::Metal { "metal" } else { "VM" };
            let limits = p.limits_percent.map_or(String::new(), |p| format!("{p} %"));
            row([p.name.clone(), format!("{} x {} {material}", p.replicas, p.size), p.binds.clone(), limits])
        };
        t.pools.iter().map(cells).collect()
    };
    Grid::new(&titles, b.tenants.iter().flat_map(pools))
}

/// Who causes which part of the servers; the last row is nobody's.
pub fn shares(b: &Blueprint) -> Grid {
    let titles = ["Tenant", "#Servers", "#Used", "#Stranded", "#Control plane", "#Reserve", "#Price", "#kW"];
    let servers = |milli: i64| format!("{:.3}", milli as f64 / 1000.0);
    let rows = b.shares.iter().filter(|s| s.millihosts > 0).map(|s| {
        vec![
            if s.tenant.is_empty() { "(free)".to_owned() } else { s.tenant.clone() },
            servers(s.millihosts),
            servers(s.used),
            servers(s.stranded),
            servers(s.control_plane),
            servers(s.reserve),
            thousands(s.price),
            format!("{:.2}", s.power / 1000.0),
        ]
    });
    Grid::new(&titles, rows)
}
