//! One medium, many hosts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::str::from_utf8;

use super::make::padded;
use super::{COMMAND_LINE, NOTE};
use crate::iso::boot;

/// The medium of one host: the shared file, in which the host's parameters stand behind the command line. Holds no copy.
#[derive(Debug)]
pub struct PerHostIso {
    base: File,
    length: u64,
    /// Where command lines begin.
    places: Vec<u64>,
    /// [`COMMAND_LINE`] bytes.
    line: Vec<u8>,
}

/// Why there is no medium for a host.
#[derive(Debug, thiserror::Error)]
pub enum PerHostError {
    /// The shared file cannot be read.
    #[error("cannot read the ramdisk's ISO")]
    Read(#[source] io::Error),
    /// Not one of ours.
    #[error("the file is no ISO of the provisioning ramdisk")]
    Foreign,
    /// Too many addresses, perhaps.
    #[error("a command line of {0} bytes is longer than {COMMAND_LINE}")]
    Long(usize),
    /// A line ends a boot loader's configuration.
    #[error("a parameter of the command line has a character that is not printable ASCII")]
    Character,
}

impl PerHostIso {
    /// The medium of a host with these parameters (`name=value`, with spaces between them).
    pub fn new(base: File, parameters: &str) -> Result<Self, PerHostError> {
        if !parameters.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(PerHostError::Character);
        }
        let length = base.metadata().map_err(PerHostError::Read)?.len();
        let places = places(&base, length)?;
        let mut own = vec![0; COMMAND_LINE];
        base.read_exact_at(&mut own, places[0]).map_err(PerHostError::Read)?;
        let own = from_utf8(&own).map_err(|_| PerHostError::Foreign)?.trim_end();
        let line = format!("{own} {parameters}");
        let line = padded(&line).ok_or(PerHostError::Long(line.len()))?.into_bytes();
        Ok(PerHostIso { base, length, places, line })
    }

    /// Bytes of the medium.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads from `offset` on, as much as there is and fits; nothing at the end.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.base.read_at(buffer, offset)?;
        for place in &self.places {
            let (start, end) = (offset.max(*place), (offset + read as u64).min(place + COMMAND_LINE as u64));
            if start < end {
                let from = &self.line[(start - place) as usize..(end - place) as usize];
                buffer[(start - offset) as usize..(end - offset) as usize].copy_from_slice(from);
            }
        }
        Ok(read)
    }
}

/// What the descriptor says, as far as it can be true.
fn places(base: &File, length: u64) -> Result<Vec<u64>, PerHostError> {
    let mut note = [0; 512];
    base.read_exact_at(&mut note, boot::NOTE.start as u64).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => PerHostError::Foreign,
        _ => PerHostError::Read(error),
    })?;
    let text = from_utf8(&note).ok().and_then(|note| note.trim_end_matches('\0').strip_prefix(NOTE));
    let places: Vec<u64> =
        text.unwrap_or_default().split_whitespace().map_while(|place| place.parse().ok()).collect();
    let fits = |place: &u64| place.checked_add(COMMAND_LINE as u64).is_some_and(|end| end <= length);
    if places.is_empty() || !places.iter().all(fits) { Err(PerHostError::Foreign) } else { Ok(places) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Loader, Ramdisk};
    use std::io::Write;

    fn medium() -> Vec<u8> {
        let (kernel, initrd): (Vec<u8>, Vec<u8>) = (vec![b'k'; 5000], vec![b'i'; 70_000]);
        let stub = crate::uki::tests::stub();
        let loader = Loader { program: &[b'b'; 3000], module: &[b'm'; 100] };
        Ramdisk { stub: &stub, loader, kernel: &kernel, initrd: &initrd, command_line: "quiet a=b" }
            .medium()
            .unwrap()
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// Reads in pieces of `step` bytes.
    fn read(iso: &PerHostIso, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = vec![0; step];
        loop {
            match iso.read_at(&mut buffer, all.len() as u64).unwrap() {
                0 => return all,
                length => all.extend_from_slice(&buffer[..length]),
            }
        }
    }

    #[test]
    fn only_the_command_lines_differ_however_it_is_read() {
        let base = medium();
        let parameters = "scute.host=1 scute.token=x";
        let iso = PerHostIso::new(file(&base), parameters).unwrap();
        let whole = read(&iso, base.len());
        assert_eq!((whole.len(), iso.length()), (base.len(), base.len() as u64));
        for step in [1 << 20, 2048, 4099, 777] {
            assert!(read(&iso, step) == whole, "in pieces of {step}");
        }
        let line = padded(&format!("quiet a=b {parameters}")).unwrap();
        let found = whole.windows(COMMAND_LINE).filter(|window| *window == line.as_bytes()).count();
        assert_eq!(found, 2, "for UEFI and for BIOS");
        let differ = whole.iter().zip(&base).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 2 * parameters.bytes().filter(|byte| *byte != b' ').count());
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let long = "x".repeat(COMMAND_LINE);
        assert!(matches!(PerHostIso::new(file(&medium()), &long), Err(PerHostError::Long(2010))));
        assert!(matches!(PerHostIso::new(file(&medium()), "a=b\nLABEL c"), Err(PerHostError::Character)));
        for foreign in [vec![], vec![0; 100_000], medium()[..40_000].to_vec()] {
            assert!(matches!(PerHostIso::new(file(&foreign), ""), Err(PerHostError::Foreign)));
        }
    }

    /// An independent reader finds every file, and both ways to start.
    #[test]
    fn the_medium_is_read_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ramdisk.iso");
        std::fs::write(&path, medium()).unwrap();
        let run = |args: &[&str]| {
            let done =
                std::process::Command::new("xorriso").arg("-indev").arg(&path).args(args).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8_lossy(&done.stdout).into_owned()
        };
        let report = run(&["-report_el_torito", "plain"]);
        for line in ["El Torito boot img :   1  BIOS  y   none", "El Torito boot img :   2  UEFI  y   none"] {
            assert!(report.contains(line), "{report}");
        }
        let to = dir.path().join("files");
        run(&["-osirrox", "on", "-extract", "/", to.to_str().unwrap()]);
        let names: Vec<_> = std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let content = |name: &str| {
            let found = names.iter().find(|found| found.to_string_lossy().to_uppercase().starts_with(name));
            std::fs::read(to.join(found.unwrap())).unwrap()
        };
        assert!(content("VMLINUZ") == vec![b'k'; 5000] && content("INITRD") == vec![b'i'; 70_000]);
        assert!(
            content("LDLINUX") == vec![b'm'; 100] && content("ISOLINUX.CFG").starts_with(b"DEFAULT scute\n")
        );
        assert!(std::process::Command::new("chmod").args(["-R", "u+w"]).arg(&to).status().unwrap().success());
    }
}
