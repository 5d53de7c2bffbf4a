//! Reading small files. What is not there is empty: hardware differs.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of /sys or /proc.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn folder(&self, name: &str) -> Folder {
        Folder(self.0.join(name))
    }

    pub fn name(&self) -> String {
        self.0.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Without spaces around it.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.bytes(name))
            .trim_matches(|c: char| c.is_whitespace() || c == '\0')
            .to_owned()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap_or_default()
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name).parse().ok()
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// Folders and links in it, sorted by name, numbers by value.
    pub fn folders(&self, name: &str) -> Vec<Folder> {
        let entries = fs::read_dir(self.0.join(name)).into_iter().flatten().flatten();
        let mut found: Vec<Folder> = entries.map(|entry| Folder(entry.path())).collect();
        found.sort_by_key(|folder| {
            let name = folder.name();
            let number =
                name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap_or_default();
            (name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(), number)
        });
        found
    }

    /// Where a link leads, as far as it exists.
    pub fn real(&self) -> Folder {
        Folder(fs::canonicalize(&self.0).unwrap_or_else(|_| self.0.clone()))
    }

    pub fn real_of(&self, name: &str) -> Folder {
        self.folder(name).real()
    }
}

/// `0-3,8` as numbers; a list that is longer than any machine is cut.
pub fn list(text: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().take(65_536).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_of_processors() {
        assert_eq!(super::list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(super::list(""), [0; 0]);
        assert_eq!(super::list("3-1,x,5"), [5]);
    }
}
