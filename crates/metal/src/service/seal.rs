//! What is said once and never kept: tokens, sessions and addresses of media follow from the nonce of a start and a key of
//! the manager's. A manager that starts anew knows them again.

use aws_lc_rs::{constant_time, hmac};

/// The key.
pub struct Seal(hmac::Key);

impl Seal {
    /// From its bytes.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The one-time token of a start.
    pub fn token(&self, uid: &str, nonce: &str) -> String {
        self.of(&["token", uid, nonce])
    }

    /// The session of whoever took the token: the host's UID, a dot, and what proves it.
    pub fn session(&self, uid: &str, nonce: &str, boot: &str) -> String {
        format!("{uid}.{}", self.of(&["session", uid, nonce, boot]))
    }

    /// Name of the medium's file.
    pub fn medium(&self, uid: &str, nonce: &str) -> String {
        let proof = self.of(&["medium", uid, nonce]);
        format!("{uid}.{}.iso", &proof[..32])
    }

    fn of(&self, parts: &[&str]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            // The length keeps two lists apart that are equal when written in a row.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        hex::encode(context.sign())
    }
}

/// Whether both are the same, in a time that tells nothing.
pub fn same(one: &str, other: &str) -> bool {
    constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

/// The host that a session or the name of a medium is about.
pub fn host_of(text: &str) -> &str {
    text.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_host_and_boot_has_its_own_and_a_new_manager_knows_them() {
        let seal = Seal::new(b"key");
        let all = [
            seal.token("a", "1"),
            seal.token("a", "2"),
            seal.token("b", "1"),
            seal.session("a", "1", "x"),
            seal.session("a", "1", "y"),
            seal.medium("a", "1"),
            Seal::new(b"other").token("a", "1"),
            seal.token("a1", ""),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(Seal::new(b"key").token("a", "1"), all[0]);
        assert_eq!(host_of(&all[3]), "a");
        assert!(same(&all[0], &seal.token("a", "1")) && !same(&all[0], &all[1]));
    }
}
