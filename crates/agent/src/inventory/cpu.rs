//! Processors.

use std::collections::BTreeSet;

use super::sysfs::{Folder, list};
use crate::protocol::Cpu;

pub fn read(sys: &Folder, proc: &Folder) -> Cpu {
    let text = proc.text("cpuinfo");
    let field = |name: &str| {
        let value = |line: &str| {
            line.split_once(':')
                .filter(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim().to_owned())
        };
        text.lines().find_map(value).unwrap_or_default()
    };
    let flags: BTreeSet<String> = [field("flags"), field("Features")]
        .iter()
        .flat_map(|flags| flags.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let kilohertz: Option<u32> = sys.number("devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    let now = field("cpu MHz").split('.').next().and_then(|megahertz| megahertz.parse().ok());
    Cpu {
        arch: std::env::consts::ARCH.to_owned(),
        model: field("model name"),
        megahertz: kilohertz.map(|kilohertz| kilohertz / 1000).or(now).unwrap_or_default(),
        flags: flags.into_iter().collect(),
        count: list(&sys.text("devices/system/cpu/online")).len() as u32,
    }
}
