//! Whether a disk has room for an image and its config drive. Told before anything is written, by the image's first bytes:
//! those of its partition table, and its size where that is known. A disk that is refused stays as it is.

use scute_image::gpt::Gpt;
use scute_image::mbr;

/// An image does not go onto a disk. Sizes are rounded to the disadvantage of the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk is too small: it has {} MiB, and {} MiB are needed for the image{}",
    found >> 20,
    needed.div_ceil(1 << 20),
    with(*drive)
)]
pub struct NoRoom {
    /// Bytes of the disk.
    found: u64,
    /// Bytes of image, config drive, and the table behind them.
    needed: u64,
    /// Bytes of the config drive.
    drive: u64,
}

fn with(drive: u64) -> String {
    match drive {
        0 => String::new(),
        drive => format!(" and a config drive of {} MiB", drive.div_ceil(1 << 20)),
    }
}

/// In: the first megabyte of the image's disk, the bytes of that disk where they are known, those of the real one and of the
/// config drive.
pub fn check(head: &[u8], image: Option<u64>, found: u64, drive: u64) -> Result<(), NoRoom> {
    let table = match Gpt::read(head, found) {
        Ok(Some(gpt)) => gpt.needed(drive),
        Ok(None) if drive > 0 && mbr::has_table(head) => mbr::needed(head, drive),
        // A table that is damaged or not there is told when the digest has shown that this is the image.
        Ok(None) | Err(_) => 0,
    };
    let needed = table.max(image.unwrap_or_default());
    if needed > found { Err(NoRoom { found, needed, drive }) } else { Ok(()) }
}
