//! Blueprints as text: tables for terminals, pictures for people, manifests for clusters.

pub mod html;
pub mod manifests;
pub mod svg;
pub mod table;
mod treemap;

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
