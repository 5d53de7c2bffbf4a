//! Every image of the bundle. In: components, Scute's static binary, Debian's files, `images/`.
//! Out: one OCI tar per recipe in the cache. No registry, no daemon.

mod debian;
mod kubernetes;
mod launcher;
mod node;
mod pause;
mod ramdisk;
mod scute;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, Key};
use crate::components::{self, Built};
use crate::oci::{self, Image};
use crate::{say, setup};

pub use debian::libraries;
pub use node::qcow2 as node;
pub use ramdisk::iso as ramdisk;
pub use scute::Profile;

/// Which images to build.
#[derive(clap::Args)]
pub struct Args {
    /// Only this recipe
    #[arg(value_parser = ["kubernetes", "coredns", "pause", "scute", "launcher", "node", "ramdisk"])]
    only: Option<String>,
    /// How Scute itself is compiled
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Take this static binary of Scute instead of compiling one
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    scute: Option<PathBuf>,
}

/// An image tar in the cache.
pub struct Made {
    /// The recipe's name.
    pub name: &'static str,
    /// What the bundle's index calls its version.
    pub version: String,
    /// The tar.
    pub file: PathBuf,
    /// Names of the images in it.
    pub refs: Vec<String>,
}

/// What recipes are made from.
pub struct Inputs {
    /// Where results go.
    pub cache: Cache,
    /// Upstream's binaries.
    pub built: Built,
    profile: Profile,
    scute: OnceCell<PathBuf>,
}

impl Inputs {
    /// Builds the components; Scute itself is compiled when a recipe asks for it.
    pub fn new(cache: Cache, profile: Profile) -> Result<Self> {
        Ok(Inputs { built: components::build(&cache)?, cache, profile, scute: OnceCell::new() })
    }

    /// Takes a static binary that was compiled elsewhere.
    pub fn with_scute(self, binary: &Path) -> Result<Self> {
        let binary = binary.canonicalize().with_context(|| format!("{} is missing", binary.display()))?;
        Ok(Inputs { scute: OnceCell::from(binary), ..self })
    }

    /// Scute's static binary.
    pub fn scute(&self) -> Result<&Path> {
        if self.scute.get().is_none() {
            let _ = self.scute.set(scute::binary(self.profile)?);
        }
        self.scute.get().map(PathBuf::as_path).context("Scute was not built")
    }
}

type Recipe = fn(&Inputs) -> Result<Made>;

/// In the order of their needs: the node image holds others.
const RECIPES: &[(&str, Recipe)] = &[
    ("pause", pause::make),
    ("coredns", kubernetes::coredns),
    ("kubernetes", kubernetes::make),
    ("scute", scute::make),
    ("launcher", launcher::make),
    ("ramdisk", ramdisk::make),
    ("node", node::make),
];

/// `cargo xtask images`.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    let mut inputs = Inputs::new(Cache::open()?, args.profile)?;
    if let Some(binary) = &args.scute {
        inputs = inputs.with_scute(binary)?;
    }
    for (name, make) in RECIPES {
        if args.only.as_deref().is_none_or(|only| only == *name) {
            println!("{}", make(&inputs)?.file.display());
        }
    }
    Ok(())
}

/// Builds all images that are not in the cache, but for those left out.
pub fn all(inputs: &Inputs, without: &[String]) -> Result<Vec<Made>> {
    let wanted = |name: &&str| !without.iter().any(|left_out| left_out == name);
    RECIPES.iter().filter(|(name, _)| wanted(name)).map(|(_, make)| make(inputs)).collect()
}

/// One recipe, by name.
fn recipe(name: &str, inputs: &Inputs) -> Result<Made> {
    let Some((_, make)) = RECIPES.iter().find(|(known, _)| *known == name) else {
        bail!("no image recipe {name}");
    };
    make(inputs)
}

/// Writes the images into one tar in the cache, unless it is there.
fn pack(cache: &Cache, name: &'static str, version: &str, images: &[Image]) -> Result<Made> {
    let key = oci::key(images, Key::new("oci-1"))?;
    let refs = images.iter().map(|image| image.name.clone()).collect();
    let write = |folder: &Path| oci::write(images, &folder.join("image.tar"));
    let folder = if cache.place("images", name, &key).exists() {
        cache.entry("images", name, &key, write)
    } else {
        say::step(&format!("image {name} {version}"), || cache.entry("images", name, &key, write))
    }
    .with_context(|| format!("image {name}"))?;
    Ok(Made { name, version: version.into(), file: folder.join("image.tar"), refs })
}
