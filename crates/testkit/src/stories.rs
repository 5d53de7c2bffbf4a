//! Golden folders: each has inputs, and what comes of them in `expected.txt`.

use std::path::{Path, PathBuf};

/// Asks for the answer of every story, a folder below `root`, and compares it with what is written there. With
/// `SCUTE_UPDATE=1` the answers are written anew.
///
/// # Panics
/// When an answer is another one, showing it, or there is no story: the test has failed.
pub fn every_story_ends_as_written(root: &Path, answer: impl Fn(&Path) -> String) {
    let update = std::env::var_os("SCUTE_UPDATE").is_some();
    let mut wrong = Vec::new();
    for story in stories(root) {
        let (got, path) = (answer(&story), story.join("expected.txt"));
        if update {
            std::fs::write(&path, &got).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        } else if std::fs::read_to_string(&path).unwrap_or_default() != got {
            wrong.push(format!("{}:\n{got}", story.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn stories(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    all.sort();
    assert!(!all.is_empty(), "{} has no stories", root.display());
    all
}
