//! Outside judges of Redfish: other people's validators, client and server. In: PyPI and crates.io, by pinned hashes. Out: a
//! folder in the cache with `venv`, `schemas` and `profile.json`, and the tests that use them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{Cache, Key};
use crate::{run, say, setup};

const REQUIREMENTS: &str = include_str!("judges/requirements.txt");
const IRONIC: &str = include_str!("judges/ironic.txt");
const SCHEMAS: (&str, &str) = (include_str!("judges/schemas.toml"), include_str!("judges/schemas.lock"));
/// In the source archive of Ironic.
const PROFILE: &str = "redfish-interop-profiles/OpenStackIronicProfile.v1_2_0.json";
/// The tests that call a judge. They are ignored without this command, as they cannot run without the folder.
const TESTS: [&str; 2] = ["judges", "servers"];

/// `cargo xtask judges`.
pub fn run() -> Result<()> {
    setup::run()?;
    test(&Cache::open()?)
}

/// Lets the judges judge.
pub fn test(cache: &Cache) -> Result<()> {
    let folder = say::step("judges of Redfish: validators, sushy, sushy-tools", || installed(cache))?;
    say::stream("judges", || {
        // They print what each judge has counted.
        run::loud(run::tests(TESTS)?.args(["--", "--ignored", "--nocapture"]).env("SCUTE_JUDGES", &folder))
    })
}

fn installed(cache: &Cache) -> Result<PathBuf> {
    let mut key = Key::new("judges 1").text("profile", PROFILE);
    for text in [REQUIREMENTS, IRONIC, SCHEMAS.0, SCHEMAS.1] {
        key = key.text("pins", text);
    }
    cache.entry("judges", "judges", &key, |folder| {
        python(folder).context("Python packages")?;
        profile(folder).context("Ironic's interop profile")?;
        schemas(folder).context("DMTF's schemas")
    })
}

/// The folder is renamed when it is complete: only `python` itself is called, no script of the environment.
fn python(folder: &Path) -> Result<()> {
    // Debian's own, as the hashes are of wheels for it.
    run::quiet(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(folder.join("venv")))?;
    let list = folder.join("requirements.txt");
    fs::write(&list, REQUIREMENTS)?;
    let install = ["install", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r"];
    run::quiet(pip(folder).args(install).arg(list))
}

/// Its wheel has no profiles.
fn profile(folder: &Path) -> Result<()> {
    let (list, archive) = (folder.join("ironic.txt"), folder.join("ironic"));
    fs::write(&list, IRONIC)?;
    // What pip asks the archive for its name with is among the requirements.
    let download =
        ["download", "--require-hashes", "--no-deps", "--no-build-isolation", "--no-binary", ":all:"];
    run::quiet(pip(folder).args(download).arg("-d").arg(&archive).arg("-r").arg(list))?;
    let file = fs::read_dir(&archive)?.next().context("pip downloaded nothing")??.path();
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(file).arg("-C").arg(&archive).args(["--strip-components=1", "--wildcards"]);
    run::quiet(tar.arg(format!("*/{PROFILE}")))?;
    fs::rename(archive.join(PROFILE), folder.join("profile.json"))?;
    crate::cache::remove(&archive)
}

fn schemas(folder: &Path) -> Result<()> {
    let package = folder.join("package");
    fs::create_dir(&package)?;
    fs::write(package.join("Cargo.toml"), SCHEMAS.0)?;
    fs::write(package.join("Cargo.lock"), SCHEMAS.1)?;
    fs::write(package.join("lib.rs"), "")?;
    let vendor = package.join("vendor");
    run::quiet(run::cargo().current_dir(&package).args(["vendor", "--locked", "--quiet"]).arg(&vendor))?;
    fs::rename(vendor.join("nv-redfish-schema/redfish-csdl/csdl"), folder.join("schemas"))?;
    crate::cache::remove(&package)
}

fn pip(folder: &Path) -> Command {
    let mut pip = Command::new(folder.join("venv/bin/python"));
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
    pip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judges_that_the_docs_name_are_those_that_are_installed() {
        let docs = fs::read_to_string(crate::workspace::root().join("docs/redfish.md")).unwrap();
        let (_, table) = docs.split_once("## Judges").unwrap();
        let judge = |line: &str| {
            let (name, rest) = line.strip_prefix("| `")?.split_once("` ")?;
            let version = rest.split(' ').next()?;
            Some(format!("{}=={version} --hash=sha256:", name.replace('_', "-")))
        };
        let judges: Vec<String> = table.lines().filter_map(judge).collect();
        assert_eq!(judges.len(), 5, "{judges:?}");
        for judge in judges {
            assert!(REQUIREMENTS.contains(&judge), "{judge}");
        }
    }
}
