//! Bootstrap tokens: `[a-z0-9]{6}.[a-z0-9]{16}`, the first part public, the second a secret.

use crate::Error;
use std::{fmt, str::FromStr};

const ID: usize = 6;
const SECRET: usize = 16;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Fills `bytes` from the operating system's random source.
pub fn system_random(bytes: &mut [u8]) -> Result<(), Error> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| Error::Generate)
}

/// A bootstrap token. `Debug` and `Display` show the id only; [`secret`](Self::secret) and
/// [`expose`](Self::expose) give the rest.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    id: String,
    secret: String,
}

impl BootstrapToken {
    /// A new token from `random`, which fills a slice: [`system_random`], or a fixed source in tests.
    pub fn generate(mut random: impl FnMut(&mut [u8]) -> Result<(), Error>) -> Result<Self, Error> {
        Ok(Self { id: letters(ID, &mut random)?, secret: letters(SECRET, &mut random)? })
    }

    /// A token of its two parts, as the Secret `bootstrap-token-<id>` keeps them.
    pub fn from_parts(id: &str, secret: &str) -> Result<Self, Error> {
        let valid = |text: &str, length| text.len() == length && text.bytes().all(|c| ALPHABET.contains(&c));
        if !valid(id, ID) || !valid(secret, SECRET) {
            return Err(Error::Token);
        }
        Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// The public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret part.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Name of the Secret in `kube-system` that holds it.
    pub fn secret_name(&self) -> String {
        format!("bootstrap-token-{}", self.id)
    }

    /// `<id>.<secret>`. A secret.
    pub fn expose(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

impl FromStr for BootstrapToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (id, secret) = text.split_once('.').ok_or(Error::Token)?;
        Self::from_parts(id, secret)
    }
}

impl fmt::Display for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.****", self.id)
    }
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootstrapToken({self})")
    }
}

/// Unbiased: a byte outside the largest multiple of the alphabet's size is drawn again.
fn letters(length: usize, random: &mut impl FnMut(&mut [u8]) -> Result<(), Error>) -> Result<String, Error> {
    let limit = 256 / ALPHABET.len() * ALPHABET.len();
    let mut text = String::with_capacity(length);
    let mut pool = [0; 32];
    // A source that yields nothing usable 64 times in a row is broken (chance of a good one: below 2^-500).
    for _ in 0..64 {
        random(&mut pool)?;
        let usable = pool.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit);
        text.extend(usable.map(|byte| char::from(ALPHABET[byte % ALPHABET.len()])).take(length - text.len()));
        if text.len() == length {
            return Ok(text);
        }
    }
    Err(Error::Generate)
}
