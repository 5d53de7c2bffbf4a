//! The provisioning ramdisk: Debian's kernel with the drivers of real servers, Scute as init, a CD that boots it by UEFI and
//! BIOS. In: `images/ramdisk/`, Debian's packages. Out: `ramdisk.iso`, and an image that holds nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use scute_image::cpio::Cpio;
use scute_image::media::{Loader, Ramdisk};

use super::{Inputs, Made, pack};
use crate::cache::{self, Cache, Key, files_below};
use crate::modules::Modules;
use crate::oci::{Config, Image, Layer};
use crate::workspace::{self, SCUTE};
use crate::{run, say};

/// The package that always needs the newest kernel with all drivers.
const KERNEL: &str = "linux-image-amd64";
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const ISOLINUX: &str = "/usr/lib/ISOLINUX/isolinux.bin";
const LDLINUX: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";
/// Quiet, or the kernel would print its command line, and with it the token, on the console. Disks are there when their
/// driver is. Whoever watches the screen or the first serial port sees what the agent says.
const COMMAND_LINE: &str = "console=tty0 console=ttyS0,115200 quiet panic=60 scsi_mod.scan=sync";
/// What the agent reads of a kernel's modules.
const INDEXES: [&str; 2] = ["modules.alias", "modules.dep"];
/// More would make it smaller by little and the build slower by much.
const LEVEL: &str = "-15";

/// This recipe as it was compiled: what it does is an input like any other.
const CODE: [&str; 7] = [
    include_str!("../../../crates/image/src/cpio.rs"),
    include_str!("../../../crates/image/src/fat.rs"),
    include_str!("../../../crates/image/src/iso/boot.rs"),
    include_str!("../../../crates/image/src/media/make.rs"),
    include_str!("../../../crates/image/src/uki.rs"),
    include_str!("../modules.rs"),
    include_str!("ramdisk.rs"),
];

/// The image: for a manager that runs in a Pod.
pub fn make(inputs: &Inputs) -> Result<Made> {
    let layer = Layer::new().file("ramdisk.iso", &iso(inputs)?)?;
    let image =
        Image { name: format!("scute.dev/ramdisk:{SCUTE}"), layers: vec![&layer], config: Config::default() };
    pack(&inputs.cache, "ramdisk", SCUTE, &[image])
}

/// The CD, in the cache.
pub fn iso(inputs: &Inputs) -> Result<PathBuf> {
    let linux = linux(&inputs.cache)?;
    let mut key =
        Key::new("ramdisk").text("code", &CODE.concat()).text("linux", &linux.display().to_string());
    let authorities = Path::new("/").join(AUTHORITIES);
    for file in [Path::new(STUB), Path::new(ISOLINUX), Path::new(LDLINUX), &authorities, inputs.scute()?] {
        key = key.file(file).with_context(|| format!("{} is missing", file.display()))?;
    }
    let build = |folder: &Path| assemble(&linux, inputs.scute()?, folder);
    let folder = if inputs.cache.place("images", "ramdisk-iso", &key).exists() {
        inputs.cache.entry("images", "ramdisk-iso", &key, build)
    } else {
        say::step("ramdisk", || inputs.cache.entry("images", "ramdisk-iso", &key, build))
    }?;
    Ok(folder.join("ramdisk.iso"))
}

fn assemble(linux: &Path, scute: &Path, folder: &Path) -> Result<()> {
    let archive = folder.join("initrd");
    initrd(linux, scute, &archive)?;
    run::quiet(Command::new("zstd").args(["-q", "-T0", LEVEL, "--rm"]).arg(&archive))?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let compressed = archive.with_extension("zst");
    let medium = Ramdisk {
        stub: &read(Path::new(STUB))?,
        loader: Loader { program: &read(Path::new(ISOLINUX))?, module: &read(Path::new(LDLINUX))? },
        kernel: &read(&linux.join("vmlinuz"))?,
        initrd: &read(&compressed)?,
        command_line: COMMAND_LINE,
    };
    fs::write(folder.join("ramdisk.iso"), medium.medium()?)?;
    cache::remove(&compressed)
}

