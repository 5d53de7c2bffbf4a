//! A small ISO 9660 image with Rock Ridge names (Linux, BSD) and Joliet names (Windows): pure.
//!
//! Layout in sectors: 16 primary descriptor, 17 Joliet descriptor, 18 terminator, 19-22 path tables, then the
//! directories of the primary tree, the same of the Joliet tree, then the files, which both trees share.

pub(crate) mod boot;

/// Bytes of a sector, and of every directory: ours are small.
pub(crate) const SECTOR: usize = 2048;
const FIRST_PATH_TABLE: usize = 19;
const FIRST_DIRECTORY: usize = 23;
/// Names longer than this might not fit a directory record together with their Rock Ridge entries.
const NAME_LIMIT: usize = 60;

/// Why an image cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A name is empty or too long.
    #[error("the name {0:?} is empty or longer than 60 bytes")]
    Name(String),
    /// A directory or a path table is longer than one sector.
    #[error("too many entries in one directory")]
    Entries,
    /// A file is larger than the format can say.
    #[error("{0:?} is too large")]
    Large(String),
}

/// Both trees have the same shape; they differ in names and descriptors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Primary,
    Joliet,
}

/// A directory: its parent's index (the root is its own), its name, its files as indices.
struct Directory<'a> {
    parent: usize,
    name: &'a str,
    files: Vec<usize>,
}

struct Layout<'a> {
    files: &'a [(&'a str, &'a [u8])],
    directories: Vec<Directory<'a>>,
}

/// An image with volume identifier `volume` and these files, named by their path with `/` between directories.
pub fn image(volume: &str, files: &[(&str, &[u8])]) -> Result<Vec<u8>, LayoutError> {
    let layout = Layout::new(files)?;
    let mut image = vec![0; layout.end() * SECTOR];
    let mut put =
        |sector: usize, bytes: &[u8]| image[sector * SECTOR..][..bytes.len()].copy_from_slice(bytes);
    let trees = [Tree::Primary, Tree::Joliet];
    for (index, tree) in trees.into_iter().enumerate() {
        put(16 + index, &layout.descriptor(tree, volume)?);
        put(FIRST_PATH_TABLE + 2 * index, &layout.path_table(tree, u32::to_le_bytes, u16::to_le_bytes)?);
        put(FIRST_PATH_TABLE + 2 * index + 1, &layout.path_table(tree, u32::to_be_bytes, u16::to_be_bytes)?);
        for directory in 0..layout.directories.len() {
            put(layout.directory_sector(tree, directory), &layout.directory(tree, directory)?);
        }
    }
    put(18, b"\xffCD001\x01");
    for (index, (_, bytes)) in files.iter().enumerate() {
        put(layout.file_sector(index), bytes);
    }
    Ok(image)
}

impl<'a> Layout<'a> {
    fn new(files: &'a [(&'a str, &'a [u8])]) -> Result<Layout<'a>, LayoutError> {
        let mut layout =
            Layout { files, directories: vec![Directory { parent: 0, name: "", files: vec![] }] };
        for (index, (path, bytes)) in files.iter().enumerate() {
            u32::try_from(bytes.len()).map_err(|_| LayoutError::Large((*path).to_owned()))?;
            let mut at = 0;
            let mut parts = path.split('/').peekable();
            while let Some(name) = parts.next() {
                if name.is_empty() || name.len() > NAME_LIMIT {
                    return Err(LayoutError::Name(name.to_owned()));
                }
                match parts.peek() {
                    Some(_) => at = layout.enter(at, name),
                    None => layout.directories[at].files.push(index),
                }
            }
        }
        Ok(layout)
    }

    /// The directory `name` in `parent`, made if need be.
    fn enter(&mut self, parent: usize, name: &'a str) -> usize {
        let known = self.children(parent).find(|child| self.directories[*child].name == name);
        known.unwrap_or_else(|| {
            self.directories.push(Directory { parent, name, files: vec![] });
            self.directories.len() - 1
        })
    }

    fn children(&self, parent: usize) -> impl Iterator<Item = usize> {
        (1..self.directories.len()).filter(move |child| self.directories[*child].parent == parent)
    }

    fn directory_sector(&self, tree: Tree, directory: usize) -> usize {
        let tree = if tree == Tree::Primary { 0 } else { self.directories.len() };
        FIRST_DIRECTORY + tree + directory
    }

    fn file_sector(&self, index: usize) -> usize {
        let first = FIRST_DIRECTORY + 2 * self.directories.len();
        first + self.files[..index].iter().map(|(_, bytes)| bytes.len().div_ceil(SECTOR)).sum::<usize>()
    }

    fn end(&self) -> usize {
        self.file_sector(self.files.len()).max(FIRST_DIRECTORY + 2 * self.directories.len())
    }

    fn descriptor(&self, tree: Tree, volume: &str) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = vec![0; SECTOR];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        let table = FIRST_PATH_TABLE + if tree == Tree::Primary { 0 } else { 2 };
        put(0, if tree == Tree::Primary { b"\x01CD001\x01" } else { b"\x02CD001\x01" });
        put(8, &text(tree, "", 32));
        put(40, &text(tree, volume, 32));
        put(80, &both32(self.end()));
        if tree == Tree::Joliet {
            put(88, b"%/E");
        }
        put(120, &both16(1));
        put(124, &both16(1));
        put(128, &both16(SECTOR));
        put(132, &both32(self.path_table(tree, u32::to_le_bytes, u16::to_le_bytes)?.len()));
        put(140, &(table as u32).to_le_bytes());
        put(148, &(table as u32 + 1).to_be_bytes());
        put(156, &record(&[0], self.directory_sector(tree, 0), SECTOR, true, &[]));
        for (at, length) in [(190, 128), (318, 128), (446, 128), (574, 128), (702, 37), (739, 37), (776, 37)]
        {
            put(at, &text(tree, "", length));
        }
        for at in [813, 830, 847, 864] {
            put(at, b"0000000000000000\0");
        }
        put(881, &[1]);
        Ok(bytes)
    }

