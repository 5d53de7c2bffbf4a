//! Semantic versions, as Kubernetes writes them and as `semverCompare` asks for them.

use std::cmp::Ordering;
use std::fmt;

/// A version: `v1.35.4`, also with a pre-release or build metadata. `v` and missing numbers are optional when it is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// 1.
    pub major: u64,
    /// 35.
    pub minor: u64,
    /// 4.
    pub patch: u64,
    /// Behind a `-`.
    pub pre: String,
    /// Behind a `+`.
    pub build: String,
}

impl Version {
    /// Reads a version.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        Partial::parse(text).map(Partial::whole)
    }

    /// Reads a version that has all three numbers.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn parse_whole(text: &str) -> Result<Self, String> {
        let partial = Partial::parse(text)?;
        match partial {
            Partial { minor: Some(_), patch: Some(_), .. } => Ok(partial.whole()),
            _ => Err(format!("{text:?} is no semantic version such as v1.35.4")),
        }
    }

    /// The order of versions that differ in more than their build metadata.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| pre_releases(&self.pre, &other.pre))
    }

    /// The order; `None` where only the build metadata differs, which has none.
    #[must_use]
    pub fn order_with_build(&self, other: &Self) -> Option<Ordering> {
        match self.order(other) {
            Ordering::Equal if self.build != other.build => None,
            order => Some(order),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

/// A release comes after its pre-releases; numbers come before words, and are compared as numbers.
fn pre_releases(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// A version of which the last numbers may be missing or `x`.
#[derive(Clone, Debug)]
struct Partial {
    major: u64,
    minor: Option<u64>,
    patch: Option<u64>,
    pre: String,
    build: String,
}

impl Partial {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no semantic version such as v1.35.4");
        let bare = text.trim().strip_prefix('v').unwrap_or_else(|| text.trim());
        let (rest, build) = bare.split_once('+').unwrap_or((bare, ""));
        let (numbers, pre) = rest.split_once('-').unwrap_or((rest, ""));
        let word =
            |text: &str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-".contains(letter));
        let ends_empty = bare.ends_with('-') || bare.ends_with('+');
        if !word(pre) || !word(build) || ends_empty {
            return Err(wrong());
        }
        let mut parts = numbers.split('.').map(|part| match part {
            "x" | "X" | "*" => Ok(None),
            part if part.len() > 1 && part.starts_with('0') => Err(wrong()),
            part => part.parse::<u64>().map(Some).map_err(|_| wrong()),
        });
        let major = parts.next().transpose()?.flatten().ok_or_else(wrong)?;
        let (minor, patch) = (parts.next().transpose()?.flatten(), parts.next().transpose()?.flatten());
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self { major, minor, patch, pre: pre.to_owned(), build: build.to_owned() })
    }

    fn whole(self) -> Version {
        let Self { major, minor, patch, pre, build } = self;
        Version { major, minor: minor.unwrap_or_default(), patch: patch.unwrap_or_default(), pre, build }
    }
}

/// What versions are meant, as Masterminds' library reads it: `>= 1.24, < 1.30 || ^2`.
#[derive(Clone, Debug)]
pub struct Constraint {
    /// One of these; of each, all.
    any: Vec<Vec<(Comparison, Option<Partial>)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Tilde,
    Caret,
}

impl Constraint {
    /// Reads a constraint.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let any = text.split("||").map(all_of).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { any })
    }

    /// Whether a version is meant. A pre-release is only where the constraint names one.
    #[must_use]
    pub fn allows(&self, version: &Version) -> bool {
        self.any
            .iter()
            .any(|all| all.iter().all(|(comparison, bound)| holds(*comparison, bound.as_ref(), version)))
    }
}

