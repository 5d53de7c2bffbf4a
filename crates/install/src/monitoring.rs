//! What watches the manager, where the Prometheus operator and Grafana are: metrics are scraped, alerts are raised, a board is
//! shown. Out: objects, as parts. Every expression names figures that the manager serves. Pure.

use crate::MANAGER;
use crate::parts::{When, namespace, when};
use serde_json::{Value, json};

/// The Service by which metrics are found; the other one is for reviews, which standbys answer too, as these.
const SERVICE: &str = "scute-manager-metrics";
/// By this label Grafana's sidecar finds boards.
const BOARD_LABEL: &str = "grafana_dashboard";

/// All of it, there when it is asked for.
pub fn objects() -> Vec<Value> {
    [service(), service_monitor(), rules(), board()].map(|object| when(When::Monitoring, object)).into()
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "namespace": namespace(), "labels": {"app": MANAGER}})
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(SERVICE),
        "spec": {
            "clusterIP": "None",
            "selector": {"app": MANAGER},
            // A manager that is not ready is the one to be looked at.
            "publishNotReadyAddresses": true,
            "ports": [{"name": "metrics", "port": 8080, "targetPort": "health"}],
        },
    })
}

fn service_monitor() -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata(MANAGER),
        "spec": {
            "selector": {"matchLabels": {"app": MANAGER}},
            "endpoints": [{"port": "metrics", "path": "/metrics", "interval": "30s"}],
        },
    })
}

/// Name, expression, how long, how bad, in one sentence.
const ALERTS: [(&str, &str, &str, &str, &str); 6] = [
    (
        "ScuteManagerAbsent",
        "absent(scute_watch_up)",
        "5m",
        "critical",
        "No manager of Scute answers: nothing is reconciled, and writes of its kinds are refused.",
    ),
    (
        // A kind that was never served is no failure; one that was watched within the day is.
        "ScuteWatchFails",
        "min by (kind, pod) (scute_watch_up) == 0 and max by (kind, pod) (max_over_time(scute_watch_up[1d])) == 1",
        "10m",
        "critical",
        "{{ $labels.pod }} does not hear of {{ $labels.kind }} any more; /readyz of that Pod has the API server's words.",
    ),
    (
        "ScuteObjectsUnreadable",
        "max by (kind) (scute_watch_unreadable_objects) > 0",
        "15m",
        "warning",
        "{{ $value }} objects of kind {{ $labels.kind }} cannot be read and are left alone; their events with reason Unreadable name the fields.",
    ),
    (
        "ScuteReconcilesFail",
        "sum by (controller) (rate(scute_reconciles_total{outcome=\"failed\"}[15m])) \
         > 0.5 * sum by (controller) (rate(scute_reconciles_total[15m]))",
        "30m",
        "warning",
        "More than half of the reconciles of {{ $labels.controller }} fail; conditions of the objects say why.",
    ),
    (
        "ScuteQueueWaits",
        "sum by (name) (rate(workqueue_queue_duration_seconds_sum[15m])) \
         > 30 * sum by (name) (rate(workqueue_queue_duration_seconds_count[15m]))",
        "15m",
        "warning",
        "Objects of {{ $labels.name }} wait for more than half a minute before they are looked at.",
    ),
    (
        "ScuteReconcileSlow",
        "sum by (name) (rate(workqueue_work_duration_seconds_sum[15m])) \
         > 30 * sum by (name) (rate(workqueue_work_duration_seconds_count[15m]))",
        "15m",
        "warning",
        "A reconcile of {{ $labels.name }} takes more than half a minute: an API server or a BMC is slow.",
    ),
];

fn rules() -> Value {
    let rule = |(name, expression, long, severity, summary): (&str, &str, &str, &str, &str)| {
        json!({
            "alert": name,
            "expr": expression,
            "for": long,
            "labels": {"severity": severity},
            "annotations": {"summary": summary},
        })
    };
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata(MANAGER),
        "spec": {"groups": [{"name": MANAGER, "rules": ALERTS.map(rule)}]},
    })
}

/// Title, expression, legend, unit.
const PANELS: [(&str, &str, &str, &str); 9] = [
    ("Reconciles", "sum by (controller) (rate(scute_reconciles_total[5m]))", "{{controller}}", "ops"),
    (
        "Reconciles that fail",
        "sum by (controller) (rate(scute_reconciles_total{outcome=\"failed\"}[5m]))",
        "{{controller}}",
        "ops",
    ),
    ("Retries", "sum by (name) (rate(workqueue_retries_total[5m]))", "{{name}}", "ops"),
    ("Keys that wait", "sum by (name) (workqueue_depth)", "{{name}}", "short"),
    ("Keys at work", "sum by (name) (workqueue_running)", "{{name}}", "short"),
    (
        "Wait for a worker, 95th percentile",
        "histogram_quantile(0.95, sum by (le, name) (rate(workqueue_queue_duration_seconds_bucket[5m])))",
        "{{name}}",
        "s",
    ),
    (
        "Reconcile takes, 95th percentile",
        "histogram_quantile(0.95, sum by (le, name) (rate(workqueue_work_duration_seconds_bucket[5m])))",
        "{{name}}",
        "s",
    ),
    ("Objects", "max by (kind) (scute_watch_objects)", "{{kind}}", "short"),
    (
        "Watches: failures in an hour",
        "sum by (kind) (delta(scute_watch_failures[1h])) > 0",
        "{{kind}}",
        "short",
    ),
];

/// Grafana's board, in the form in which its sidecar takes it.
fn board() -> Value {
    let panels = PANELS.iter().enumerate().map(|(index, (title, expression, legend, unit))| {
        json!({
            "id": index + 1,
            "type": "timeseries",
            "title": title,
            "gridPos": {"h": 8, "w": 8, "x": index % 3 * 8, "y": index / 3 * 8},
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
            "targets": [{"refId": "A", "expr": expression, "legendFormat": legend}],
        })
    });
    let board = json!({
        "uid": MANAGER,
        "title": "Scute",
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        ]},
        "panels": panels.collect::<Vec<_>>(),
    });
    let mut map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata("scute-dashboard"),
        "data": {"scute.json": board.to_string()},
    });
    map["metadata"]["labels"][BOARD_LABEL] = "1".into();
    map
}
