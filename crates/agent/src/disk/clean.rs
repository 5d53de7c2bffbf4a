//! Removes what earlier owners left, so that nothing boots, assembles or mounts it: partition tables, and the signatures of
//! file systems, volumes and arrays on the disk and in its partitions. Blocks are given back where the disk can do that,
//! which makes data unreadable on most disks, but is no promise: that is another kind of cleaning.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::block::Block;
use super::signature;

/// Cleared at both ends of the disk and of each partition: the farthest signature that is known lies less deep.
const END: u64 = 1 << 20;
const LOOKED_AT: usize = 70_000;

/// Cleans a disk, and says what was there.
pub fn clean(path: &Path, name: &str) -> io::Result<String> {
    let disk = Block::open(path)?;
    let partitions = disk.partitions();
    let mut seen = signature::names(&disk.start(0, LOOKED_AT));
    let mut ends: Vec<Range<u64>> = ends(0, disk.size).into();
    for (_, start, length) in &partitions {
        seen.extend(signature::names(&disk.start(*start, LOOKED_AT)));
        ends.extend(self::ends(*start, *length));
    }
    let discarded = disk.discard();
    // A disk may go on giving what was discarded.
    for range in ends {
        clear(&disk, range)?;
    }
    disk.file.sync_all()?;
    if let Err(error) = disk.read_partitions_again() {
        tracing::warn!(name, %error, "the kernel keeps the old partitions");
    }
    seen.sort_unstable();
    seen.dedup();
    let what = if seen.is_empty() { "nothing that is known".to_owned() } else { seen.join(", ") };
    let blocks = match discarded {
        Ok(()) => format!("its {} MiB were discarded", disk.size >> 20),
        Err(_) => "it cannot discard blocks".to_owned(),
    };
    Ok(format!("{name}: removed {what} in {} partitions; {blocks}", partitions.len()))
}

fn ends(start: u64, length: u64) -> [Range<u64>; 2] {
    let (end, size) = (start + length, END.min(length));
    [start..start + size, end - size..end]
}

fn clear(disk: &Block, range: Range<u64>) -> io::Result<()> {
    let range = range.start.min(disk.size)..range.end.min(disk.size);
    let zeros = vec![0; (range.end - range.start) as usize];
    disk.file.write_all_at(&zeros, range.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_disk_are_cleared_and_what_was_there_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut content = vec![0xee; 8 << 20];
        content[512..520].copy_from_slice(b"EFI PART");
        std::fs::write(file.path(), &content).unwrap();
        let said = clean(file.path(), "/dev/sda").unwrap();
        assert!(said.starts_with("/dev/sda: removed GPT in 0 partitions; "), "{said}");
        let after = std::fs::read(file.path()).unwrap();
        let end = END as usize;
        assert!(
            after.len() == content.len()
                && after[..end].iter().chain(&after[after.len() - end..]).all(|byte| *byte == 0)
        );
        assert!(clean(file.path(), "/dev/sda").unwrap().contains("nothing that is known"));
        assert!(clean(Path::new("/no/such/disk"), "x").is_err());
    }
}
