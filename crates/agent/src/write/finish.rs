//! What comes after the image's last byte was verified: the partition table on a disk of this size, the config drive, and
//! the two ends of the disk, with which it becomes one that boots.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use scute_image::gpt::{EfiPartition, Gpt, GptError};
use scute_image::mbr::{self, MbrError};

use super::target::{Device, Target, TargetError};

/// cloud-init and Ignition find it by this name.
const CONFIG_DRIVE: &str = "config-2";
/// As upstream's.
const CONFIG_DRIVE_LIMIT: usize = 64 << 20;

/// Why the disk is not finished.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The image.
    #[error("{0}")]
    Gpt(#[from] GptError),
    /// The image.
    #[error("there is no place for the config drive: {0}")]
    Mbr(#[from] MbrError),
    /// The image.
    #[error("there is no place for the config drive: the image has no partition table")]
    NoTable,
    /// What the metal room sent.
    #[error("the config drive is not base64 of at most {} MiB", CONFIG_DRIVE_LIMIT >> 20)]
    ConfigDrive,
    /// The disk.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// No randomness.
    #[error("the kernel gives no random bytes")]
    Random,
}

/// What a firmware finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Where UEFI looks for a boot loader.
    pub efi: Option<EfiPartition>,
}

/// Writes the rest.
pub fn finish(
    device: &dyn Device,
    size: u64,
    ends: (Vec<u8>, Vec<u8>),
    drive: Option<&[u8]>,
) -> Result<Finished, FinishError> {
    let mut target = Target::resume(device, size, ends);
    let mut efi = None;
    if let Some(mut gpt) = Gpt::read(&target.head, size)? {
        efi = gpt.efi_partition();
        let place = drive
            .map(|drive| gpt.append(CONFIG_DRIVE, random()?, drive.len() as u64).map_err(FinishError::Gpt));
        let place = place.transpose()?;
        if let (Some(place), Some(drive)) = (place, drive) {
            put(&mut target, place, drive)?;
        }
        let Target { head, tail, .. } = &mut target;
        gpt.write(head, tail)?;
    } else if let Some(drive) = drive {
        if !mbr::has_table(&target.head) {
            return Err(FinishError::NoTable);
        }
        let place = mbr::append(&mut target.head, size, drive.len() as u64)?;
        put(&mut target, place, drive)?;
    }
    target.commit()?;
    Ok(Finished { efi })
}

/// The rest of the partition must not hold what was there before.
fn put(target: &mut Target<'_>, place: std::ops::Range<u64>, drive: &[u8]) -> Result<(), TargetError> {
    target.write(place.start, drive)?;
    let rest = (place.end - place.start) as usize - drive.len();
    target.write(place.start + drive.len() as u64, &vec![0; rest])
}

/// The bytes of a config drive.
///
/// # Errors
/// When they are not base64, too many, or none.
pub fn decode(text: &str) -> Result<Vec<u8>, FinishError> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| FinishError::ConfigDrive)?;
    if (1..=CONFIG_DRIVE_LIMIT).contains(&bytes.len()) { Ok(bytes) } else { Err(FinishError::ConfigDrive) }
}

/// A random identifier of version 4.
fn random() -> Result<[u8; 16], FinishError> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| FinishError::Random)?;
    id[7] = id[7] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    Ok(id)
}
