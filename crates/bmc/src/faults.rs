//! What goes wrong on command, for so many requests.

use std::time::Duration;

use axum::http::Method;

/// How many rules wait at most; older ones go first.
const RULES: usize = 64;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is answered with this status and message, and not done.
    Http {
        /// Status of the answer.
        status: u16,
        /// `MessageId` of the answer; a general one without it.
        message_id: Option<String>,
        /// `Retry-After` of the answer.
        retry_after: Option<Duration>,
    },
    /// No answer ever.
    Hang,
    /// The answer comes so late.
    Slow(Duration),
    /// The connection ends in the middle of the answer.
    Cut,
    /// Success is answered, and nothing is done.
    Ignored,
    /// The answer is no JSON.
    Garbage,
}

impl Fault {
    /// An answer with this status.
    #[must_use]
    pub fn http(status: u16) -> Self {
        Self::Http { status, message_id: None, retry_after: None }
    }

    /// An answer with this status and message.
    #[must_use]
    pub fn message(status: u16, message_id: &str) -> Self {
        Self::Http { status, message_id: Some(message_id.to_owned()), retry_after: None }
    }
}

/// Which requests a fault is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// How many times; `None` is for ever.
    pub times: Option<u32>,
    /// With this method only.
    pub method: Option<Method>,
    /// With this in the path only.
    pub path: String,
}

impl Rule {
    /// A fault for the next so many requests with `path` in their path.
    #[must_use]
    pub fn times(times: u32, path: &str, fault: Fault) -> Self {
        Self { fault, times: Some(times), method: None, path: path.to_owned() }
    }

    /// A fault until it is taken back.
    #[must_use]
    pub fn always(path: &str, fault: Fault) -> Self {
        Self { fault, times: None, method: None, path: path.to_owned() }
    }

    /// With this method only.
    #[must_use]
    pub fn on(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub struct Faults(Vec<Rule>);

impl Faults {
    pub fn add(&mut self, rule: Rule) {
        if self.0.len() == RULES {
            self.0.remove(0);
        }
        self.0.push(rule);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What goes wrong with this request; it counts.
    pub fn strike(&mut self, method: &Method, path: &str) -> Option<Fault> {
        let hit = self.0.iter().position(|rule| {
            rule.times != Some(0)
                && rule.method.as_ref().is_none_or(|wanted| wanted == method)
                && path.contains(&rule.path)
        })?;
        let rule = &mut self.0[hit];
        let fault = rule.fault.clone();
        if let Some(times) = &mut rule.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(hit);
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_strikes_so_many_times_where_it_is_for() {
        let mut faults = Faults::default();
        faults.add(Rule::times(2, "/Systems", Fault::http(503)).on(Method::GET));
        assert_eq!(faults.strike(&Method::PATCH, "/redfish/v1/Systems/1"), None);
        assert_eq!(faults.strike(&Method::GET, "/redfish/v1/Managers"), None);
        for _ in 0..2 {
            assert_eq!(faults.strike(&Method::GET, "/redfish/v1/Systems/1"), Some(Fault::http(503)));
        }
        assert_eq!(faults.strike(&Method::GET, "/redfish/v1/Systems/1"), None);
    }
}
