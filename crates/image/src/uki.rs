//! Unified kernel images: an EFI program that holds a kernel, its initial ramdisk and its command line as sections, behind
//! systemd's stub, which hands them over. <https://uapi-group.org/specifications/specs/unified_kernel_image/>

/// A section to be added.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// `.linux`, `.initrd`, `.cmdline`: eight bytes at most.
    pub name: &'a str,
    /// Its bytes.
    pub content: &'a [u8],
}

/// An image, and where its sections begin in it.
#[derive(Clone, Debug)]
pub struct Uki {
    /// The whole.
    pub bytes: Vec<u8>,
    /// Offsets of the added sections, in their order.
    pub offsets: Vec<usize>,
}

/// Why a stub cannot take the sections.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// Not what is expected.
    #[error("the stub is no EFI program for 64 bits")]
    Stub,
    /// Headers lie before everything else.
    #[error("the stub's headers have no room for {0} more sections")]
    Room(usize),
    /// Names have a fixed size, sizes have 32 bits.
    #[error("section {0:?}: the name or the content is too long")]
    Section(String),
}

/// In the file, content begins at multiples of this: a CD's sector, so that other boot loaders find it as a file too.
pub const ALIGNMENT: usize = 2048;
/// In memory.
const PAGE: usize = 4096;
const ENTRY: usize = 40;
/// Initialised data, readable.
const DATA: u32 = 0x4000_0040;

/// Offsets in the headers: <https://learn.microsoft.com/windows/win32/debug/pe-format>.
struct Headers {
    /// Of the number of sections.
    count_at: usize,
    /// Of the size in memory.
    size_at: usize,
    /// Of the section table.
    table_at: usize,
    sections: usize,
    file_alignment: usize,
    /// Bytes of all headers.
    length: usize,
}

/// The stub with these sections behind its own.
pub fn assemble(stub: &[u8], sections: &[Section<'_>]) -> Result<Uki, UkiError> {
    let headers = Headers::read(stub).ok_or(UkiError::Stub)?;
    let mut memory = headers.end_in_memory(stub).ok_or(UkiError::Stub)?;
    let mut entry = headers.table_at + ENTRY * headers.sections;
    if entry + ENTRY * sections.len() > headers.length {
        return Err(UkiError::Room(sections.len()));
    }
    let mut bytes = stub.to_vec();
    let mut offsets = Vec::new();
    for Section { name, content } in sections {
        let long = || UkiError::Section((*name).to_owned());
        memory = memory.next_multiple_of(PAGE);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        let at = bytes.len();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(headers.file_alignment), 0);
        let mut field = [0; 8];
        field.get_mut(..name.len()).ok_or_else(long)?.copy_from_slice(name.as_bytes());
        let numbers = [content.len(), memory, bytes.len() - at, at];
        bytes[entry..entry + 8].copy_from_slice(&field);
        for (index, number) in numbers.into_iter().enumerate() {
            let number = u32::try_from(number).map_err(|_| long())?;
            put32(&mut bytes, entry + 8 + 4 * index, number);
        }
        put32(&mut bytes, entry + 36, DATA);
        memory += content.len();
        entry += ENTRY;
        offsets.push(at);
    }
    let count = (headers.sections + sections.len()) as u16;
    bytes[headers.count_at..headers.count_at + 2].copy_from_slice(&count.to_le_bytes());
    put32(&mut bytes, headers.size_at, memory.next_multiple_of(PAGE) as u32);
    Ok(Uki { bytes, offsets })
}

impl Headers {
    fn read(stub: &[u8]) -> Option<Self> {
        let pe = get32(stub, 0x3c)?;
        let optional = pe + 24;
        if stub.get(..2)? != b"MZ" || stub.get(pe..pe + 4)? != b"PE\0\0" || get16(stub, optional)? != 0x20b {
            return None;
        }
        let headers = Headers {
            count_at: pe + 6,
            size_at: optional + 56,
            table_at: optional + get16(stub, pe + 20)?,
            sections: get16(stub, pe + 6)?,
            file_alignment: get32(stub, optional + 36)?,
            length: get32(stub, optional + 60)?,
        };
        (headers.file_alignment.is_power_of_two() && headers.length <= stub.len()).then_some(headers)
    }

