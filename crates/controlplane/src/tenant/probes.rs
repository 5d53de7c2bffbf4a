//! Probe numbers that a busy machine passes: a control plane that is slow must be waited for, not killed.

use scute_api::kamaji::{ProbeSet, ProbeSpec, Probes};
use scute_kit::FieldError;

/// A container of the Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// kube-apiserver.
    ApiServer,
    /// kube-scheduler.
    Scheduler,
    /// kube-controller-manager.
    ControllerManager,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ApiServer, Self::Scheduler, Self::ControllerManager];

    /// Name of the container and of its program.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "kube-apiserver",
            Self::Scheduler => "kube-scheduler",
            Self::ControllerManager => "kube-controller-manager",
        }
    }

    /// Port of its probes.
    pub fn port(self, api_server: u16) -> i32 {
        match self {
            Self::ApiServer => i32::from(api_server),
            Self::Scheduler => 10_259,
            Self::ControllerManager => 10_257,
        }
    }

    /// Path of the liveness probe.
    pub fn liveness_path(self) -> &'static str {
        match self {
            Self::ApiServer | Self::Scheduler => "/livez",
            Self::ControllerManager => "/healthz",
        }
    }

    /// Path of the readiness and startup probes. Those of the scheduler and the controller-manager ask the same as their
    /// liveness: a path that needs the API server would wait for a Service that waits for the readiness of this Pod.
    pub fn readiness_path(self) -> &'static str {
        match self {
            Self::ApiServer => "/readyz",
            Self::Scheduler | Self::ControllerManager => self.liveness_path(),
        }
    }
}

/// The numbers of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Numbers {
    pub initial_delay: i32,
    pub timeout: i32,
    pub period: i32,
    pub success: i32,
    pub failure: i32,
}

/// The numbers of the three probes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NumbersOfAll {
    pub liveness: Numbers,
    pub readiness: Option<Numbers>,
    pub startup: Option<Numbers>,
}

/// Asked every second, so that a fast start is seen at once; given up after ten minutes. No API server was there within
/// three seconds where we measured, and each probe that fails is a write of an event.
const STARTUP: Numbers = Numbers { initial_delay: 3, timeout: 10, period: 1, success: 1, failure: 600 };
/// Out of the Service after half a minute without an answer.
const READINESS: Numbers = Numbers { initial_delay: 0, timeout: 10, period: 5, success: 1, failure: 3 };
/// Killed only after minutes without an answer.
const LIVENESS: Numbers = Numbers { initial_delay: 0, timeout: 15, period: 15, success: 1, failure: 8 };
/// The other two wait for the API server first, however long that takes.
const LIVENESS_OF_CLIENTS: Numbers =
    Numbers { initial_delay: 30, timeout: 15, period: 20, success: 1, failure: 8 };

/// The numbers of a component: ours, over them those for all, over them those for the component. The Pod is ready when
/// its API server is: the other two serve nobody, and have readiness and startup probes only where somebody asks.
pub fn numbers(component: Component, asked: &Probes) -> NumbersOfAll {
    let own = match component {
        Component::ApiServer => asked.api_server.clone(),
        Component::Scheduler => asked.scheduler.clone(),
        Component::ControllerManager => asked.controller_manager.clone(),
    };
    let ProbeSet { liveness, readiness, startup } = own.unwrap_or_default();
    let our_liveness = match component {
        Component::ApiServer => LIVENESS,
        Component::Scheduler | Component::ControllerManager => LIVENESS_OF_CLIENTS,
    };
    let merge =
        |ours, all: &Option<ProbeSpec>, own: &Option<ProbeSpec>| over(over(ours, all.as_ref()), own.as_ref());
    let merge_asked = |ours, all: &Option<ProbeSpec>, own: &Option<ProbeSpec>| {
        let is_there = component == Component::ApiServer || all.is_some() || own.is_some();
        is_there.then(|| merge(ours, all, own))
    };
    NumbersOfAll {
        liveness: merge(our_liveness, &asked.liveness, &liveness),
        readiness: merge_asked(READINESS, &asked.readiness, &readiness),
        startup: merge_asked(STARTUP, &asked.startup, &startup),
    }
}

