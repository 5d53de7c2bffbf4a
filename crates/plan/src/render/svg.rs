//! The picture: servers as boxes by rack, what lies on them inside, a colour for each tenant, what is stranded hatched.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::treemap::{Rect, squarify};
use super::{gib, threads};
use crate::blueprint::{Amount, Blueprint, HostPlan, HostRole, Material, Placement, Purpose};

/// Width of the picture.
const WIDTH: f64 = 1120.0;
/// Servers side by side.
const ACROSS: usize = 5;
const GAP: f64 = 12.0;
const BOX_HEIGHT: f64 = 118.0;
const HEAD: f64 = 30.0;
const FOOT: f64 = 22.0;
/// Beyond so many servers in use, those that hold the same are drawn once.
const MOST_BOXES: usize = 90;
/// Colours that stay apart in print and for most eyes.
const COLOURS: [&str; 12] = [
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#9c755f", "#ff9da7",
    "#86bcb6", "#d37295", "#8cd17d",
];
/// What is the site's own.
const SITE: &str = "#5b6472";

/// A box to draw: a server, or several that are alike.
struct Drawn<'a> {
    host: &'a HostPlan,
    count: usize,
}

/// The colour of each tenant.
pub fn colours(b: &Blueprint) -> BTreeMap<String, &'static str> {
    let named = b.tenants.iter().enumerate();
    named.map(|(i, t)| (t.name.clone(), COLOURS[i % COLOURS.len()])).collect()
}

/// The picture as a document of its own.
pub fn blueprint(b: &Blueprint) -> String {
    let colours = colours(b);
    let mut body = String::new();
    let mut y = legend(&mut body, b, &colours);
    let used = b.hosts.iter().filter(|h| h.role != HostRole::Free).count();
    let groups = if used > MOST_BOXES { vec![(String::new(), alike(b))] } else { by_rack(b) };
    for (rack, drawn) in groups {
        let _ = write!(body, r#"<text class="rack" x="0" y="{}">{}</text>"#, y + 14.0, escape(&rack));
        y += 22.0;
        for row in drawn.chunks(ACROSS) {
            for (i, one) in row.iter().enumerate() {
                let width = (WIDTH - GAP * (ACROSS - 1) as f64) / ACROSS as f64;
                let at = Rect { x: i as f64 * (width + GAP), y, w: width, h: BOX_HEIGHT };
                server(&mut body, one, at, &colours);
            }
            y += BOX_HEIGHT + GAP;
        }
        y += 6.0;
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0}" font-family="system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif" role="img"><title>Blueprint</title>{DEFS}{body}</svg>"#
    )
}

const DEFS: &str = r##"<defs><pattern id="hatch" width="6" height="6" patternTransform="rotate(45)" patternUnits="userSpaceOnUse"><rect width="6" height="6" fill="#fff"/><line x1="0" y1="0" x2="0" y2="6" stroke="#c0392b" stroke-width="1.6" opacity=".55"/></pattern></defs><style>text{font-size:10px;fill:#1f2933}.rack{font-size:13px;font-weight:600}.name{font-weight:600;font-size:11px}.dim{fill:#6b7785;font-size:9px}.in{fill:#fff;font-size:9px}.key{font-size:11px}</style>"##;

fn legend(out: &mut String, b: &Blueprint, colours: &BTreeMap<String, &str>) -> f64 {
    let (mut x, mut y) = (0.0, 0.0);
    let mut entry = |fill: &str, text: &str| {
        let width = 26.0 + text.chars().count() as f64 * 6.6;
        if x + width > WIDTH {
            (x, y) = (0.0, y + 20.0);
        }
        let _ = write!(
            out,
            r##"<rect x="{x}" y="{y}" width="13" height="13" rx="2" fill="{fill}" stroke="#aab4be" stroke-width=".5"/><text class="key" x="{}" y="{}">{}</text>"##,
            x + 18.0,
            y + 11.0,
            escape(text)
        );
        x += width;
    };
    const MOST: usize = 24;
    for tenant in b.tenants.iter().take(MOST) {
        entry(colours.get(&tenant.name).copied().unwrap_or(SITE), &tenant.name);
    }
    if b.tenants.len() > MOST {
        entry("#fff", &format!("and {} more tenants", b.tenants.len() - MOST));
    }
    entry(SITE, "control planes, etcd, management");
    entry("url(#hatch)", "stranded");
    entry("#fff", "free");
    y + 30.0
}

