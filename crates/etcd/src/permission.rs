//! Key ranges: what a tenant's role grants.

/// A range of keys, `start` included and `end` excluded, as etcd grants it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    /// First key.
    pub start: Vec<u8>,
    /// First key after the range.
    pub end: Vec<u8>,
}

impl Range {
    /// `/<schema>/` up to `/<schema>0`: `0` is the byte after `/`. The closing slash keeps `/a-suffix/` and `/ab/`
    /// out of the range of `a`.
    #[must_use]
    pub fn of_schema(schema: &str) -> Self {
        Self { start: format!("/{schema}/").into_bytes(), end: format!("/{schema}0").into_bytes() }
    }

    /// Whether the key lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && key < self.end.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_where_the_prefix_ends() {
        let range = Range::of_schema("a");
        for inside in ["/a/", "/a/health", "/a/registry/pods/x", "/a/\u{ff}"] {
            assert!(range.contains(inside.as_bytes()), "{inside}");
        }
        for outside in ["/a", "/a0", "/a-suffix/x", "/ab/x", "/b/x", "/", "compact_rev_key", "/A/x", "/a.b/x"]
        {
            assert!(!range.contains(outside.as_bytes()), "{outside}");
        }
    }
}