fn all_of(text: &str) -> Result<Vec<(Comparison, Option<Partial>)>, String> {
    const SIGNS: [(&str, Comparison); 11] = [
        (">=", Comparison::GreaterOrEqual),
        ("=>", Comparison::GreaterOrEqual),
        ("<=", Comparison::LessOrEqual),
        ("=<", Comparison::LessOrEqual),
        ("!=", Comparison::NotEqual),
        ("~>", Comparison::Tilde),
        ("=", Comparison::Equal),
        (">", Comparison::Greater),
        ("<", Comparison::Less),
        ("~", Comparison::Tilde),
        ("^", Comparison::Caret),
    ];
    let mut rest = text.trim();
    let mut all = Vec::new();
    while !rest.is_empty() {
        let sign = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
        let comparison = sign.map_or(Comparison::Equal, |(_, comparison)| *comparison);
        rest = rest[sign.map_or(0, |(sign, _)| sign.len())..].trim_start();
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        let version = &rest[..end];
        let bound = match version {
            "*" | "x" | "X" => None,
            version => Some(Partial::parse(version)?),
        };
        all.push((comparison, bound));
        rest = rest[end..].trim_start_matches([',', ' ']);
    }
    if all.is_empty() { Err(format!("{text:?} names no version")) } else { Ok(all) }
}

fn holds(comparison: Comparison, bound: Option<&Partial>, version: &Version) -> bool {
    let Some(bound) = bound else { return version.pre.is_empty() };
    if !version.pre.is_empty() && bound.pre.is_empty() {
        return false;
    }
    let least = bound.clone().whole();
    let order = version.order(&least);
    // What has no last number means all versions that begin alike.
    let alike = match (bound.minor, bound.patch) {
        (None, _) => version.major == bound.major,
        (Some(minor), None) => version.major == bound.major && version.minor == minor,
        _ => order == Ordering::Equal,
    };
    let partial = (bound.minor.is_none() || bound.patch.is_none()) && bound.pre.is_empty();
    match comparison {
        Comparison::Equal => {
            if partial {
                alike
            } else {
                order == Ordering::Equal
            }
        }
        Comparison::NotEqual => {
            if partial {
                !alike
            } else {
                order != Ordering::Equal
            }
        }
        Comparison::Greater => order == Ordering::Greater && !(partial && alike),
        Comparison::GreaterOrEqual => order != Ordering::Less,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater || (partial && alike),
        Comparison::Tilde => {
            order != Ordering::Less
                && version.major == bound.major
                && bound.minor.is_none_or(|minor| version.minor == minor)
        }
        Comparison::Caret => {
            let same = match (bound.major, bound.minor, bound.patch) {
                (0, Some(0), Some(patch)) => version.minor == 0 && version.patch == patch,
                (0, Some(minor), _) => version.minor == minor,
                _ => true,
            };
            order != Ordering::Less && version.major == bound.major && same
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(constraint: &str, version: &str) -> bool {
        let constraint = Constraint::parse(constraint).expect(constraint);
        constraint.allows(&Version::parse(version).expect(version))
    }

    #[test]
    fn versions_have_an_order_but_for_their_build() {
        let order =
            |a: &str, b: &str| Version::parse(a).expect(a).order_with_build(&Version::parse(b).expect(b));
        assert_eq!(order("v1.35.4", "1.35.10"), Some(Ordering::Less));
        assert_eq!(order("v1.35.0-rc.1", "v1.35.0-rc.0"), Some(Ordering::Greater));
        assert_eq!(order("v1.35.0-rc.1", "v1.35.0"), Some(Ordering::Less));
        assert_eq!(order("v1.35.4+a", "v1.35.4+b"), None);
        assert!(Version::parse_whole("v1.35").is_err() && Version::parse("latest").is_err());
        assert_eq!(Version::parse("1.35.4-rc.1+k0s").expect("a version").to_string(), "v1.35.4-rc.1+k0s");
    }

    #[test]
    fn constraints_of_real_classes_and_their_edges() {
        assert!(allows("< v1.25-0", "v1.24.9") && !allows("< v1.25-0", "v1.25.0"));
        assert!(allows(">= 1.24, < 1.30 || ^2", "1.29.9") && allows(">= 1.24, < 1.30 || ^2", "2.4.0"));
        assert!(!allows(">= 1.24, < 1.30", "1.30.0"));
        assert!(!allows(">= 1.24", "1.25.0-rc.1") && allows(">= 1.24-0", "1.25.0-rc.1"));
        assert!(allows("1.35.x", "v1.35.9") && allows("~1.35.2", "v1.35.9") && !allows("~1.35.2", "v1.36.0"));
        assert!(allows("^1.2.3", "1.9.0") && !allows("^0.2.3", "0.3.0") && allows("*", "7.0.0"));
        assert!(Constraint::parse("").is_err() && Constraint::parse(">= new").is_err());
    }
}
