//! Whether a disk has room for an image and its config drive. Told before anything is written, by the image's first bytes:
//! those of its partition table, and its size where that is known. A disk that is refused stays as it is.

use scute_image::gpt::Gpt;
use scute_image::mbr::{self, SECTOR};

use super::finish::{CONFIG_DRIVE, FinishError};

/// Why an image does not go onto a disk.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// Sizes, rounded to the disadvantage of the disk.
    #[error(
        "the disk is too small: it has {} MiB, and {} MiB are needed for the image{}",
        found >> 20,
        needed.div_ceil(1 << 20),
        with(*drive)
    )]
    Small {
        /// Bytes of the disk.
        found: u64,
        /// Bytes of image, config drive, and the table behind them.
        needed: u64,
        /// Bytes of the config drive.
        drive: u64,
    },
    /// Anything else about the partitions.
    #[error("{0}")]
    Finish(#[from] FinishError),
}

fn with(drive: u64) -> String {
    match drive {
        0 => String::new(),
        drive => format!(" and a config drive of {} MiB", drive.div_ceil(1 << 20)),
    }
}

/// In: the first megabyte of the image's disk, the bytes of that disk where they are known, those of the real one and of the
/// config drive.
///
/// # Errors
/// When the image cannot be finished on a disk of this size.
pub fn check(head: &[u8], image: Option<u64>, found: u64, drive: Option<u64>) -> Result<(), RoomError> {
    let (image, length) = (image.unwrap_or_default(), drive.unwrap_or_default());
    let small = |needed: u64| RoomError::Small { found, needed, drive: length };
    if let Some(mut gpt) = Gpt::read(head, found).map_err(FinishError::from)? {
        let needed = gpt.needed(length).max(image);
        if needed > found {
            return Err(small(needed));
        }
        if let Some(length) = drive {
            gpt.append(CONFIG_DRIVE, [1; 16], length).map_err(FinishError::from)?;
        }
        return Ok(());
    }
    let table = drive.filter(|_| mbr::has_table(head)).map(|length| mbr::needed(head, length));
    let needed = table.unwrap_or_default().max(image);
    if needed > found {
        return Err(small(needed));
    }
    let Some(length) = drive else { return Ok(()) };
    if table.is_none() {
        return Err(FinishError::NoTable.into());
    }
    let mut sector: Vec<u8> = head.iter().take(SECTOR).copied().collect();
    mbr::append(&mut sector, found, length).map_err(FinishError::from)?;
    Ok(())
}
