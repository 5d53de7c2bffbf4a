//! The disk: a GPT, a boot loader for BIOS, a unified kernel image for UEFI, and one ext4 file system made from a folder.
//! No loop device, no mount.

use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use scute_image::fat;
use scute_image::gpt::{Gpt, Kind};
use scute_image::mbr::{self, SECTOR};
use scute_image::uki::{self, Section};

use crate::run;

/// Partitions begin with a megabyte, as every partitioning tool aligns them.
const MIB: u64 = 1 << 20;
/// Space for images and Pods; empty blocks cost nothing in a qcow2.
const SIZE: u64 = 10 << 30;
/// The file system's name, by which every way of booting finds it.
const LABEL: &str = "scute-node";
const GRUB: &str = "/usr/lib/grub/i386-pc";
pub const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const COMMAND_LINE: &str = "root=LABEL=scute-node ro panic=10 console=tty0 console=ttyS0 quiet";
const MODULES: [&str; 6] = ["biosdisk", "boot", "ext2", "linux", "part_gpt", "minicmd"];
/// What the second table takes, in whole blocks of systemd-repart's: a disk of this size has nothing to grow into.
const TAIL: u64 = 5 * 4096;
/// Where GRUB's boot sector looks for the second part.
const SECOND_PART: Range<usize> = 0x5c..0x64;
/// Where the second part's first sector looks for the others.
const OTHER_SECTORS: Range<usize> = 500..508;
/// Where the partitions lie, in bytes. The root comes last, so that it can grow, and is number 1 all the same: users say
/// `/dev/vda1`.
struct Layout {
    bios: Range<u64>,
    efi: Range<u64>,
    root: Range<u64>,
}

impl Layout {
    fn of(efi: usize) -> Self {
        let bios = MIB..2 * MIB;
        let efi = bios.end..(bios.end + efi as u64).next_multiple_of(MIB);
        Layout { bios, root: efi.end..SIZE - TAIL, efi }
    }

    fn table(&self) -> Result<Gpt> {
        let mut table = Gpt::new(SIZE, id(0))?;
        let sectors = |bytes: &Range<u64>| bytes.start / SECTOR as u64..bytes.end / SECTOR as u64;
        table.add(1, Kind::Root, "root", id(1), sectors(&self.root))?;
        table.add(2, Kind::BiosBoot, "bios", id(2), sectors(&self.bios))?;
        table.add(3, Kind::EfiSystem, "efi", id(3), sectors(&self.efi))?;
        Ok(table)
    }
}

/// Of the disk (0) and its partitions: the same recipe gives the same disk.
const fn id(number: u8) -> [u8; 16] {
    [0x5c, 0x07, 0xe0, 0x01, 0, 0, 0, 0x40, 0x80, 0, 0, 0, 0, 0, 0, number]
}

/// Writes the disk of a root file system, whose kernel and initial ramdisk lie in `folder`.
pub fn make(root: &Path, folder: &Path, out: &Path) -> Result<()> {
    let disk = OpenOptions::new().create_new(true).write(true).open(out)?;
    disk.set_len(SIZE)?;
    let efi = efi_system(folder)?;
    let layout = Layout::of(efi.len());
    disk.write_all_at(&efi, layout.efi.start)?;
    start_by_bios(&disk, out, &layout)?;
    drop(disk);
    let size = (layout.root.end - layout.root.start) / 1024;
    let mut mke2fs = Command::new("mke2fs");
    mke2fs
        .args(["-q", "-F", "-t", "ext4", "-L", LABEL, "-m", "0", "-J", "size=64", "-i", "32768"])
        // (A transaction that resizes the file system needs more than a quarter of 16 MiB.)
        // Tables left for later would be written by the guest's kernel, in the background of its first minutes.
        .args([
            "-E",
            &format!("offset={},lazy_itable_init=0,lazy_journal_init=0,nodiscard", layout.root.start),
        ])
        .arg("-d")
        .arg(root)
        .arg(out)
        .arg(format!("{size}k"));
    run::quiet(&mut mke2fs)
}

/// A file system with the program that UEFI looks for on every disk: kernel, initial ramdisk and command line in one.
fn efi_system(folder: &Path) -> Result<Vec<u8>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let (kernel, initrd) = (read(&folder.join("vmlinuz"))?, read(&folder.join("initrd.img"))?);
    let sections = [(".cmdline", COMMAND_LINE.as_bytes()), (".linux", &kernel), (".initrd", &initrd)]
        .map(|(name, content)| Section { name, content });
    let program = uki::assemble(&read(Path::new(STUB))?, &sections)?;
    Ok(fat::boot_image(&program.bytes)?.0)
}

/// Puts the tables and GRUB's two parts where a BIOS and they themselves look for them.
fn start_by_bios(disk: &File, path: &Path, layout: &Layout) -> Result<()> {
    let first = layout.bios.start / SECTOR as u64;
    let mut core = loader(path)?;
    ensure!(
        core.len() as u64 <= layout.bios.end - layout.bios.start,
        "GRUB's core image of {} bytes does not fit its partition",
        core.len()
    );
    put_sector(&mut core, OTHER_SECTORS, first + 1)?;
    disk.write_all_at(&core, layout.bios.start)?;
    let mut boot = fs::read(format!("{GRUB}/boot.img")).context("read GRUB's boot sector")?;
    put_sector(&mut boot, SECOND_PART, first)?;
    let boot = boot.as_slice().try_into().context("GRUB's boot sector is not one sector")?;
    let (mut head, mut tail) = (vec![0; MIB as usize], vec![0; TAIL as usize]);
    head[..SECTOR].copy_from_slice(&mbr::protective(boot));
    layout.table()?.write(&mut head, &mut tail)?;
    disk.write_all_at(&head, 0)?;
    disk.write_all_at(&tail, SIZE - TAIL)?;
    Ok(())
}

fn put_sector(code: &mut [u8], place: Range<usize>, sector: u64) -> Result<()> {
    let place = code.get_mut(place).context("a part of GRUB is shorter than a sector")?;
    place.copy_from_slice(&sector.to_le_bytes());
    Ok(())
}

/// GRUB's second part. No menu, no waiting; `root` is the disk that it was started from.
fn loader(disk: &Path) -> Result<Vec<u8>> {
    let (script, core) = (disk.with_extension("grub.cfg"), disk.with_extension("core.img"));
    fs::write(&script, format!("linux /boot/vmlinuz {COMMAND_LINE}\ninitrd /boot/initrd.img\nboot\n"))?;
    let mut mkimage = Command::new("grub-mkimage");
    mkimage.args(["-O", "i386-pc", "-d", GRUB, "-p", "(,gpt1)/boot/grub", "-c"]).arg(&script);
    run::quiet(mkimage.arg("-o").arg(&core).args(MODULES))?;
    let image = fs::read(&core)?;
    fs::remove_file(&script)?;
    fs::remove_file(&core)?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_number_1_and_goes_to_the_end_of_the_disk() {
        let layout = Layout::of(20_000_000);
        assert_eq!((layout.root.start, layout.root.end), (22 * MIB, SIZE - TAIL));
        let efi = layout.table().unwrap().efi_partition().unwrap();
        assert_eq!((efi.number, efi.start), (3, 2 * MIB / SECTOR as u64));
    }
}
