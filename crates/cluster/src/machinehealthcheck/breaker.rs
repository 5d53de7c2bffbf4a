//! The circuit breaker: how many Machines may be unhealthy for anything to be done. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use scute_api::cluster::MachineHealthCheckTriggerIf;

/// What the breaker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Whether something is done.
    pub allowed: bool,
    /// How many more Machines may become unhealthy before nothing is done any more.
    pub more: i32,
    /// Why nothing is done.
    pub message: String,
}

/// Asks the breaker: of `expected` Machines, `healthy` are.
#[must_use]
pub fn breaker(trigger: Option<&MachineHealthCheckTriggerIf>, expected: i32, healthy: i32) -> Breaker {
    let unhealthy = expected - healthy;
    let range = trigger.and_then(|trigger| trigger.unhealthy_in_range.as_deref());
    if let Some((least, most)) = range.and_then(bounds) {
        let allowed = (least..=most).contains(&i64::from(unhealthy));
        let message = format!(
            "Remediation is not allowed, the number of not started or unhealthy machines does not fall within the range \
             (total: {expected}, unhealthy: {unhealthy}, unhealthyRange: {})",
            range.unwrap_or_default()
        );
        return Breaker { allowed, more: left(allowed, most, unhealthy), message };
    }
    let all = IntOrString::String("100%".to_owned());
    let limit = trigger.and_then(|trigger| trigger.unhealthy_less_than_or_equal_to.as_ref()).unwrap_or(&all);
    let (most, words) = match limit {
        IntOrString::Int(number) => (i64::from(*number), number.to_string()),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
            (percent.clamp(0, 1_000_000_000) * i64::from(expected) / 100, text.clone())
        }
    };
    let allowed = i64::from(unhealthy) <= most;
    let message = format!(
        "Remediation is not allowed, the number of not started or unhealthy machines exceeds maxUnhealthy \
         (total: {expected}, unhealthy: {unhealthy}, maxUnhealthy: {words})"
    );
    Breaker { allowed, more: left(allowed, most, unhealthy), message }
}

fn left(allowed: bool, most: i64, unhealthy: i32) -> i32 {
    let more = if allowed { most - i64::from(unhealthy) } else { 0 };
    i32::try_from(more.max(0)).unwrap_or(i32::MAX)
}

/// The numbers of `[3-5]`.
fn bounds(range: &str) -> Option<(i64, i64)> {
    let (least, most) = range.strip_prefix('[')?.strip_suffix(']')?.split_once('-')?;
    Some((least.parse().ok()?, most.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(trigger: Value, expected: i32, healthy: i32) -> (bool, i32) {
        let trigger: MachineHealthCheckTriggerIf = serde_json::from_value(trigger).expect("a trigger");
        let breaker = breaker(Some(&trigger), expected, healthy);
        (breaker.allowed, breaker.more)
    }

    #[test]
    fn a_number_and_a_share_rounded_down() {
        let number = || json!({"unhealthyLessThanOrEqualTo": 2});
        assert_eq!(asked(number(), 5, 5), (true, 2));
        assert_eq!(asked(number(), 5, 3), (true, 0));
        assert_eq!(asked(number(), 5, 2), (false, 0));
        let share = || json!({"unhealthyLessThanOrEqualTo": "40%"});
        assert_eq!(asked(share(), 3, 2), (true, 0), "40% of three is one");
        assert_eq!(asked(share(), 3, 1), (false, 0));
        assert_eq!(
            asked(json!({"unhealthyLessThanOrEqualTo": "0%"}), 3, 2),
            (false, 0),
            "by hand only, as it were"
        );
    }

    #[test]
    fn a_range_counts_before_a_number() {
        let range = || json!({"unhealthyInRange": "[2-3]", "unhealthyLessThanOrEqualTo": 0});
        assert_eq!(asked(range(), 5, 5), (false, 0), "none is too few");
        assert_eq!(asked(range(), 5, 3), (true, 1));
        assert_eq!(asked(range(), 5, 1), (false, 0));
    }

    #[test]
    fn without_a_limit_all_may_be_ill_and_the_message_has_the_numbers() {
        assert_eq!((breaker(None, 3, 0).allowed, breaker(None, 0, 0).allowed), (true, true));
        let trigger = MachineHealthCheckTriggerIf {
            unhealthy_less_than_or_equal_to: Some(IntOrString::String("40%".to_owned())),
            unhealthy_in_range: None,
        };
        let message = breaker(Some(&trigger), 3, 1).message;
        assert!(message.ends_with("(total: 3, unhealthy: 2, maxUnhealthy: 40%)"), "{message}");
    }
}