/// The archive, not compressed.
fn initrd(linux: &Path, scute: &Path, out: &Path) -> Result<()> {
    let init = out.with_extension("init");
    run::quiet(Command::new("strip").arg("-o").arg(&init).arg(scute))?;
    let mut archive = Cpio::new(std::io::BufWriter::new(fs::File::create(out)?));
    archive.file("init", 0o755, &fs::read(&init)?)?;
    cache::remove(&init)?;
    let mut folders: BTreeSet<PathBuf> = ["dev", "proc", "sys", "tmp"].map(PathBuf::from).into();
    let mut files = vec![(PathBuf::from(AUTHORITIES), Path::new("/").join(AUTHORITIES))];
    for file in files_below(&linux.join("lib"))? {
        files.push((file.strip_prefix(linux)?.to_path_buf(), file));
    }
    for (name, _) in &files {
        folders
            .extend(name.ancestors().skip(1).filter(|name| name.parent().is_some()).map(Path::to_path_buf));
    }
    for folder in &folders {
        archive.folder(&folder.to_string_lossy())?;
    }
    for (name, file) in files {
        archive.file(&name.to_string_lossy(), 0o644, &fs::read(file)?)?;
    }
    archive.finish().context("the initial ramdisk")
}

/// `vmlinuz` and `lib/modules/VERSION` with the drivers that are wanted, in the cache.
fn linux(cache: &Cache) -> Result<PathBuf> {
    let list = fs::read_to_string(workspace::root().join("images/ramdisk/modules.txt"))?;
    let package = newest()?;
    let key = Key::new("ramdisk-linux-1").text("package", &package).text("modules", &list);
    let wanted: Vec<&str> = super::node::lines(&list).collect();
    let build = |folder: &Path| fetch(&package, &wanted, folder);
    if cache.place("images", "ramdisk-linux", &key).exists() {
        return cache.entry("images", "ramdisk-linux", &key, build);
    }
    say::step(&format!("ramdisk: {package}"), || cache.entry("images", "ramdisk-linux", &key, build))
}

/// The kernel that the package list of this machine has now.
fn newest() -> Result<String> {
    let said = run::output(Command::new("apt-cache").args(["depends", KERNEL]))?;
    let package = said.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    package.map(|version| format!("linux-image-{version}")).with_context(|| format!("apt knows no {KERNEL}"))
}

fn fetch(package: &str, wanted: &[&str], folder: &Path) -> Result<()> {
    let (all, debian) = (folder.join("all"), folder.join("debian"));
    fs::create_dir(&debian)?;
    run::quiet(Command::new("apt-get").args(["-q", "download", package]).current_dir(&debian))?;
    let [file] = files_below(&debian)?.try_into().ok().context("apt-get gave other than one file")?;
    run::quiet(Command::new("dpkg-deb").arg("-x").arg(file).arg(&all))?;
    let version = package.trim_start_matches("linux-image-");
    let depmod = |root: &Path| run::quiet(Command::new("depmod").arg("-b").arg(root).arg(version));
    depmod(&all)?;
    let modules = Path::new("lib/modules").join(version);
    for file in Modules::read(&all.join(&modules))?.in_order(wanted, &mut Vec::new())? {
        copy(&all, folder, &modules.join(file))?;
    }
    for index in ["modules.builtin", "modules.order"] {
        copy(&all, folder, &modules.join(index))?;
    }
    // Indexes of what is there only.
    depmod(folder)?;
    for entry in fs::read_dir(folder.join(&modules))? {
        let path = entry?.path();
        let index = path.file_name().is_some_and(|name| INDEXES.iter().any(|index| name == *index));
        if path.is_file() && !index {
            fs::remove_file(path)?;
        }
    }
    fs::copy(all.join(format!("boot/vmlinuz-{version}")), folder.join("vmlinuz"))?;
    if !INDEXES.iter().all(|index| folder.join(&modules).join(index).is_file()) {
        bail!("depmod wrote no index");
    }
    [all, debian].iter().try_for_each(|leftover| cache::remove(leftover))
}

fn copy(from: &Path, to: &Path, file: &Path) -> Result<()> {
    let target = to.join(file);
    fs::create_dir_all(target.parent().context("a file lies in a folder")?)?;
    fs::copy(from.join(file), &target).map(drop).with_context(|| format!("copy {}", file.display()))
}
