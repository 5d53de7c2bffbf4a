//! The bundle: one folder with every binary and image that a site needs, and an index of digests.
//! Files are hard links into the cache: assembling it again costs nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use scute_bundle::{INDEX, Index, Part, PartKind as Kind, SCHEMA};

use crate::cache::{self, Cache, FileDigest};
use crate::images::{self, Inputs, Made, Profile};
use crate::workspace::{self, CONTAINERD, SCUTE};
use crate::{run, say, setup};

mod digests;

use digests::Digests;

/// Where to, and how.
#[derive(clap::Args)]
pub struct Args {
    /// Where to put it [default: bundle in the cache]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// How Scute itself is compiled
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Take this static binary of Scute instead of compiling one
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    scute: Option<PathBuf>,
    /// Leave this image out; repeat for more
    #[arg(long, value_name = "IMAGE")]
    without: Vec<String>,
}

/// What becomes a part, before it is linked and digested.
struct Source {
    name: String,
    kind: Kind,
    version: String,
    from: PathBuf,
    to: String,
    refs: Vec<String>,
}

/// `cargo xtask bundle`.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    println!("{}", make(args)?.display());
    Ok(())
}

/// The default bundle, in the cache.
pub fn default() -> Result<PathBuf> {
    make(&Args { to: None, profile: Profile::Release, scute: None, without: vec![] })
}

fn make(args: &Args) -> Result<PathBuf> {
    setup::root("building the node image")?;
    let cache = Cache::open()?;
    let mut inputs = Inputs::new(cache.clone(), args.profile)?;
    if let Some(binary) = &args.scute {
        inputs = inputs.with_scute(binary)?;
    }
    let images = images::all(&inputs, &args.without)?;
    let folder = args.to.clone().unwrap_or_else(|| cache.root().join("bundle"));
    say::step("bundle", || {
        let mut sources = upstream(&inputs);
        if !args.without.iter().any(|name| name == "scute") {
            sources.push(binary("scute", SCUTE, inputs.scute()?));
        }
        sources.extend(runc()?);
        sources.extend(cni()?);
        sources.extend(images.into_iter().map(image));
        if !args.without.iter().any(|name| name == "ramdisk") {
            sources.push(ramdisk(&inputs)?);
        }
        if !args.without.iter().any(|name| name == "node") {
            sources.push(node(&inputs)?);
        }
        assemble(&cache, &folder, &sources)
    })?;
    Ok(folder)
}

fn binary(name: &str, version: &str, from: &Path) -> Source {
    Source {
        name: name.into(),
        kind: Kind::Binary,
        version: version.into(),
        from: from.into(),
        to: format!("bin/{name}"),
        refs: vec![],
    }
}

fn upstream(inputs: &Inputs) -> Vec<Source> {
    let containerd = |name: &str| binary(name, CONTAINERD, &inputs.built.containerd.join(name));
    vec![
        binary("kube", workspace::kubernetes(), &inputs.built.kube),
        containerd("containerd"),
        containerd("containerd-shim-runc-v2"),
        containerd("ctr"),
    ]
}

/// Debian's runc and the libraries that it loads: the target may have neither.
fn runc() -> Result<Vec<Source>> {
    let program = Path::new("/usr/sbin/runc");
    let version = debian_version("runc")?;
    let source = |kind, from: &Path, folder: &str| -> Result<Source> {
        let name = from.file_name().context("a program has a name")?.to_string_lossy().into_owned();
        let to = format!("{folder}/{name}");
        let from = from.canonicalize().with_context(|| format!("{} is missing", from.display()))?;
        Ok(Source { name, kind, version: version.clone(), from, to, refs: vec![] })
    };
    let mut sources = vec![source(Kind::Binary, program, "bin")?];
    // The C library is every Debian's own, and must be the one of its loader.
    let own =
        |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("libseccomp"));
    for library in images::libraries(program)?.into_iter().filter(own) {
        sources.push(source(Kind::File, &library, "lib")?);
    }
    Ok(sources)
}

fn cni() -> Result<Vec<Source>> {
    let version = debian_version("containernetworking-plugins")?;
    let plugin = |name: &str| Source {
        name: format!("cni/{name}"),
        kind: Kind::Binary,
        version: version.clone(),
        from: Path::new("/usr/lib/cni").join(name),
        to: format!("bin/cni/{name}"),
        refs: vec![],
    };
    Ok(["bridge", "host-local", "loopback", "portmap"].map(plugin).into())
}

fn image(made: Made) -> Source {
    Source {
        name: made.name.into(),
        kind: Kind::Image,
        version: made.version,
        from: made.file,
        to: format!("images/{}.tar", made.name),
        refs: made.refs,
    }
}

/// The same as in its image: for a manager that runs on the machine itself.
fn ramdisk(inputs: &Inputs) -> Result<Source> {
    Ok(Source {
        name: "ramdisk.iso".into(),
        kind: Kind::File,
        version: SCUTE.into(),
        from: images::ramdisk(inputs)?,
        to: "ramdisk/ramdisk.iso".into(),
        refs: vec![],
    })
}

/// The same as in its image: for whoever serves it to bare-metal servers.
fn node(inputs: &Inputs) -> Result<Source> {
    let version = workspace::kubernetes();
    Ok(Source {
        name: "node.qcow2".into(),
        kind: Kind::File,
        version: version.into(),
        from: images::node(inputs)?,
        to: format!("disks/node-{version}.qcow2"),
        refs: vec![],
    })
}

fn debian_version(package: &str) -> Result<String> {
    run::output(std::process::Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]))
}

/// Fills a new folder and puts it in the old one's place.
fn assemble(cache: &Cache, folder: &Path, sources: &[Source]) -> Result<()> {
    // One at a time: two would fill the same new folder.
    let lock = fs::File::create(folder.with_extension("lock"))?;
    lock.lock().with_context(|| format!("lock {}", folder.display()))?;
    let partial = folder.with_extension("partial");
    cache::remove(&partial)?;
    let mut digests = Digests::open(cache)?;
    let mut parts = Vec::new();
    for source in sources {
        let part = put(&mut digests, &partial, source).with_context(|| format!("part {}", source.name))?;
        parts.push(part);
    }
    digests.save()?;
    let index =
        Index { schema: SCHEMA, kubernetes: workspace::kubernetes().into(), scute: SCUTE.into(), parts };
    fs::write(partial.join(INDEX), serde_json::to_vec_pretty(&index)?)?;
    cache::remove(folder)?;
    fs::rename(&partial, folder).with_context(|| format!("replace {}", folder.display()))
}

/// Files of the cache never change, so a link will do; those of the system and of Cargo are copied.
fn link(from: &Path, to: &Path, cache: &Path) -> Result<()> {
    // A copy onto a link to the same file would empty both.
    cache::remove(to)?;
    if from.starts_with(cache) && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).map(drop).with_context(|| format!("copy {}", from.display()))
}

fn put(digests: &mut Digests, folder: &Path, source: &Source) -> Result<Part> {
    let FileDigest { hex, size } = digests.of(&source.from)?;
    let to = folder.join(&source.to);
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    link(&source.from, &to, digests.cache())?;
    Ok(Part {
        name: source.name.clone(),
        kind: source.kind,
        version: source.version.clone(),
        file: (&source.to).into(),
        digest: format!("sha256:{hex}"),
        size,
        mode: matches!(source.kind, Kind::Binary).then_some(0o755),
        refs: source.refs.clone(),
    })
}
