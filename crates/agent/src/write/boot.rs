//! What the firmware must know to start what was written: nothing but an entry that names the boot loader on the disk.
//! <https://uefi.org/specs/UEFI/2.10/03_Boot_Manager.html>, <https://uefi.org/specs/UEFI/2.10/10_Protocols_Device_Path_Protocol.html>

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use scute_image::gpt::EfiPartition;

/// Of all variables of the specification itself.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Kept over resets, readable before and after the start of a system.
const ATTRIBUTES: u32 = 7;
/// Ours, by which it is found again.
const NAME: &str = "Scute";
const ACTIVE: u32 = 1;
const LIMIT: u16 = 0xffff;
const DEFAULT: &str = "EFI/BOOT/BOOTX64.EFI";
/// In the order in which a distribution's own means them.
const LOADERS: [&str; 3] = ["shimx64.efi", "grubx64.efi", "systemd-bootx64.efi"];

/// Why the firmware is not told.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The image.
    #[error(
        "the host was started by UEFI, and the image has no EFI system partition: use bootMode legacy or another image"
    )]
    NoPartition,
    /// The image.
    #[error(
        "the EFI system partition of the image holds no boot loader (\\EFI\\BOOT\\BOOTX64.EFI, shim, GRUB or systemd-boot)"
    )]
    NoLoader,
    /// The image.
    #[error("the EFI system partition of the image cannot be read: {0}")]
    Partition(#[source] io::Error),
    /// The firmware.
    #[error("the firmware does not take a boot entry: {0}")]
    Variable(#[source] io::Error),
}

/// The boot loader in a file system that lies below a folder: the one that every firmware looks for, or a distribution's.
pub fn loader(root: &Path) -> Result<String, BootError> {
    let inside = |folder: &Path, name: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).find(|path| {
            path.file_name().is_some_and(|found| found.to_string_lossy().eq_ignore_ascii_case(name))
        })
    };
    let walk = |path: &str| path.split('/').try_fold(root.to_owned(), |folder, name| inside(&folder, name));
    let distributions = || {
        let mut folders: Vec<PathBuf> = walk("EFI")
            .map(|efi| fs::read_dir(efi).into_iter().flatten().flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        folders.sort();
        LOADERS.iter().find_map(|name| folders.iter().find_map(|folder| inside(folder, name)))
    };
    let found = walk(DEFAULT).or_else(distributions).ok_or(BootError::NoLoader)?;
    let relative = found.strip_prefix(root).map_err(|_| BootError::NoLoader)?;
    Ok(format!("\\{}", relative.to_string_lossy().replace('/', "\\")))
}

/// The boot loader in a partition, by its device.
pub fn loader_on(device: &Path) -> Result<String, BootError> {
    let place = Path::new("/tmp/efi");
    fs::create_dir_all(place).map_err(BootError::Partition)?;
    mount(device, place, "vfat", MountFlags::RDONLY, None)
        .map_err(|error| BootError::Partition(error.into()))?;
    let found = loader(place);
    let _ = unmount(place, UnmountFlags::DETACH);
    found
}

/// Makes an entry the first, in place of an earlier one of ours.
pub fn enter(variables: &Path, partition: &EfiPartition, loader: &str) -> Result<(), BootError> {
    let variable = |name: &str| variables.join(format!("{name}-{GLOBAL}"));
    let order = fs::read(variable("BootOrder")).unwrap_or_default();
    let order: Vec<u16> = order
        .get(4..)
        .unwrap_or_default()
        .chunks_exact(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]))
        .collect();
    let number =
        number(variables).ok_or_else(|| BootError::Variable(io::Error::other("all numbers are taken")))?;
    put(&variable(&format!("Boot{number:04X}")), &option(partition, loader))?;
    let order = std::iter::once(number).chain(order.into_iter().filter(|other| *other != number));
    put(&variable("BootOrder"), &order.flat_map(u16::to_le_bytes).collect::<Vec<_>>())
}

