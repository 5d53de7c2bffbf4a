//! Who wrote what, from the API server's own counters.

use std::collections::BTreeMap;

use crate::Figure;
use anyhow::Result;
use kube::Client;

/// Requests that write, by resource and subresource.
pub type Writes = BTreeMap<String, f64>;

/// The API server's counters of this moment, of the groups that count.
///
/// # Errors
/// When it does not tell.
pub async fn so_far(client: &Client, counts: impl Fn(&str) -> bool) -> Result<Writes> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let text = client.request_text(request).await?;
    let mut writes = Writes::new();
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let Some((labels, value)) = line.rsplit_once(' ') else { continue };
        let label = |name: &str| {
            let from = labels.find(&format!("{name}=\""))? + name.len() + 2;
            labels[from..].split('"').next()
        };
        let verb = label("verb").unwrap_or_default();
        let ours = counts(label("group").unwrap_or_default());
        if !ours || !["POST", "PUT", "PATCH", "APPLY", "DELETE"].contains(&verb) {
            continue;
        }
        let part = |name| label(name).unwrap_or_default();
        let what = format!("{verb} {}/{}", part("resource"), part("subresource"));
        *writes.entry(what.trim_end_matches('/').to_owned()).or_default() += value.parse::<f64>()?;
    }
    Ok(writes)
}

/// What was written in between.
#[must_use]
pub fn since(before: &Writes, now: &Writes) -> Writes {
    now.iter().map(|(what, n)| (what.clone(), n - before.get(what).unwrap_or(&0.0))).collect()
}

/// All of them.
#[must_use]
pub fn total(writes: &Writes) -> f64 {
    writes.values().sum()
}

/// One figure for each kind of write of which there is one for ten of `many`.
pub fn print_each(writes: &Writes, many: usize) {
    let each = writes.iter().map(|(what, n)| (what, n / many as f64)).filter(|(_, each)| *each >= 0.1);
    for (what, each) in each {
        Figure::of(&format!("of these: {what}"), "writes").value(each).print();
    }
}
