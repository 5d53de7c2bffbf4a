//! The disk: a partition table, a boot loader for BIOS in the gap before the first partition, and one
//! ext4 file system made from a folder. No loop device, no mount.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use scute_image::mbr::{self, Partition};

use crate::run;

const SECTOR: u64 = mbr::SECTOR as u64;
/// Where the partition starts: 1 MiB, as every partitioning tool aligns it.
const START: u64 = 2048;
/// Space for images and Pods; empty blocks cost nothing in a qcow2.
const SIZE: u64 = 10 << 30;
/// The file system's name, by which every way of booting finds it.
const LABEL: &str = "scute-node";
const GRUB: &str = "/usr/lib/grub/i386-pc";
/// What the loader does: no menu, no waiting. `root` is the disk that it was started from.
const SCRIPT: &str = "linux /boot/vmlinuz root=LABEL=scute-node ro panic=10 console=tty0 console=ttyS0 quiet\n\
                      initrd /boot/initrd.img\nboot\n";
const MODULES: [&str; 6] = ["biosdisk", "boot", "ext2", "linux", "part_msdos", "minicmd"];

/// Writes the disk of a root file system.
pub fn make(root: &Path, out: &Path) -> Result<()> {
    let disk = OpenOptions::new().create_new(true).write(true).open(out)?;
    disk.set_len(SIZE)?;
    let core = loader(out)?;
    let boot = fs::read(format!("{GRUB}/boot.img")).context("read GRUB's boot sector")?;
    disk.write_all_at(&boot_sector(&boot)?, 0)?;
    disk.write_all_at(&core, SECTOR)?;
    drop(disk);
    let size = (SIZE - START * SECTOR) / 1024;
    let mut mke2fs = Command::new("mke2fs");
    mke2fs
        .args(["-q", "-F", "-t", "ext4", "-L", LABEL, "-m", "0", "-J", "size=16", "-i", "32768"])
        // Tables left for later would be written by the guest's kernel, in the background of its first minutes.
        .args(["-E", &format!("offset={},lazy_itable_init=0,lazy_journal_init=0,nodiscard", START * SECTOR)])
        .arg("-d")
        .arg(root)
        .arg(out)
        .arg(format!("{size}k"));
    run::quiet(&mut mke2fs)
}

/// GRUB's second part, which must fit between the boot sector and the partition.
fn loader(disk: &Path) -> Result<Vec<u8>> {
    let (script, core) = (disk.with_extension("grub.cfg"), disk.with_extension("core.img"));
    fs::write(&script, SCRIPT)?;
    let mut mkimage = Command::new("grub-mkimage");
    mkimage.args(["-O", "i386-pc", "-d", GRUB, "-p", "(,msdos1)/boot/grub", "-c"]).arg(&script);
    run::quiet(mkimage.arg("-o").arg(&core).args(MODULES))?;
    let image = fs::read(&core)?;
    fs::remove_file(&script)?;
    fs::remove_file(&core)?;
    if image.len() as u64 > (START - 1) * SECTOR {
        bail!("GRUB's core image of {} bytes does not fit before the first partition", image.len());
    }
    Ok(image)
}

/// GRUB's boot sector with our partition table. It reads its second part from sector 1 by default,
/// and that reads the rest from sector 2 on: exactly where `make` puts them, so nothing is patched.
fn boot_sector(boot: &[u8]) -> Result<[u8; mbr::SECTOR]> {
    let boot = boot.try_into().context("GRUB's boot sector is not one sector")?;
    let partition = Partition { start: START as u32, length: u32::try_from(SIZE / SECTOR - START)? };
    Ok(mbr::boot_sector(boot, [0x5c, 0x07, 0xe0, 0x01], partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_goes_to_the_end_of_the_disk() {
        let sector = boot_sector(&[0x90; 512]).unwrap();
        let number = |at: usize| u64::from(u32::from_le_bytes(sector[at..at + 4].try_into().unwrap()));
        assert_eq!(number(454), START);
        assert_eq!((number(454) + number(458)) * SECTOR, SIZE);
        assert!(boot_sector(&[0; 511]).is_err());
    }
}