/// Of our entry, or the first that is free.
fn number(variables: &Path) -> Option<u16> {
    let content = |number: &u16| fs::read(variables.join(format!("Boot{number:04X}-{GLOBAL}")));
    let ours: Vec<u8> = utf16(NAME);
    let is_ours =
        |number: &u16| content(number).is_ok_and(|bytes| bytes.get(10..10 + ours.len()) == Some(&ours[..]));
    // Firmwares number from 0 on; ours stands where it stood.
    (0..256).find(is_ours).or_else(|| (0..LIMIT).find(|number| content(number).is_err()))
}

fn put(path: &Path, value: &[u8]) -> Result<(), BootError> {
    // One write: the file system takes nothing else.
    let whole = [&ATTRIBUTES.to_le_bytes()[..], value].concat();
    fs::write(path, whole).map_err(BootError::Variable)
}

/// `EFI_LOAD_OPTION`.
fn option(partition: &EfiPartition, loader: &str) -> Vec<u8> {
    let EfiPartition { number, start, length, id } = partition;
    // A partition of a GPT disk.
    let drive =
        [&[4, 1, 42, 0][..], &number.to_le_bytes(), &start.to_le_bytes(), &length.to_le_bytes(), id, &[2, 2]]
            .concat();
    let path = utf16(loader);
    let file = [&[4, 4][..], &(4 + path.len() as u16).to_le_bytes(), &path].concat();
    let device = [&drive[..], &file, &[0x7f, 0xff, 4, 0]].concat();
    [&ACTIVE.to_le_bytes()[..], &(device.len() as u16).to_le_bytes(), &utf16(NAME), &device].concat()
}

/// With a zero behind it.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: EfiPartition = EfiPartition { number: 1, start: 2048, length: 4096, id: [9; 16] };

    #[test]
    fn the_entry_is_first_and_takes_the_place_of_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(format!("{name}-{GLOBAL}"));
        fs::write(path("BootOrder"), [7, 0, 0, 0, 0, 0, 1, 0]).unwrap();
        for number in 0..2 {
            fs::write(path(&format!("Boot000{number}")), [7, 0, 0, 0, 1, 0, 0, 0, 4, 0, b'C', 0, 0, 0])
                .unwrap();
        }
        for loader in ["\\EFI\\BOOT\\BOOTX64.EFI", "\\EFI\\debian\\shimx64.efi"] {
            enter(dir.path(), &PARTITION, loader).unwrap();
            assert_eq!(fs::read(path("BootOrder")).unwrap(), [7, 0, 0, 0, 2, 0, 0, 0, 1, 0]);
            let entry = fs::read(path("Boot0002")).unwrap();
            assert!(entry.windows(4).any(|window| window == [4, 1, 42, 0]));
            assert!(
                entry.windows(loader.len() * 2).any(|window| window == &utf16(loader)[..loader.len() * 2])
            );
            let length = u16::from_le_bytes([entry[8], entry[9]]) as usize;
            assert_eq!(entry.len(), 4 + 6 + utf16(NAME).len() + length);
        }
        assert!(!path("Boot0003").exists());
    }

    #[test]
    fn loaders_are_found_whatever_the_case() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(loader(dir.path()), Err(BootError::NoLoader)));
        fs::create_dir_all(dir.path().join("efi/debian")).unwrap();
        fs::write(dir.path().join("efi/debian/grubx64.efi"), "").unwrap();
        fs::write(dir.path().join("efi/debian/SHIMX64.EFI"), "").unwrap();
        assert_eq!(loader(dir.path()).unwrap(), "\\efi\\debian\\SHIMX64.EFI");
        fs::create_dir_all(dir.path().join("efi/Boot")).unwrap();
        fs::write(dir.path().join("efi/Boot/bootx64.efi"), "").unwrap();
        assert_eq!(loader(dir.path()).unwrap(), "\\efi\\Boot\\bootx64.efi");
    }
}
