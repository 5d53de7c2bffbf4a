//! The CustomResourceDefinitions as files. In: what the example `crds` of scute-api prints from the types. Out:
//! `deploy/crds/NAME.yaml`, one per kind, and no file of a kind that is gone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{run, say, workspace};

const HEADER: &str = "# Written by `cargo xtask crds` from the types in crates/api. Do not edit.\n";

/// Write or compare.
#[derive(clap::Args)]
pub struct Args {
    /// Fail when a file differs from the types, and write nothing
    #[arg(long)]
    check: bool,
}

/// `cargo xtask crds`.
pub fn run(args: &Args) -> Result<()> {
    if args.check { check(run::cargo()) } else { write() }
}

/// Fails when the files are not what the types say, which this cargo builds.
pub fn check(cargo: Command) -> Result<()> {
    say::step("crds: files equal the types", || {
        let (want, have) = (generated(cargo)?, committed(&folder())?);
        let wrong = differences(&want, &have);
        if !wrong.is_empty() {
            bail!("run `cargo xtask crds`:\n{}", wrong.join("\n"));
        }
        Ok(())
    })
}

fn write() -> Result<()> {
    say::step("crds", || {
        let folder = folder();
        let (want, have) = (generated(run::cargo())?, committed(&folder)?);
        fs::create_dir_all(&folder)?;
        for name in have.keys().filter(|name| !want.contains_key(*name)) {
            fs::remove_file(folder.join(name))?;
        }
        for (name, text) in &want {
            fs::write(folder.join(name), text).with_context(|| format!("write {name}"))?;
        }
        Ok(())
    })
}

fn folder() -> std::path::PathBuf {
    workspace::root().join("deploy/crds")
}

/// Built out of the whole workspace, as tests are: alone, the package's dependencies would be compiled again with fewer features.
fn generated(mut cargo: Command) -> Result<BTreeMap<String, String>> {
    let build = ["build", "--quiet", "--workspace", "--example", "crds", "--message-format", "json"];
    let said = run::output(cargo.args(build))?;
    let mut messages = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let example = messages.rfind(|message| message["target"]["name"] == "crds");
    let example = example.and_then(|message| message["executable"].as_str().map(ToOwned::to_owned));
    split(&run::output(&mut Command::new(example.context("cargo built no example crds")?))?)
}

fn committed(folder: &Path) -> Result<BTreeMap<String, String>> {
    if !folder.exists() {
        return Ok(BTreeMap::new());
    }
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path())?);
    }
    Ok(files)
}

/// One file per document, named after the definition.
fn split(yaml: &str) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let text = format!("\n{yaml}");
    for document in text.split("\n---\n").map(str::trim).filter(|document| !document.is_empty()) {
        let Some(name) = document.lines().find_map(|line| line.strip_prefix("  name: ")) else {
            bail!("a definition has no name");
        };
        let file = format!("{HEADER}{document}\n");
        if files.insert(format!("{}.yaml", name.trim_matches('"')), file).is_some() {
            bail!("{name} is defined twice");
        }
    }
    if files.is_empty() {
        bail!("no definition was printed");
    }
    Ok(files)
}

fn differences(want: &BTreeMap<String, String>, have: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong: Vec<String> = want
        .iter()
        .filter_map(|(name, text)| match have.get(name) {
            None => Some(format!("  {name} is missing")),
            Some(old) if old != text => {
                let same = old.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
                Some(format!("  {name} differs from line {}", same + 1))
            }
            Some(_) => None,
        })
        .collect();
    wrong.extend(
        have.keys().filter(|name| !want.contains_key(*name)).map(|name| format!("  {name} has no type")),
    );
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "---\nkind: CRD\nmetadata:\n  name: as.x.io\n\n---\nmetadata:\n  name: bs.x.io\n";

    #[test]
    fn one_file_per_definition() {
        let files = split(TWO).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["as.x.io.yaml", "bs.x.io.yaml"]);
        assert_eq!(files["as.x.io.yaml"], format!("{HEADER}kind: CRD\nmetadata:\n  name: as.x.io\n"));
        assert!(split("").is_err());
        assert!(split(&format!("{TWO}{TWO}")).is_err());
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let want = split(TWO).unwrap();
        assert!(differences(&want, &want).is_empty());
        let mut have = want.clone();
        have.remove("as.x.io.yaml");
        have.insert("bs.x.io.yaml".into(), format!("{HEADER}other"));
        have.insert("cs.x.io.yaml".into(), String::new());
        let expected =
            ["  as.x.io.yaml is missing", "  bs.x.io.yaml differs from line 2", "  cs.x.io.yaml has no type"];
        assert_eq!(differences(&want, &have), expected);
    }
}
