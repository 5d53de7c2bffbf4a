//! Counters of the process, in OpenMetrics text. Never labelled by object.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// How a reconcile ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    controller: &'static str,
    outcome: &'static str,
}

/// What was asked of the management cluster's API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    verb: &'static str,
    kind: String,
}

struct Metrics {
    registry: Registry,
    reconciles: Family<Reconcile, Counter>,
    writes: Family<Write, Counter>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let (reconciles, writes) = (Family::default(), Family::default());
    let mut registry = Registry::with_prefix("scute");
    registry.register("reconciles", "Reconciles by controller and outcome", Family::clone(&reconciles));
    registry.register(
        "api_writes",
        "Requests to the management API server that write",
        Family::clone(&writes),
    );
    Metrics { registry, reconciles, writes }
});

pub(crate) fn reconciled(controller: &'static str, outcome: &'static str) {
    METRICS.reconciles.get_or_create(&Reconcile { controller, outcome }).inc();
}

pub(crate) fn wrote(verb: &'static str, kind: &str) {
    METRICS.writes.get_or_create(&Write { verb, kind: kind.to_owned() }).inc();
}

/// All counters as OpenMetrics text.
#[must_use]
pub fn render() -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = encode(&mut text, &METRICS.registry);
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_are_text() {
        super::wrote("apply", "ConfigMap");
        super::reconciled("machine", "settled");
        let text = super::render();
        assert!(text.contains(r#"scute_api_writes_total{verb="apply",kind="ConfigMap"} 1"#), "{text}");
        assert!(
            text.contains(r#"scute_reconciles_total{controller="machine",outcome="settled"} 1"#),
            "{text}"
        );
    }
}