    /// Directories in breadth-first order would be required for deep trees; ours are listed parent before child.
    fn path_table(
        &self,
        tree: Tree,
        u32_bytes: fn(u32) -> [u8; 4],
        u16_bytes: fn(u16) -> [u8; 2],
    ) -> Result<Vec<u8>, LayoutError> {
        let mut table = Vec::new();
        for (index, directory) in self.directories.iter().enumerate() {
            let name = if index == 0 { vec![0] } else { identifier(tree, directory.name, index, true) };
            table.extend([name.len() as u8, 0]);
            table.extend(u32_bytes(self.directory_sector(tree, index) as u32));
            table.extend(u16_bytes(directory.parent as u16 + 1));
            table.extend(&name);
            table.resize(table.len().next_multiple_of(2), 0);
        }
        if table.len() > SECTOR { Err(LayoutError::Entries) } else { Ok(table) }
    }

    fn directory(&self, tree: Tree, index: usize) -> Result<Vec<u8>, LayoutError> {
        let sector = |directory| self.directory_sector(tree, directory);
        let rock = |entries: Vec<u8>| if tree == Tree::Primary { entries } else { vec![] };
        let own = if index == 0 { [rock_root(), rock_mode(true)].concat() } else { rock_mode(true) };
        let mut entries = Vec::new();
        for child in self.children(index) {
            let name = self.directories[child].name;
            let system = rock([rock_name(name), rock_mode(true)].concat());
            let name = identifier(tree, name, child, true);
            entries.push((name.clone(), record(&name, sector(child), SECTOR, true, &system)));
        }
        for file in &self.directories[index].files {
            let (path, bytes) = self.files[*file];
            let name = path.rsplit('/').next().unwrap_or(path);
            let system = rock([rock_name(name), rock_mode(false)].concat());
            let name = identifier(tree, name, *file, false);
            entries.push((name.clone(), record(&name, self.file_sector(*file), bytes.len(), false, &system)));
        }
        entries.sort();
        let mut bytes = record(&[0], sector(index), SECTOR, true, &rock(own));
        bytes.extend(record(
            &[1],
            sector(self.directories[index].parent),
            SECTOR,
            true,
            &rock(rock_mode(true)),
        ));
        bytes.extend(entries.into_iter().flat_map(|(_, record)| record));
        if bytes.len() > SECTOR { Err(LayoutError::Entries) } else { Ok(bytes) }
    }
}

/// The identifier in a directory record. Primary names are 8.3 at most, made unique by `index`: readers of this tree
/// without Rock Ridge see odd names, but every file.
fn identifier(tree: Tree, name: &str, index: usize, directory: bool) -> Vec<u8> {
    match tree {
        Tree::Joliet => name.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        Tree::Primary => {
            let letters = name.chars().filter(char::is_ascii_alphanumeric).take(6);
            let short: String = letters.map(|letter| letter.to_ascii_uppercase()).collect();
            let suffix = if directory { "" } else { ".;1" };
            format!("{short}{index:02}{suffix}").into_bytes()
        }
    }
}

