//! Names of Machines from a template. Pure.

use std::fmt;

/// The longest name: it becomes a label value, and the name of a Node.
const LONGEST: usize = 63;
/// What a name is made of where nothing else is said.
pub const DEFAULT_MACHINE_NAME: &str = "{{ .machineSet.name }}-{{ .random }}";

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Cluster,
    Set,
    Random,
}

/// A template that can be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineNames(Vec<Piece>);

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamingError {
    /// Two Machines would have one name.
    NoRandom,
    /// This is not known.
    Unknown(String),
    /// What comes out is no name of an object: this, for example.
    NoName(String),
}

impl fmt::Display for NamingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRandom => f.write_str("must contain {{ .random }}, or two Machines would have one name"),
            Self::Unknown(what) => write!(
                f,
                "{{{{ {what} }}}} is not known: {{{{ .random }}}}, {{{{ .machineSet.name }}}} and {{{{ .cluster.name }}}} are"
            ),
            Self::NoName(name) => write!(
                f,
                "generated names such as {name:?} would not be valid: lower case letters, digits, '-' and '.' only, with a \
                 letter or digit at both ends"
            ),
        }
    }
}

impl MachineNames {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(template: &str) -> Result<Self, NamingError> {
        let (mut pieces, mut rest) = (Vec::new(), template);
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((inside, behind)) = after.split_once("}}") else {
                return Err(NamingError::Unknown(after.trim().to_owned()));
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match inside.trim() {
                ".random" => Piece::Random,
                ".machineSet.name" => Piece::Set,
                ".cluster.name" => Piece::Cluster,
                other => return Err(NamingError::Unknown(other.to_owned())),
            });
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        if !pieces.contains(&Piece::Random) {
            return Err(NamingError::NoRandom);
        }
        let names = Self(pieces);
        let example = names.name("cluster", "machineset", "abcde");
        if is_name(&example) { Ok(names) } else { Err(NamingError::NoName(example)) }
    }

    /// A name; one that is too long is cut, and ends with the random part all the same.
    #[must_use]
    pub fn name(&self, cluster: &str, set: &str, random: &str) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Cluster => cluster.to_owned(),
            Piece::Set => set.to_owned(),
            Piece::Random => random.to_owned(),
        };
        let name: String = self.0.iter().map(text).collect();
        if name.len() <= LONGEST {
            return name;
        }
        let room = LONGEST - random.len();
        format!("{}{random}", name.get(..room).unwrap_or_default())
    }
}

/// Whether it is a DNS subdomain.
fn is_name(name: &str) -> bool {
    let letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    !name.is_empty()
        && name.split('.').all(|label| {
            label.starts_with(letter)
                && label.ends_with(letter)
                && label.chars().all(|one| letter(one) || one == '-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(template: &str) -> String {
        MachineNames::parse(template).expect("a template").name("c", "md-x2v", "abcde")
    }

    #[test]
    fn names_are_filled_in() {
        assert_eq!(named(DEFAULT_MACHINE_NAME), "md-x2v-abcde");
        assert_eq!(named("{{.cluster.name}}.{{ .random }}.example"), "c.abcde.example");
        let long = MachineNames::parse("{{ .machineSet.name }}-{{ .random }}").expect("a template");
        let name = long.name("c", &"x".repeat(80), "abcde");
        assert!(name.len() == 63 && name.ends_with("xabcde"), "{name}");
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let wrong = |template: &str| MachineNames::parse(template).expect_err("wrong").to_string();
        assert!(wrong("{{ .machineSet.name }}").contains("{{ .random }}"));
        assert!(wrong("{{ .random }}-{{ .machine.name }}").starts_with("{{ .machine.name }} is not known"));
        assert!(wrong("{{ .random").starts_with("{{ .random }} is not known"));
        assert!(wrong("Worker-{{ .random }}").contains("Worker-abcde"));
        assert!(wrong("{{ .random }}-").contains("at both ends"));
    }
}
