//! The sandbox image: one static program of a kilobyte, compiled from `images/pause.rs`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Inputs, Made, pack};
use crate::cache::Key;
use crate::oci::{Config, Image, Layer};
use crate::run;
use crate::workspace::{self, PAUSE};

const FLAGS: [&str; 6] = [
    "--edition=2024",
    "-Copt-level=s",
    "-Cpanic=abort",
    "-Crelocation-model=static",
    "-Cstrip=symbols",
    "-Clink-args=-nostartfiles -nostdlib -static",
];

/// The image.
pub fn make(inputs: &Inputs) -> Result<Made> {
    let source = workspace::root().join("images/pause.rs");
    let key = Key::new("pause-1").file(&source)?.text("flags", &FLAGS.join(" "));
    let folder = inputs.cache.entry("components", "pause", &key, |folder| compile(&source, folder))?;
    let layer = Layer::new().file("pause", &folder.join("pause"))?;
    let image = Image {
        name: format!("registry.k8s.io/pause:{PAUSE}"),
        layers: vec![&layer],
        config: Config { entrypoint: vec!["/pause".into()], user: "65535:65535".into() },
    };
    pack(&inputs.cache, "pause", PAUSE, &[image])
}

fn compile(source: &Path, folder: &Path) -> Result<()> {
    run::quiet(Command::new("rustc").args(FLAGS).arg("-o").arg(folder.join("pause")).arg(source))
}