/// A directory record.
fn record(identifier: &[u8], sector: usize, length: usize, directory: bool, system: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both32(sector));
    bytes.extend(both32(length));
    bytes.extend(TIME);
    bytes.extend([if directory { 2 } else { 0 }, 0, 0]);
    bytes.extend(both16(1));
    bytes.push(identifier.len() as u8);
    bytes.extend(identifier);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes.extend(system);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes[0] = bytes.len() as u8;
    bytes
}

/// 1980-01-01 00:00:00 UTC: images depend on their content only.
const TIME: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];

/// SP and ER: this image uses Rock Ridge.
fn rock_root() -> Vec<u8> {
    [&b"SP\x07\x01\xbe\xef\x00"[..], b"ER\x12\x01\x0a\x00\x00\x01", b"RRIP_1991A"].concat()
}

/// NM: the real name.
fn rock_name(name: &str) -> Vec<u8> {
    [b"NM", &[5 + name.len() as u8, 1, 0][..], name.as_bytes()].concat()
}

/// PX: mode, links, owner. Readable by root only: user data may hold tokens.
fn rock_mode(directory: bool) -> Vec<u8> {
    let mode = if directory { 0o040_500 } else { 0o100_400 };
    [&b"PX\x24\x01"[..], &both32(mode), &both32(1), &both32(0), &both32(0)].concat()
}

/// Text padded with spaces to `length` bytes, UCS-2 in the Joliet tree.
fn text(tree: Tree, text: &str, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = match tree {
        Tree::Primary => text.bytes().take(length).collect(),
        Tree::Joliet => text.encode_utf16().take(length / 2).flat_map(u16::to_be_bytes).collect(),
    };
    while bytes.len() < length {
        match tree {
            Tree::Joliet if length - bytes.len() > 1 => bytes.extend([0, b' ']),
            Tree::Joliet => bytes.push(0),
            Tree::Primary => bytes.push(b' '),
        }
    }
    bytes
}

fn both32(value: usize) -> [u8; 8] {
    let value = value as u32;
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn both16(value: usize) -> [u8; 4] {
    let value = value as u16;
    let mut bytes = [0; 4];
    bytes[..2].copy_from_slice(&value.to_le_bytes());
    bytes[2..].copy_from_slice(&value.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn run(program: &str, args: &[&str]) -> String {
        let output =
            Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn files() -> Vec<(&'static str, &'static [u8])> {
        static LARGE: [u8; 300_000] = [7; 300_000];
        vec![
            ("openstack/latest/meta_data.json", b"{}\n"),
            ("openstack/latest/user_data", &LARGE),
            ("openstack/latest/network_data.json", b""),
            ("meta-data", b"instance-id: a\n"),
        ]
    }

    /// libblkid is what cloud-init's detection asks.
    #[test]
    fn the_volume_is_found_by_its_label() {
        let dir = tempfile::tempdir().unwrap();
        for label in ["cidata", "config-2"] {
            let path = dir.path().join("seed.iso");
            std::fs::write(&path, image(label, &files()).unwrap()).unwrap();
            let found = run("blkid", &["-p", "-o", "export", path.to_str().unwrap()]);
            assert!(found.contains(&format!("LABEL={label}\n")) && found.contains("TYPE=iso9660"), "{found}");
        }
    }

    /// An independent reader finds every file by its long name, in either tree.
    #[test]
    fn both_trees_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.iso");
        std::fs::write(&path, image("config-2", &files()).unwrap()).unwrap();
        for tree in ["nojoliet", "norock"] {
            let root = dir.path().join(tree);
            let (path, to) = (path.to_str().unwrap(), root.to_str().unwrap());
            let args = ["-read_fs", tree, "-osirrox", "on", "-indev", path, "-extract", "/", to];
            run("xorriso", &args);
            for (path, bytes) in files() {
                assert!(std::fs::read(root.join(path)).unwrap() == bytes, "{tree}: {path}");
            }
            run("chmod", &["-R", "u+w", to]);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = "x".repeat(61);
        assert!(matches!(image("a", &[(&long, b"")]), Err(LayoutError::Name(_))));
        assert!(matches!(image("a", &[("a//b", b"")]), Err(LayoutError::Name(_))));
        let many: Vec<String> = (0..60).map(|index| format!("{index:050}")).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
        assert!(matches!(image("a", &many), Err(LayoutError::Entries)));
    }
}
