//! Probe numbers that a busy machine passes: a control plane that is slow must be waited for, not killed.

use scute_api::kamaji::{ProbeSet, ProbeSpec, Probes};

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

    /// Path of the readiness probe. The Pod is ready when the API server is: the other two serve nobody.
    pub fn readiness_path(self) -> Option<&'static str> {
        (self == Self::ApiServer).then_some("/readyz")
    }

    /// Path of the startup probe. The others are waited for by their liveness probe: a container that has not
    /// passed its startup probe would hold back the readiness of the Pod.
    pub fn startup_path(self) -> Option<&'static str> {
        (self == Self::ApiServer).then_some("/readyz")
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
    pub readiness: Numbers,
    pub startup: Numbers,
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

/// The numbers of a component: ours, over them those for all, over them those for the component.
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
    NumbersOfAll {
        liveness: merge(our_liveness, &asked.liveness, &liveness),
        readiness: merge(READINESS, &asked.readiness, &readiness),
        startup: merge(STARTUP, &asked.startup, &startup),
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
        let numbers = numbers(Component::ApiServer, &Probes::default());
        assert!(numbers.startup.period * numbers.startup.failure >= 300);
        assert!(numbers.liveness.period * numbers.liveness.failure >= 60);
        assert!(numbers.liveness.timeout >= 10 && numbers.readiness.timeout >= 10);
    }

    #[test]
    fn the_closer_setting_wins_field_by_field() {
        let spec = |period, failure| ProbeSpec {
            period_seconds: period,
            failure_threshold: failure,
            ..ProbeSpec::default()
        };
        let asked = Probes {
            startup: Some(spec(Some(3), Some(4))),
            api_server: Some(ProbeSet { startup: Some(spec(Some(9), None)), ..ProbeSet::default() }),
            ..Probes::default()
        };
        let api_server = numbers(Component::ApiServer, &asked).startup;
        assert_eq!((api_server.period, api_server.failure, api_server.timeout), (9, 4, STARTUP.timeout));
        assert_eq!(numbers(Component::Scheduler, &asked).startup.period, 3);
    }
}
