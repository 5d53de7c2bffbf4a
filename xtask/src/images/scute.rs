//! Scute's own static binary, and the image that holds nothing else.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Inputs, Made, debian, pack};
use crate::oci::{Config, Image, Layer};
use crate::workspace::{self, SCUTE};
use crate::{run, say};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// How Scute is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Unoptimised, for a quick look
    Dev,
    /// What a bundle ships
    #[default]
    Release,
}

/// Compiles the static binary. Cargo decides whether there is anything to do.
pub fn binary(profile: Profile) -> Result<PathBuf> {
    let (name, folder) = match profile {
        Profile::Dev => ("dev", "debug"),
        Profile::Release => ("release", "release"),
    };
    // A folder of its own: other flags would compile everything anew at each change of command.
    let target = workspace::root().join("target/static");
    let mut cargo = run::cargo();
    cargo
        .args(["build", "--quiet", "--locked", "--package=scute", "--profile", name, "--target", TARGET])
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    say::step(&format!("scute {SCUTE}, static, {name}"), || run::quiet(&mut cargo))?;
    let binary = target.join(TARGET).join(folder).join("scute");
    binary.canonicalize().with_context(|| format!("{} was not built", binary.display()))
}

/// The image.
pub fn make(inputs: &Inputs) -> Result<Made> {
    let (base, binary) = (debian::base()?, layer(inputs)?);
    let image = Image {
        name: format!("scute.dev/scute:{SCUTE}"),
        layers: vec![&base, &binary],
        config: Config { entrypoint: vec!["/usr/local/bin/scute".into()], user: String::new() },
    };
    pack(&inputs.cache, "scute", SCUTE, &[image])
}

/// The layer with the binary.
pub fn layer(inputs: &Inputs) -> Result<Layer> {
    Layer::new().file("usr/local/bin/scute", inputs.scute()?)
}
