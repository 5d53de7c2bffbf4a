//! Conditions: one list computed as a whole, with transition times kept where nothing changed.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Nobody knows.
    Unknown,
}

impl Status {
    /// The word that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<&str> for Status {
    fn from(word: &str) -> Self {
        match word {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

impl From<bool> for Status {
    fn from(is: bool) -> Self {
        if is { Self::True } else { Self::False }
    }
}

/// A condition that has no time yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Type.
    pub type_: String,
    /// Status.
    pub status: Status,
    /// One word in CamelCase.
    pub reason: String,
    /// A sentence for a person, or nothing.
    pub message: String,
}

impl Draft {
    /// A condition from its parts.
    pub fn new(type_: &str, status: impl Into<Status>, reason: &str, message: impl Into<String>) -> Self {
        Self {
            type_: type_.to_owned(),
            status: status.into(),
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// A list of conditions in the making.
pub struct Conditions<'a> {
    existing: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    made: Vec<Condition>,
}

/// The longest message that the API server takes.
const LONGEST_MESSAGE: usize = 32_768;

impl<'a> Conditions<'a> {
    /// Starts from the conditions that the object has. Those not put again are dropped.
    #[must_use]
    pub fn new(existing: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { existing, generation, now, made: Vec::new() }
    }

    /// Puts one condition. Its transition time is kept while its status stays.
    #[must_use]
    pub fn put(mut self, type_: &str, status: Status, reason: &str, message: impl Into<String>) -> Self {
        let before = self.existing.iter().find(|condition| condition.type_ == type_);
        let since = before
            .filter(|before| before.status == status.as_str())
            .map_or_else(|| Time(whole_seconds(self.now)), |before| before.last_transition_time.clone());
        let mut message: String = message.into();
        crate::text::cut(&mut message, LONGEST_MESSAGE);
        self.made.retain(|condition| condition.type_ != type_);
        self.made.push(Condition {
            type_: type_.to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since,
            observed_generation: self.generation,
        });
        self
    }

    /// Puts conditions, each as [`Conditions::put`] does.
    #[must_use]
    pub fn put_all(self, drafts: impl IntoIterator<Item = Draft>) -> Self {
        drafts.into_iter().fold(self, |conditions, Draft { type_, status, reason, message }| {
            conditions.put(&type_, status, &reason, message)
        })
    }

    /// The list, ordered by type.
    #[must_use]
    pub fn finish(mut self) -> Vec<Condition> {
        self.made.sort_by(|a, b| a.type_.cmp(&b.type_));
        self.made
    }
}

/// The condition of this type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of this type is True.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == "True")
}

/// Whether the condition of this type is False.
#[must_use]
pub fn is_false(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == "False")
}

/// The API server keeps times to the second: a finer one would differ from what is read back.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let first =
            Conditions::new(&[], Some(1), at(10)).put("Ready", Status::False, "Waiting", "for a").finish();
        let second =
            Conditions::new(&first, Some(2), at(20)).put("Ready", Status::False, "Waiting", "for b").finish();
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        assert_eq!((second[0].message.as_str(), second[0].observed_generation), ("for b", Some(2)));
        let third = Conditions::new(&second, Some(2), at(30)).put("Ready", Status::True, "Done", "").finish();
        assert_eq!(third[0].last_transition_time, Time(at(30)));
    }
}
