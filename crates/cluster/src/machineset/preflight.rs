//! Whether it is a good time for a new Machine: the control plane is neither being made nor upgraded, and
//! takes Machines of this version. Pure.

use scute_api::cluster::SKIP_PREFLIGHT_CHECKS_ANNOTATION;
use scute_kubeadm::Version;

/// What the checks look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Version that the control plane should have; none when there is no control plane or it has none.
    pub wanted: Option<String>,
    /// Versions that it has.
    pub has: Vec<String>,
    /// Why it is not known whether there is a control plane.
    pub unknown: Option<String>,
    /// Version of the set's Machines.
    pub machines: Option<String>,
    /// Whether kubeadm joins them.
    pub kubeadm: bool,
    /// Names of checks that the set leaves out.
    pub skip: Vec<String>,
}

/// Names that the annotation may have.
pub const CHECKS: [&str; 5] =
    ["All", "ControlPlaneIsStable", "KubernetesVersionSkew", "KubeadmVersionSkew", "ControlPlaneVersionSkew"];

/// The names in the annotation.
#[must_use]
pub fn skipped(annotation: Option<&String>) -> Vec<String> {
    let names = annotation.map(String::as_str).unwrap_or_default().split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Minors that a kubelet may be older than the API server.
const SKEW: u32 = 3;

/// Why no Machine should be made now; empty when it is a good time.
#[must_use]
pub fn check(facts: &Facts) -> Vec<String> {
    let skips = |name: &str| facts.skip.iter().any(|skipped| skipped == name || skipped == "All");
    if let Some(why) = facts.unknown.as_ref().filter(|_| !skips("All")) {
        return vec![format!(
            "{why} (preflight checks cannot be made; skip them with the annotation {SKIP_PREFLIGHT_CHECKS_ANNOTATION}: All)"
        )];
    }
    let Some(wanted_text) = &facts.wanted else { return Vec::new() };
    let Ok(wanted) = wanted_text.parse::<Version>() else { return Vec::new() };
    let mut problems = Vec::new();
    let mut problem = |check: &str, message: String| {
        if !skips(check) {
            problems.push(format!("{message} (\"{check}\" preflight check failed; skip it with the annotation {SKIP_PREFLIGHT_CHECKS_ANNOTATION})"));
        }
    };
    if facts.has.is_empty() {
        problem(
            "ControlPlaneIsStable",
            format!("the control plane of version {wanted_text} is being provisioned"),
        );
    } else if let Some(old) =
        facts.has.iter().find(|has| parsed(has).is_some_and(|has| has.release() < wanted.release()))
    {
        problem(
            "ControlPlaneIsStable",
            format!("the control plane is being upgraded from {old} to {wanted_text}"),
        );
    }
    if let (Some(text), Some(machines)) = (&facts.machines, facts.machines.as_deref().and_then(parsed)) {
        if machines.release() > wanted.release() {
            problem(
                "KubernetesVersionSkew",
                format!("version {text} of the Machines is newer than the control plane's {wanted_text}"),
            );
        } else if machines.minor + SKEW < wanted.minor {
            problem(
                "KubernetesVersionSkew",
                format!(
                    "version {text} of the Machines is more than {SKEW} minors older than the control plane's {wanted_text}"
                ),
            );
        }
        if facts.kubeadm && machines.minor != wanted.minor {
            problem(
                "KubeadmVersionSkew",
                format!(
                    "kubeadm of {text} cannot join a control plane of {wanted_text}: the minors must be equal"
                ),
            );
        }
    }
    problems
}

fn parsed(text: &str) -> Option<Version> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(wanted: &str, has: &[&str], machines: &str) -> Facts {
        Facts {
            wanted: Some(wanted.into()),
            has: has.iter().map(|version| (*version).to_owned()).collect(),
            machines: Some(machines.into()),
            ..Facts::default()
        }
    }

    fn first(facts: &Facts) -> String {
        check(facts).first().cloned().unwrap_or_default().split(" (").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_good_time() {
        assert!(check(&facts("1.33.4", &["v1.33.4"], "v1.33.4")).is_empty(), "a leading v does not matter");
        assert!(check(&facts("v1.33.4", &["v1.33.4"], "v1.30.0")).is_empty());
        assert!(check(&Facts::default()).is_empty(), "a Cluster without a control plane object");
    }

    #[test]
    fn bad_times_and_their_reasons() {
        let cases = [
            (facts("v1.35.4", &[], "v1.35.4"), "the control plane of version v1.35.4 is being provisioned"),
            (
                facts("v1.35.4", &["v1.34.0"], "v1.34.0"),
                "the control plane is being upgraded from v1.34.0 to v1.35.4",
            ),
            (
                facts("v1.34.0", &["v1.34.0"], "v1.35.0"),
                "version v1.35.0 of the Machines is newer than the control plane's v1.34.0",
            ),
            (
                facts("v1.34.0", &["v1.34.0"], "v1.30.0"),
                "version v1.30.0 of the Machines is more than 3 minors older than the control plane's v1.34.0",
            ),
        ];
        for (facts, want) in cases {
            assert_eq!(first(&facts), want);
        }
    }

    #[test]
    fn a_control_plane_that_cannot_be_looked_up_is_waited_for() {
        let unknown = Facts { unknown: Some("X cannot be looked up: forbidden".into()), ..Facts::default() };
        assert_eq!(first(&unknown), "X cannot be looked up: forbidden");
        assert!(check(&Facts { skip: vec!["All".into()], ..unknown }).is_empty());
    }

    #[test]
    fn kubeadm_joins_its_own_minor_only() {
        let skewed = Facts { kubeadm: true, ..facts("v1.34.0", &["v1.34.0"], "v1.33.0") };
        assert_eq!(
            first(&skewed),
            "kubeadm of v1.33.0 cannot join a control plane of v1.34.0: the minors must be equal"
        );
        let skipped = Facts { skip: skipped(Some(&"KubeadmVersionSkew, X".to_owned())), ..skewed };
        assert!(check(&skipped).is_empty());
    }
}
