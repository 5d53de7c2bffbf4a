//! The table of clusters.

use jiff::Timestamp;
use kube::ResourceExt;
use scute_api::cluster::{Cluster, ReplicaCounts};
use serde::Serialize;

use crate::output;

/// One cluster in the table.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    namespace: String,
    name: String,
    phase: String,
    available: String,
    control_plane: String,
    workers: String,
    endpoint: String,
    created: Option<Timestamp>,
}

/// The rows of the table.
pub fn rows(clusters: &[Cluster]) -> Vec<Row> {
    clusters.iter().map(row).collect()
}

fn row(cluster: &Cluster) -> Row {
    let status = cluster.status.clone().unwrap_or_default();
    let available = status.conditions.iter().find(|condition| condition.type_ == "Available");
    let endpoint = cluster.spec.control_plane_endpoint.as_ref().filter(|endpoint| endpoint.is_set());
    Row {
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
        phase: status.phase.map_or_else(String::new, |phase| format!("{phase:?}")),
        available: available.map_or_else(|| "Unknown".to_owned(), |condition| condition.status.clone()),
        control_plane: counts(status.control_plane.as_ref()),
        workers: counts(status.workers.as_ref()),
        endpoint: endpoint
            .map_or_else(String::new, |endpoint| format!("{}:{}", endpoint.host, endpoint.port)),
        created: cluster.metadata.creation_timestamp.as_ref().map(|time| time.0),
    }
}

/// Available of desired.
fn counts(counts: Option<&ReplicaCounts>) -> String {
    let counts = counts.cloned().unwrap_or_default();
    format!(
        "{}/{}",
        counts.available_replicas.unwrap_or_default(),
        counts.desired_replicas.unwrap_or_default()
    )
}

/// The rows for people.
pub fn table(rows: &[Row], now: Timestamp) -> String {
    if rows.is_empty() {
        return "no clusters".to_owned();
    }
    let header = ["NAMESPACE", "NAME", "PHASE", "AVAILABLE", "CONTROL PLANE", "WORKERS", "ENDPOINT", "AGE"];
    output::table(
        &header,
        rows.iter().map(|row| {
            let age = row.created.map_or_else(String::new, |created| output::age(created, now));
            let texts =
                [&row.namespace, &row.name, &row.phase, &row.available, &row.control_plane, &row.workers];
            let mut cells: Vec<_> = texts.into_iter().cloned().collect();
            cells.extend([row.endpoint.clone(), age]);
            cells
        }),
    )
}
