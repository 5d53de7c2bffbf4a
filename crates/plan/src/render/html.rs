//! The page: one self-contained file for screens and paper.

use std::fmt::Write;

use super::grid::{self, Grid};
use super::svg::{self, escape};
use super::{gib, proof, thousands, threads};
use crate::blueprint::{Blueprint, HostRole};
use crate::input::Objective;
use crate::planner::compare::Row;

const STYLE: &str = r#"
:root{color-scheme:light}
body{margin:0 auto;max-width:1160px;padding:28px 20px 60px;font:14px/1.5 system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;color:#1f2933;background:#fff}
h1{font-size:25px;line-height:1.25;margin:0 0 6px}h2{font-size:16px;margin:30px 0 8px;border-bottom:1px solid #e4e7eb;padding-bottom:4px}
p{margin:4px 0}.lead{font-size:15px;color:#3e4c59;max-width:900px}
.tiles{display:grid;grid-template-columns:repeat(6,1fr);gap:10px;margin:18px 0 6px}
.tile{border:1px solid #d9e0e6;border-radius:8px;padding:10px 12px}.tile b{display:block;font-size:23px;line-height:1.2}.tile span{color:#616e7c;font-size:12px}
.good{background:#f0f9f1}.warn{background:#fff4e5;border-color:#f0b429}.bad{background:#fdeaea;border-color:#c0392b}
.box{border-left:4px solid #f0b429;background:#fffaf0;padding:8px 12px;margin:8px 0}.box.bad{border-color:#c0392b;background:#fdf1f0}
table{border-collapse:collapse;width:100%;font-size:12.5px}th{text-align:left;color:#616e7c;font-weight:600;border-bottom:1px solid #cbd2d9}
td,th{padding:4px 8px 4px 0;vertical-align:top}tr+tr td{border-top:1px solid #eef1f4}td.n,th.n,td:first-child{white-space:nowrap}td.n,th.n{text-align:right;padding-left:8px;font-variant-numeric:tabular-nums}
.dot{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:6px}
svg{width:100%;height:auto;display:block;margin-top:10px}
footer{margin-top:30px;color:#7b8794;font-size:11.5px}
@media(max-width:800px){.tiles{grid-template-columns:repeat(2,1fr)}}
@page{size:A4 landscape;margin:11mm}
@media print{body{padding:0;max-width:none;-webkit-print-color-adjust:exact;print-color-adjust:exact}h2{break-after:avoid}tr,.tile,.box{break-inside:avoid}}
"#;

/// The page of a blueprint, with a comparison when there is one.
pub fn page(b: &Blueprint, compared: &[Row]) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>Blueprint</title><style>{STYLE}</style></head><body>"
    );
    head(&mut out, b);
    for u in &b.unplaced {
        let whose = if u.tenant.is_empty() { String::new() } else { format!("{}: ", escape(&u.tenant)) };
        let _ = write!(
            out,
            "<div class=\"box bad\"><b>Not placed.</b> {whose}{} × {}: {}</div>",
            u.count,
            escape(&u.what),
            escape(&u.why)
        );
    }
    for note in &b.notes {
        let _ = write!(out, "<div class=\"box\">{}</div>", escape(note));
    }
    out.push_str("<h2>Servers</h2>");
    out.push_str(&svg::blueprint(b));
    binds(&mut out, b);
    if !compared.is_empty() {
        out.push_str("<h2>Compared</h2>");
        grid(&mut out, &grid::comparison(compared), |_| None);
        for (variant, note) in compared.iter().flat_map(|r| r.notes.iter().map(move |n| (&r.variant, n))) {
            let _ = write!(out, "<p>{}: {}</p>", escape(variant), escape(note));
        }
    }
    let colours = svg::colours(b);
    let colour = |tenant: &str| colours.get(tenant).copied();
    out.push_str("<h2>Tenants</h2>");
    grid(&mut out, &grid::tenants(b), colour);
    out.push_str("<h2>Who causes what</h2>");
    grid(&mut out, &grid::shares(b), colour);
    let _ = write!(
        out,
        "<footer>Areas in a server show each thing's dearest resource. Stranded is what stays free on a server and takes no further {}. The lower bound is certified: it holds for every plan under these rules. Blueprint format {}, seed {}.</footer></body></html>",
        if b.standard_size.is_empty() { "VM".to_owned() } else { escape(&b.standard_size) },
        b.version,
        b.seed
    );
    out
}

fn head(out: &mut String, b: &Blueprint) {
    let t = &b.totals;
    let used = t.used + t.spare;
    let count = |role| b.hosts.iter().filter(|h| h.role == role).count();
    let title = if b.unplaced.is_empty() {
        format!("{used} of {} servers carry {} Nodes of {} tenants", t.hosts, t.nodes, b.tenants.len())
    } else {
        format!("The demand does not fit {} servers", t.hosts)
    };
    let _ = write!(
        out,
        "<h1>{title}</h1><p class=\"lead\">{} to hold VMs, {} as metal Nodes, {} kept empty so that {} can be lost, {} free for other use. {}</p>",
        count(HostRole::Vm),
        count(HostRole::Metal),
        t.spare,
        if b.survives.is_empty() { "nothing" } else { &b.survives },
        t.free,
        escape(&proof(t))
    );
    out.push_str("<div class=\"tiles\">");
    let mut tile = |class: &str, value: String, text: &str| {
        let _ = write!(out, "<div class=\"tile {class}\"><b>{value}</b><span>{text}</span></div>");
    };
    let gap = if t.gap_percent <= 10.0 { "good" } else { "" };
    tile(
        if b.unplaced.is_empty() { gap } else { "bad" },
        used.to_string(),
        &match t.objective {
            Objective::Hosts => format!("servers; at least {} needed", thousands(t.at_least)),
            Objective::Cost => format!("servers; the cheapest plan costs at least {}", thousands(t.at_least)),
        },
    );
    tile("", t.free.to_string(), "servers free");
    tile("", format!("{} %", t.percent.cpu), "CPU of servers in use");
    tile("", format!("{} %", t.percent.memory), "memory of servers in use");
    let stranded = format!("threads stranded, and {}", gib(t.stranded.memory));
    tile("", threads(t.stranded.cpu), &stranded);
    if t.price > 0.0 {
        tile("", thousands(t.price), &format!("a month; {:.1} kW", t.power / 1000.0));
    } else {
        tile("", format!("{} %", t.percent.pods), "Pod slots of servers in use");
    }
    out.push_str("</div>");
}

fn binds(out: &mut String, b: &Blueprint) {
    out.push_str("<h2>What binds</h2><table><tr><th>Class</th><th class=n>CPU</th><th class=n>Memory</th><th class=n>Pods</th><th class=n>GPUs</th><th>In words</th></tr>");
    for x in &b.binding {
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=n>{} %</td><td class=n>{} %</td><td class=n>{} %</td><td class=n>{} %</td><td>{}</td></tr>",
            escape(&x.class),
            x.percent.cpu,
            x.percent.memory,
            x.percent.pods,
            x.percent.gpus,
            escape(&x.words)
        );
    }
    out.push_str("</table>");
}

/// A table; rows that begin as the one before do not repeat it. `colour` marks the first cell.
fn grid(out: &mut String, grid: &Grid, colour: impl Fn(&str) -> Option<&'static str>) {
    let class = |number: bool| if number { " class=n" } else { "" };
    out.push_str("<table><tr>");
    for column in &grid.columns {
        let _ = write!(out, "<th{}>{}</th>", class(column.number), column.title);
    }
    out.push_str("</tr>");
    let mut before = "";
    for row in &grid.rows {
        out.push_str("<tr>");
        for (i, (cell, column)) in row.iter().zip(&grid.columns).enumerate() {
            let shown = if i == 0 && cell == before { String::new() } else { escape(cell) };
            let dot = colour(cell).filter(|_| i == 0 && cell != before);
            let dot =
                dot.map_or(String::new(), |c| format!("<span class=dot style=\"background:{c}\"></span>"));
            let _ = write!(out, "<td{}>{dot}{shown}</td>", class(column.number));
        }
        out.push_str("</tr>");
        before = row.first().map_or("", String::as_str);
    }
    out.push_str("</table>");
}