fn by_rack(b: &Blueprint) -> Vec<(String, Vec<Drawn<'_>>)> {
    let mut racks: Vec<&str> = b.hosts.iter().map(|h| h.rack.as_str()).collect();
    racks.sort_by_key(|r| crate::input::natural(r));
    racks.dedup();
    racks
        .into_iter()
        .map(|name| {
            let here = || b.hosts.iter().filter(|h| h.rack == name);
            let used = here().filter(|h| h.role != HostRole::Free);
            let drawn: Vec<Drawn<'_>> = used.map(|host| Drawn { host, count: 1 }).collect();
            let free = match here().count() - drawn.len() {
                0 => String::new(),
                1 => " · 1 server free".to_owned(),
                n => format!(" · {n} servers free"),
            };
            (format!("Rack {name}{free}"), drawn)
        })
        .collect()
}

/// Servers that hold the same, drawn once.
fn alike(b: &Blueprint) -> Vec<Drawn<'_>> {
    let mut groups: BTreeMap<String, Drawn<'_>> = BTreeMap::new();
    for host in b.hosts.iter().filter(|h| h.role != HostRole::Free) {
        let mut key: Vec<String> =
            host.placements.iter().map(|p| format!("{:?}{}", p.purpose, p.size)).collect();
        key.sort();
        let key = format!("{}{:?}{}", host.class, host.role, key.join(","));
        groups.entry(key).or_insert(Drawn { host, count: 0 }).count += 1;
    }
    let mut drawn: Vec<Drawn<'_>> = groups.into_values().collect();
    drawn.sort_by_key(|d| std::cmp::Reverse(d.count));
    drawn.truncate(MOST_BOXES);
    drawn
}

fn share(amount: Amount, of: Amount) -> f64 {
    let parts =
        [(amount.cpu, of.cpu), (amount.memory, of.memory), (amount.pods, of.pods), (amount.gpus, of.gpus)];
    parts.iter().filter(|(_, o)| *o > 0).map(|(a, o)| (*a as f64 / *o as f64).max(0.0)).fold(0.0, f64::max)
}