    fn end_in_memory(&self, stub: &[u8]) -> Option<usize> {
        let end = |section| {
            let at = self.table_at + ENTRY * section;
            Some(get32(stub, at + 12)? + get32(stub, at + 8)?)
        };
        (0..self.sections).map(end).try_fold(0, |most, end| Some(most.max(end?)))
    }
}

fn get16(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn get32(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::process::Command;

    /// The smallest program that is one: headers and a section of code.
    pub fn stub() -> Vec<u8> {
        let mut stub = vec![0; 1536];
        stub[..2].copy_from_slice(b"MZ");
        put32(&mut stub, 0x3c, 0x80);
        stub[0x80..0x84].copy_from_slice(b"PE\0\0");
        stub[0x84..0x88].copy_from_slice(&[0x64, 0x86, 1, 0]);
        stub[0x94..0x98].copy_from_slice(&[240, 0, 0x2e, 0x02]);
        stub[0x98..0x9a].copy_from_slice(&[0x0b, 0x02]);
        let optional = 0x98;
        for (at, value) in [(16, 0x1000), (32, 0x1000), (36, 512), (56, 0x1200), (60, 1024), (108, 16)] {
            put32(&mut stub, optional + at, value);
        }
        stub[optional + 68] = 10;
        let table = optional + 240;
        stub[table..table + 5].copy_from_slice(b".text");
        for (at, value) in [(8, 0x200), (12, 0x1000), (16, 512), (20, 1024), (36, 0x6000_0020)] {
            put32(&mut stub, table + at, value);
        }
        stub
    }

    /// An independent reader finds the sections.
    #[test]
    fn binutils_reads_the_sections_back() {
        let dir = tempfile::tempdir().unwrap();
        let (initrd, command_line) = (vec![7; 10_000], vec![b' '; 2000]);
        let sections = [
            Section { name: ".cmdline", content: &command_line },
            Section { name: ".initrd", content: &initrd },
        ];
        let uki = assemble(&stub(), &sections).unwrap();
        let path = dir.path().join("uki.efi");
        std::fs::write(&path, &uki.bytes).unwrap();
        for (section, offset) in sections.iter().zip(&uki.offsets) {
            let copy = dir.path().join("section");
            let dump = format!("{}={}", section.name, copy.display());
            let mut objcopy = Command::new("objcopy");
            objcopy.args(["-O", "binary", "--dump-section", &dump]).arg(&path).arg(dir.path().join("rest"));
            let done = objcopy.output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            assert_eq!(&std::fs::read(&copy).unwrap()[..section.content.len()], section.content);
            assert_eq!(&uki.bytes[*offset..offset + section.content.len()], section.content);
            assert_eq!(offset % ALIGNMENT, 0);
        }
        assert_eq!(get32(&uki.bytes, 0x98 + 56), Some(0x6000), "pages of all sections");
    }

    #[test]
    fn what_is_no_stub_and_what_does_not_fit_is_refused() {
        let section = Section { name: ".linux", content: b"" };
        assert_eq!(assemble(b"MZ", &[section]).unwrap_err(), UkiError::Stub);
        for cut in 0..1024 {
            assert_eq!(assemble(&stub()[..cut], &[section]).unwrap_err(), UkiError::Stub);
        }
        assert_eq!(assemble(&stub(), &[section; 16]).unwrap_err(), UkiError::Room(16));
        let long = Section { name: ".ninechar", content: b"" };
        assert_eq!(assemble(&stub(), &[long]).unwrap_err(), UkiError::Section(".ninechar".into()));
    }
}
