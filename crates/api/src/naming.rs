//! Names and hashes of what a controller makes. Pure and the same in every release: a restart must find
//! under a name what was made before.

/// The longest name: names become label values.
const LONGEST: usize = 63;

/// FNV-1a, 64 bits.
#[must_use]
pub fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Letters and digits of generated names: none that look alike, no vowels that make words.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Five letters and digits that stand for a text.
#[must_use]
pub fn suffix(text: &str) -> String {
    let mut rest = hash(text);
    // FNV mixes its low bits least.
    rest ^= rest >> 32;
    (0..5)
        .map(|_| {
            let letter = ALPHABET[(rest % ALPHABET.len() as u64) as usize];
            rest /= ALPHABET.len() as u64;
            char::from(letter)
        })
        .collect()
}

/// `<base>-<suffix>`, with the base cut so that the whole is a label value.
#[must_use]
pub fn child(base: &str, suffix: &str) -> String {
    let room = LONGEST - suffix.len() - 1;
    let cut = base.get(..room).unwrap_or(base).trim_end_matches(['-', '.']);
    format!("{cut}-{suffix}")
}

/// A label value that stands for a name: the name, or its hash when it is too long.
#[must_use]
pub fn label_value(name: &str) -> String {
    if name.len() <= LONGEST { name.to_owned() } else { format!("hash_{:016x}_z", hash(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_always_has_the_same_suffix() {
        assert_eq!(suffix("uid/1"), suffix("uid/1"));
        assert_ne!(suffix("uid/1"), suffix("uid/2"));
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c, "the published test vector of FNV-1a");
    }

    #[test]
    fn names_stay_label_values() {
        assert_eq!(child("md", "abcde"), "md-abcde");
        let long = format!("{}-{}", "x".repeat(56), "y".repeat(20));
        let name = child(&long, "abcde");
        assert!(name.len() <= 63 && name.ends_with("x-abcde"), "{name}");
    }

    #[test]
    fn a_thousand_suffixes_hardly_meet() {
        let mut all: Vec<_> = (0..1000).map(|n| suffix(&format!("0b5d1d4e-aaaa/{n}"))).collect();
        all.sort();
        all.dedup();
        assert!(all.len() > 990, "{}", all.len());
    }
}
