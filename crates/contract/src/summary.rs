//! One condition made of several: how the state of parts becomes the state of a whole.

use std::fmt::Display;

use scute_kit::conditions::Status;

use crate::reported::Reported;

/// A part of a summary: what it is called, and its condition turned so that True is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What the part is called in the message.
    pub name: String,
    /// Whether it is good.
    pub status: Status,
    /// What there is to say when it is not.
    pub message: String,
}

impl Part {
    /// A part from a condition of which True is good; a missing one is not known.
    pub fn positive(name: impl Into<String>, condition: Option<&Reported>) -> Self {
        let (status, message) = match condition {
            Some(condition) => (Status::from(condition.status.as_str()), said(condition)),
            None => (Status::Unknown, "Not yet reported".to_owned()),
        };
        Self { name: name.into(), status, message }
    }

    /// A part from a condition of which False is good; a missing one is good.
    pub fn negative(name: impl Into<String>, condition: Option<&Reported>) -> Self {
        let (status, message) = match condition {
            Some(condition) => (turned(Status::from(condition.status.as_str())), said(condition)),
            None => (Status::True, String::new()),
        };
        Self { name: name.into(), status, message }
    }
}

fn said(condition: &Reported) -> String {
    if condition.message.is_empty() { condition.reason.clone() } else { condition.message.clone() }
}

fn turned(status: Status) -> Status {
    match status {
        Status::True => Status::False,
        Status::False => Status::True,
        Status::Unknown => Status::Unknown,
    }
}

/// False when a part is bad, Unknown when one is not known, else True; with the parts that are not good
/// listed, those of equal message together.
#[must_use]
pub fn summary(parts: &[Part]) -> (Status, String) {
    let has = |status| parts.iter().any(|part| part.status == status);
    let status = if has(Status::False) {
        Status::False
    } else if has(Status::Unknown) {
        Status::Unknown
    } else {
        Status::True
    };
    let mut lines: Vec<(String, &str)> = Vec::new();
    for part in parts.iter().filter(|part| part.status != Status::True) {
        match lines.iter_mut().find(|(_, message)| *message == part.message) {
            Some((names, _)) => *names = format!("{names}, {}", part.name),
            None => lines.push((part.name.clone(), &part.message)),
        }
    }
    let lines: Vec<_> = lines.iter().map(|(names, message)| format!("* {names}: {message}")).collect();
    (status, lines.join("\n"))
}

/// The reason for a status, of three.
#[must_use]
pub fn reason(status: Status, good: &'static str, bad: &'static str, unknown: &'static str) -> &'static str {
    match status {
        Status::True => good,
        Status::False => bad,
        Status::Unknown => unknown,
    }
}

/// Names behind their noun, of which a long list is cut: a condition is for people. "Pods a, b and 4 more".
#[must_use]
pub fn listed(noun: &str, names: impl ExactSizeIterator<Item: Display>, most: usize) -> String {
    let (all, noun) = (names.len(), if names.len() == 1 { noun.to_owned() } else { format!("{noun}s") });
    let named: Vec<_> = names.take(most).map(|name| name.to_string()).collect();
    match all.saturating_sub(most) {
        0 => format!("{noun} {}", named.join(", ")),
        more => format!("{noun} {} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(status: &str, message: &str) -> Reported {
        Reported { status: status.into(), reason: "Reason".into(), message: message.into() }
    }

    #[test]
    fn bad_beats_unknown_beats_good() {
        let good = Part::positive("a", Some(&reported("True", "")));
        let unknown = Part::positive("b", None);
        let bad = Part::negative("c", Some(&reported("True", "is going away")));
        assert_eq!(summary(std::slice::from_ref(&good)), (Status::True, String::new()));
        assert_eq!(
            summary(&[good.clone(), unknown.clone()]),
            (Status::Unknown, "* b: Not yet reported".into())
        );
        assert_eq!(
            summary(&[good, unknown, bad]),
            (Status::False, "* b: Not yet reported\n* c: is going away".into())
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        assert_eq!(listed("Pod", ["a"].iter(), 2), "Pod a");
        assert_eq!(listed("Pod", ["a", "b"].iter(), 2), "Pods a, b");
        assert_eq!(listed("Pod", ["a", "b", "c", "d"].iter(), 2), "Pods a, b and 2 more");
    }

    #[test]
    fn equal_messages_are_said_once() {
        let parts = ["m1", "m2"].map(|name| Part::positive(name, Some(&reported("False", "no disk"))));
        assert_eq!(summary(&parts), (Status::False, "* m1, m2: no disk".into()));
    }
}