/// Kubernetes takes no other success threshold than 1 for liveness and startup.
pub fn check(asked: Option<&Probes>, bad: &mut Vec<FieldError>) {
    let Some(Probes { liveness, readiness, startup, api_server, controller_manager, scheduler }) = asked
    else {
        return;
    };
    let all = ProbeSet { liveness: liveness.clone(), readiness: readiness.clone(), startup: startup.clone() };
    let sets = [
        ("", Some(&all)),
        (".apiServer", api_server.as_ref()),
        (".controllerManager", controller_manager.as_ref()),
        (".scheduler", scheduler.as_ref()),
    ];
    for (component, set) in sets.into_iter().filter_map(|(component, set)| Some((component, set?))) {
        for (probe, spec) in [("liveness", &set.liveness), ("startup", &set.startup)] {
            let threshold = spec.as_ref().and_then(|spec| spec.success_threshold).unwrap_or(1);
            if threshold != 1 {
                let path = format!("spec.controlPlane.deployment.probes{component}.{probe}.successThreshold");
                bad.push(FieldError::new(path, threshold.to_string(), "must be 1"));
            }
        }
    }
}

fn over(base: Numbers, asked: Option<&ProbeSpec>) -> Numbers {
    let Some(asked) = asked else { return base };
    Numbers {
        initial_delay: asked.initial_delay_seconds.unwrap_or(base.initial_delay),
        timeout: asked.timeout_seconds.unwrap_or(base.timeout),
        period: asked.period_seconds.unwrap_or(base.period),
        success: asked.success_threshold.unwrap_or(base.success),
        failure: asked.failure_threshold.unwrap_or(base.failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_api_server_has_minutes() {
        let NumbersOfAll { liveness, readiness, startup } = numbers(Component::ApiServer, &Probes::default());
        let (readiness, startup) = (readiness.expect("a probe"), startup.expect("a probe"));
        assert!(startup.period * startup.failure >= 300);
        assert!(liveness.period * liveness.failure >= 60);
        assert!(liveness.timeout >= 10 && readiness.timeout >= 10);
    }

    fn asks(period: Option<i32>, failure: Option<i32>) -> Option<ProbeSpec> {
        Some(ProbeSpec { period_seconds: period, failure_threshold: failure, ..ProbeSpec::default() })
    }

    #[test]
    fn the_closer_setting_wins_field_by_field() {
        let asked = Probes {
            startup: asks(Some(3), Some(4)),
            api_server: Some(ProbeSet { startup: asks(Some(9), None), ..ProbeSet::default() }),
            ..Probes::default()
        };
        let startup = |component| numbers(component, &asked).startup.expect("a probe");
        let api_server = startup(Component::ApiServer);
        assert_eq!((api_server.period, api_server.failure, api_server.timeout), (9, 4, STARTUP.timeout));
        assert_eq!(startup(Component::Scheduler).period, 3);
    }

    #[test]
    fn every_number_that_is_asked_for_is_in_a_probe() {
        let own = |base: i32| {
            Some(ProbeSet {
                liveness: asks(Some(base + 1), None),
                readiness: asks(Some(base + 2), None),
                startup: asks(None, Some(base + 3)),
            })
        };
        let each = Probes {
            api_server: own(40),
            scheduler: own(20),
            controller_manager: own(30),
            ..Probes::default()
        };
        let all = Probes {
            liveness: asks(Some(51), None),
            readiness: asks(Some(52), None),
            startup: asks(None, Some(53)),
            ..Probes::default()
        };
        for (asked, bases) in [(each, [40, 20, 30]), (all, [50, 50, 50])] {
            for (component, base) in Component::ALL.into_iter().zip(bases) {
                let NumbersOfAll { liveness, readiness, startup } = numbers(component, &asked);
                let found =
                    (liveness.period, readiness.map(|one| one.period), startup.map(|one| one.failure));
                assert_eq!(found, (base + 1, Some(base + 2), Some(base + 3)), "{}", component.name());
            }
        }
        let nothing = numbers(Component::Scheduler, &Probes::default());
        assert_eq!(
            (nothing.readiness, nothing.startup),
            (None, None),
            "the Pod's readiness is the API server's"
        );
    }

    #[test]
    fn a_success_threshold_that_kubernetes_does_not_take_is_refused_with_its_path() {
        let asked = Probes {
            readiness: Some(ProbeSpec { success_threshold: Some(3), ..ProbeSpec::default() }),
            scheduler: Some(ProbeSet {
                startup: Some(ProbeSpec { success_threshold: Some(2), ..ProbeSpec::default() }),
                ..ProbeSet::default()
            }),
            ..Probes::default()
        };
        let mut bad = Vec::new();
        check(Some(&asked), &mut bad);
        let bad: Vec<_> = bad.iter().map(ToString::to_string).collect();
        let path = "spec.controlPlane.deployment.probes.scheduler.startup.successThreshold";
        assert_eq!(bad, [format!("{path}: Invalid value: \"2\": must be 1")]);
    }
}
