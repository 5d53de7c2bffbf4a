//! Pages that say which test keeps a promise: the test has to be there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Pages whose promises are kept by tests that they name.
const PAGES: [&str; 2] = ["docs/security.md", "docs/metal.md"];
/// A name in backquotes with so many underscores is a test's: a sentence.
const SENTENCE: usize = 3;

#[test]
fn the_pages_name_tests_that_exist() {
    let tests = tests();
    for page in PAGES {
        let text = std::fs::read_to_string(root().join(page)).expect("the page is there");
        let named = named(&text);
        assert!(!named.is_empty(), "{page} names no test");
        let missing: Vec<_> = named.into_iter().filter(|name| !tests.contains(*name)).collect();
        assert!(missing.is_empty(), "{page} names tests that do not exist: {}", missing.join(", "));
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn named(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|name| is_sentence(name)).collect()
}

fn is_sentence(name: &str) -> bool {
    name.matches('_').count() >= SENTENCE
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Names of functions that come right after an attribute for a test.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders: Vec<PathBuf> =
        ["bin", "crates", "e2e", "xtask"].map(|folder| root().join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.extend(tests_of(&std::fs::read_to_string(&path).expect("source text")));
            }
        }
    }
    found
}

fn tests_of(text: &str) -> Vec<String> {
    let mut lines = text.lines().map(str::trim);
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            let function = lines.by_ref().find_map(|line| line.split_once("fn ")).map(|(_, rest)| rest);
            let name =
                function.and_then(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
            found.extend(name.map(str::to_owned));
        }
    }
    found
}

#[test]
fn tests_are_found_and_helpers_are_not() {
    let text = "#[test]\n#[ignore]\nfn one_two_three_four() {}\nfn helper_of_the_test() {}\n\
                    #[tokio::test(flavor = \"x\")]\nasync fn five_six_seven_eight() {}\n";
    assert_eq!(tests_of(text), ["one_two_three_four", "five_six_seven_eight"]);
}

#[test]
fn names_of_tests_are_sentences_in_backquotes() {
    let text = "a `one_two_three_four` b `some_field` c `Not_A_test_name` | `five_six_seven_eight`";
    assert_eq!(named(text).into_iter().collect::<Vec<_>>(), ["five_six_seven_eight", "one_two_three_four"]);
}
