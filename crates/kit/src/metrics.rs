//! Figures of the process, in OpenMetrics text. Labelled by controller and kind, never by object.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use crate::health::Health;

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

/// A controller's queue, labelled as client-go does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    name: &'static str,
}

/// A watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

type Seconds = Family<Name, Histogram, fn() -> Histogram>;

struct Metrics {
    registry: Registry,
    reconciles: Family<Reconcile, Counter>,
    writes: Family<Write, Counter>,
    depth: Family<Name, Gauge>,
    running: Family<Name, Gauge>,
    retries: Family<Name, Counter>,
    waited: Seconds,
    worked: Seconds,
    up: Family<Kind, Gauge>,
    failures: Family<Kind, Gauge>,
    silence: Family<Kind, Gauge>,
    objects: Family<Kind, Gauge>,
    unreadable: Family<Kind, Gauge>,
}

/// From a millisecond to a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 9))
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let mut metrics = Metrics {
        registry: Registry::default(),
        reconciles: Family::default(),
        writes: Family::default(),
        depth: Family::default(),
        running: Family::default(),
        retries: Family::default(),
        waited: Family::new_with_constructor(seconds),
        worked: Family::new_with_constructor(seconds),
        up: Family::default(),
        failures: Family::default(),
        silence: Family::default(),
        objects: Family::default(),
        unreadable: Family::default(),
    };
    register_own(&mut metrics);
    register_queue(&mut metrics);
    metrics
});

fn register_own(metrics: &mut Metrics) {
    let own = metrics.registry.sub_registry_with_prefix("scute");
    own.register("reconciles", "Reconciles by controller and outcome", metrics.reconciles.clone());
    own.register("api_writes", "Requests to the management API server that write", metrics.writes.clone());
    own.register("watch_up", "1 when the kind is listed and its watch works", metrics.up.clone());
    own.register("watch_failures", "Failures of the watch since the start", metrics.failures.clone());
    own.register_with_unit(
        "watch_silence",
        "Since the API server last said something of the kind",
        Unit::Seconds,
        metrics.silence.clone(),
    );
    own.register("watch_objects", "Objects in the copy", metrics.objects.clone());
    own.register("watch_unreadable_objects", "Objects that cannot be read", metrics.unreadable.clone());
}

/// Under the names of client-go's work queue, so that its dashboards and alerts fit.
fn register_queue(metrics: &mut Metrics) {
    let queue = metrics.registry.sub_registry_with_prefix("workqueue");
    queue.register("depth", "Keys that could run if there were workers", metrics.depth.clone());
    queue.register("running", "Keys that are being reconciled", metrics.running.clone());
    queue.register("retries", "Runs that failed and are tried again", metrics.retries.clone());
    queue.register_with_unit(
        "queue_duration",
        "How long keys wait for a worker",
        Unit::Seconds,
        metrics.waited.clone(),
    );
    queue.register_with_unit(
        "work_duration",
        "How long a reconcile takes",
        Unit::Seconds,
        metrics.worked.clone(),
    );
}

/// The figures of one controller.
pub(crate) struct Meter {
    name: &'static str,
    depth: Gauge,
    running: Gauge,
    retries: Counter,
    waited: Histogram,
    worked: Histogram,
}

impl Meter {
    pub(crate) fn new(name: &'static str) -> Self {
        let label = Name { name };
        Self {
            name,
            depth: METRICS.depth.get_or_create_owned(&label),
            running: METRICS.running.get_or_create_owned(&label),
            retries: METRICS.retries.get_or_create_owned(&label),
            waited: METRICS.waited.get_or_create_owned(&label),
            worked: METRICS.worked.get_or_create_owned(&label),
        }
    }

    pub(crate) fn depth(&self, due: usize, running: usize) {
        self.depth.set(count(due));
        self.running.set(count(running));
    }

    pub(crate) fn started(&self, waited: Duration) {
        self.waited.observe(waited.as_secs_f64());
    }

    pub(crate) fn ended(&self, outcome: &'static str, took: Duration) {
        self.worked.observe(took.as_secs_f64());
        if matches!(outcome, "failed" | "again") {
            self.retries.inc();
        }
        METRICS.reconciles.get_or_create(&Reconcile { controller: self.name, outcome }).inc();
    }
}

pub(crate) fn wrote(verb: &'static str, kind: &str) {
    METRICS.writes.get_or_create(&Write { verb, kind: kind.to_owned() }).inc();
}

/// All figures as OpenMetrics text, with those of the watches as they fare now.
#[must_use]
pub fn render(watches: &[Health]) -> String {
    let now = Instant::now();
    for health in watches {
        let kind = Kind { kind: health.kind.clone() };
        let up = health.listed && health.failing.is_none();
        METRICS.up.get_or_create(&kind).set(i64::from(up));
        METRICS.failures.get_or_create(&kind).set(i64::try_from(health.failures).unwrap_or(i64::MAX));
        METRICS.objects.get_or_create(&kind).set(count(health.objects));
        METRICS.unreadable.get_or_create(&kind).set(count(health.unreadable));
        if let Some(heard) = health.heard {
            let silence = now.saturating_duration_since(heard).as_secs();
            METRICS.silence.get_or_create(&kind).set(i64::try_from(silence).unwrap_or(i64::MAX));
        }
    }
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = encode(&mut text, &METRICS.registry);
    text
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|has| has == line), "no {line} in\n{text}");
    }

    #[test]
    fn counters_are_text() {
        wrote("apply", "ConfigMap");
        let meter = Meter::new("machine");
        meter.depth(3, 2);
        meter.started(Duration::from_millis(5));
        meter.ended("settled", Duration::from_millis(50));
        meter.ended("failed", Duration::from_millis(50));
        let text = render(&[]);
        has(&text, r#"scute_api_writes_total{verb="apply",kind="ConfigMap"} 1"#);
        has(&text, r#"scute_reconciles_total{controller="machine",outcome="settled"} 1"#);
        has(&text, r#"workqueue_depth{name="machine"} 3"#);
        has(&text, r#"workqueue_running{name="machine"} 2"#);
        has(&text, r#"workqueue_retries_total{name="machine"} 1"#);
        has(&text, r#"workqueue_queue_duration_seconds_count{name="machine"} 1"#);
        has(&text, r#"workqueue_work_duration_seconds_count{name="machine"} 2"#);
    }

    #[test]
    fn a_watch_that_fails_is_down() {
        let mut health = Health { kind: "Pod".to_owned(), listed: true, objects: 9, ..Health::default() };
        health.failed(Instant::now(), "no route".to_owned());
        let text = render(&[health]);
        has(&text, r#"scute_watch_up{kind="Pod"} 0"#);
        has(&text, r#"scute_watch_failures{kind="Pod"} 1"#);
        has(&text, r#"scute_watch_objects{kind="Pod"} 9"#);
    }
}