fn server(out: &mut String, drawn: &Drawn<'_>, at: Rect, colours: &BTreeMap<String, &str>) {
    let host = drawn.host;
    let (border, note) = match host.role {
        HostRole::Vm => ("#52606d", String::new()),
        HostRole::Metal => ("#1f2933", "metal Node".to_owned()),
        HostRole::Spare => ("#2b8a3e", "spare".to_owned()),
        HostRole::Free => ("#cbd2d9", "free".to_owned()),
    };
    let dash = if host.role == HostRole::Spare { r#" stroke-dasharray="5 3""# } else { "" };
    let times = if drawn.count > 1 { format!("{} × ", drawn.count) } else { String::new() };
    let _ = write!(
        out,
        r##"<g><title>{}: {}</title><rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" rx="5" fill="#fbfcfd" stroke="{border}" stroke-width="1.2"{dash}/><text class="name" x="{:.1}" y="{:.1}">{}{}</text><text class="dim" x="{:.1}" y="{:.1}" text-anchor="end">{}</text><text class="dim" x="{:.1}" y="{:.1}">{}</text>"##,
        escape(&host.name),
        escape(&super::table::content(&host.placements)),
        at.x,
        at.y,
        at.w,
        at.h,
        at.x + 7.0,
        at.y + 13.0,
        times,
        escape(&host.name),
        at.x + at.w - 7.0,
        at.y + 13.0,
        escape(&note),
        at.x + 7.0,
        at.y + 24.0,
        escape(&format!(
            "{} · {} threads · {}{}",
            host.class,
            threads(host.hardware.cpu),
            gib(host.hardware.memory),
            if host.hardware.gpus > 0 {
                format!(" · {}", super::many(host.hardware.gpus, "GPU"))
            } else {
                String::new()
            }
        )),
    );
    let inside = Rect { x: at.x + 6.0, y: at.y + HEAD, w: at.w - 12.0, h: at.h - HEAD - FOOT };
    content(out, host, inside, colours);
    meters(out, host, Rect { x: at.x + 7.0, y: at.y + at.h - 16.0, w: at.w - 14.0, h: 10.0 });
    out.push_str("</g>");
}

/// Placements as areas: each by its dearest resource; then stranded, then free.
fn content(out: &mut String, host: &HostPlan, space: Rect, colours: &BTreeMap<String, &str>) {
    if host.placements.is_empty() {
        let _ = write!(
            out,
            r##"<text class="dim" x="{:.1}" y="{:.1}" text-anchor="middle">kept empty for a loss</text>"##,
            space.x + space.w / 2.0,
            space.y + space.h / 2.0
        );
        return;
    }
    let mut order: Vec<&Placement> = host.placements.iter().collect();
    order.sort_by(|a, b| {
        share(b.takes, host.capacity)
            .total_cmp(&share(a.takes, host.capacity))
            .then_with(|| (a.purpose, &a.tenant, &a.name).cmp(&(b.purpose, &b.tenant, &b.name)))
    });
    let mut shares: Vec<f64> = order.iter().map(|p| share(p.takes, host.capacity)).collect();
    let taken: f64 = shares.iter().sum();
    let left = (1.0 - taken).max(0.0);
    // Pod slots are not drawn as stranded: they cost nothing.
    let stranded = share(Amount { pods: 0, gpus: 0, ..host.stranded }, host.capacity).min(left);
    shares.extend([stranded, left - stranded]);
    let total: f64 = shares.iter().sum::<f64>().max(1e-9);
    let areas: Vec<f64> = shares.iter().map(|s| s / total * space.w * space.h).collect();
    let rects = squarify(&areas, space);
    for (p, r) in order.iter().zip(&rects) {
        let fill = if p.purpose == Purpose::Worker
            || (p.purpose == Purpose::ControlPlane && p.material != Material::Pod)
        {
            colours.get(&p.tenant).copied().unwrap_or(SITE)
        } else {
            SITE
        };
        let faint = if p.purpose == Purpose::Surge { r#" opacity=".35""# } else { "" };
        let _ = write!(
            out,
            r##"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" fill="{fill}" stroke="#fff" stroke-width=".8"{faint}><title>{} {}</title></rect>"##,
            r.x,
            r.y,
            r.w,
            r.h,
            escape(&p.name),
            escape(&p.size)
        );
        label(out, p, r);
    }
    for (r, fill) in rects[order.len()..].iter().zip(["url(#hatch)", "#fff"]) {
        if r.w * r.h > 1.0 {
            let _ = write!(
                out,
                r##"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" fill="{fill}" stroke="#d9e0e6" stroke-width=".6"/>"##,
                r.x, r.y, r.w, r.h
            );
        }
    }
}

fn label(out: &mut String, p: &Placement, r: &Rect) {
    let text = match p.purpose {
        Purpose::Worker => p.size.clone(),
        Purpose::ControlPlane => "cp".to_owned(),
        Purpose::Datastore => "etcd".to_owned(),
        Purpose::Management => "mgmt".to_owned(),
        Purpose::Surge => "surge".to_owned(),
    };
    let (middle, fits) = (r.x + r.w / 2.0, |t: &str| t.chars().count() as f64 * 5.2 + 4.0 < r.w);
    let mut line = |text: &str, y: f64| {
        let _ = write!(
            out,
            r##"<text class="in" x="{middle:.1}" y="{y:.1}" text-anchor="middle">{}</text>"##,
            escape(text)
        );
    };
    if r.h > 24.0 && fits(&p.tenant) && !p.tenant.is_empty() && fits(&text) {
        line(&p.tenant, r.y + r.h / 2.0 - 2.0);
        line(&text, r.y + r.h / 2.0 + 9.0);
    } else if r.h > 11.0 && fits(&text) {
        line(&text, r.y + r.h / 2.0 + 3.0);
    }
}

fn meters(out: &mut String, host: &HostPlan, at: Rect) {
    let percent = host.used.percent_of(host.capacity);
    let mut bars = vec![("CPU", percent.cpu), ("mem", percent.memory), ("Pods", percent.pods)];
    if host.hardware.gpus > 0 {
        bars.push(("GPU", percent.gpus));
    }
    let width = (at.w - 6.0 * (bars.len() - 1) as f64) / bars.len() as f64;
    for (i, (name, value)) in bars.into_iter().enumerate() {
        let x = at.x + i as f64 * (width + 6.0);
        let _ = write!(
            out,
            r##"<text class="dim" x="{x:.1}" y="{:.1}">{name} {value}%</text><rect x="{x:.1}" y="{:.1}" width="{width:.1}" height="3" rx="1.5" fill="#e4e7eb"/><rect x="{x:.1}" y="{:.1}" width="{:.1}" height="3" rx="1.5" fill="#486581"/>"##,
            at.y + 5.0,
            at.y + 8.0,
            at.y + 8.0,
            width * (value.clamp(0, 100) as f64) / 100.0
        );
    }
}

/// Text for markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
