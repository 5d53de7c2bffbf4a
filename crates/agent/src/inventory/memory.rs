//! Memory and NUMA nodes.

use super::sysfs::{Folder, list};
use crate::protocol::NumaNode;

const MEMORY_DEVICE: u8 = 17;
const END: u8 = 127;

/// MiB of all modules by SMBIOS; where it says nothing, what the kernel has.
pub fn built_in(sys: &Folder, proc: &Folder) -> u64 {
    match modules(&sys.bytes("firmware/dmi/tables/DMI")) {
        0 => kibibytes(&proc.text("meminfo"), "MemTotal:").unwrap_or_default() / 1024,
        modules => modules,
    }
}

/// Walks the structures of SMBIOS: <https://www.dmtf.org/standards/smbios>.
fn modules(mut table: &[u8]) -> u64 {
    let mut sum = 0;
    while let [kind, length, ..] = *table {
        let Some(formatted) = table.get(..length.into()).filter(|_| length >= 4) else { break };
        if kind == MEMORY_DEVICE {
            sum += module(formatted).unwrap_or_default();
        }
        // Text follows, and ends with two zeros.
        let text = &table[length.into()..];
        let Some(end) = text.windows(2).position(|two| two == [0, 0]) else { break };
        table = &text[end + 2..];
        if kind == END {
            break;
        }
    }
    sum
}

/// MiB of one module.
fn module(structure: &[u8]) -> Option<u64> {
    match u16::from_le_bytes(structure.get(12..14)?.try_into().ok()?) {
        // Empty, not known.
        0 | 0xffff => None,
        0x7fff => Some((u32::from_le_bytes(structure.get(28..32)?.try_into().ok()?) & 0x7fff_ffff).into()),
        small if small & 0x8000 != 0 => Some(u64::from(small & 0x7fff) / 1024),
        mebibytes => Some(mebibytes.into()),
    }
}

pub fn nodes(sys: &Folder) -> Vec<NumaNode> {
    let node = |folder: Folder| {
        let id = folder.name().strip_prefix("node")?.parse().ok()?;
        let memory = kibibytes(&folder.text("meminfo"), "MemTotal:").unwrap_or_default() / 1024;
        Some(NumaNode { id, cpus: list(&folder.text("cpulist")), memory_mebibytes: memory })
    };
    sys.folders("devices/system/node").into_iter().filter_map(node).collect()
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains(name))?;
    line.split(name).nth(1)?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(kind: u8, fields: &[(usize, &[u8])], length: u8) -> Vec<u8> {
        let mut bytes = vec![0; length.into()];
        bytes[..2].copy_from_slice(&[kind, length]);
        for (at, value) in fields {
            bytes[*at..at + value.len()].copy_from_slice(value);
        }
        bytes.extend(b"DIMM 0\0\0");
        bytes
    }

    #[test]
    fn modules_of_every_kind_of_size_are_summed() {
        let table = [
            structure(0, &[], 24),
            structure(17, &[(12, &16384_u16.to_le_bytes())], 40),
            structure(17, &[(12, &0_u16.to_le_bytes())], 40),
            structure(17, &[(12, &0x7fff_u16.to_le_bytes()), (28, &65_536_u32.to_le_bytes())], 40),
            structure(17, &[(12, &0x8800_u16.to_le_bytes())], 40),
            structure(127, &[], 4),
            structure(17, &[(12, &1_u16.to_le_bytes())], 40),
        ]
        .concat();
        assert_eq!(modules(&table), 16384 + 65_536 + 2);
        for cut in 0..table.len() {
            modules(&table[..cut]);
        }
        assert_eq!(modules(&[17, 0, 0, 0]), 0);
    }
}
