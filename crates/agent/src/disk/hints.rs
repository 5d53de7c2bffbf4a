//! Which disk an image goes to: <https://book.metal3.io/bmo/root_device_hints>.

use crate::protocol::{Disk, RootDeviceHints};

const GIB: u64 = 1 << 30;
/// Without hints a smaller disk is none: upstream's rule.
const SMALLEST: u64 = 4 * GIB;

/// No disk is the one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HintError {
    /// Hints.
    #[error("no disk fits rootDeviceHints; there are: {0}")]
    None(String),
    /// No hints.
    #[error("no disk has at least 4 GiB; there are: {0}")]
    Small(String),
}

/// The smallest of the disks that fit.
pub fn choose<'a>(disks: &'a [Disk], hints: &RootDeviceHints) -> Result<&'a Disk, HintError> {
    let hinted = *hints != RootDeviceHints::default();
    let fitting =
        disks.iter().filter(|disk| if hinted { fits(disk, hints) } else { disk.size_bytes >= SMALLEST });
    // Of equal ones the first by name, each time the same.
    let chosen = fitting.min_by(|a, b| (a.size_bytes, &a.name).cmp(&(b.size_bytes, &b.name)));
    chosen.ok_or_else(|| if hinted { HintError::None(list(disks)) } else { HintError::Small(list(disks)) })
}

fn fits(disk: &Disk, hints: &RootDeviceHints) -> bool {
    // No `..`: a hint that is not looked at would choose the wrong disk.
    let RootDeviceHints {
        device_name,
        hctl,
        model,
        vendor,
        serial_number,
        min_size_gigabytes,
        wwn,
        wwn_with_extension,
        wwn_vendor_extension,
        rotational,
    } = hints;
    let same = |hint: &Option<String>, value: &str| {
        hint.as_ref().is_none_or(|hint| hint.eq_ignore_ascii_case(value))
    };
    let part = |hint: &Option<String>, value: &str| {
        hint.as_ref().is_none_or(|hint| value.to_lowercase().contains(&hint.to_lowercase()))
    };
    let named = |name: &String| disk.name == *name || disk.alternate_names.contains(name);
    let large = |gibibytes: &i64| disk.size_bytes / GIB >= u64::try_from(*gibibytes).unwrap_or_default();
    device_name.as_ref().is_none_or(named)
        && same(hctl, &disk.hctl)
        && part(model, &disk.model)
        && part(vendor, &disk.vendor)
        && same(serial_number, &disk.serial_number)
        && min_size_gigabytes.as_ref().is_none_or(large)
        && same(wwn, &disk.wwn)
        && same(wwn_with_extension, &disk.wwn_with_extension)
        && same(wwn_vendor_extension, &disk.wwn_vendor_extension)
        && rotational.is_none_or(|rotational| rotational == disk.rotational)
}

fn list(disks: &[Disk]) -> String {
    let one = |disk: &Disk| {
        let Disk { name, size_bytes, model, serial_number, .. } = disk;
        let words = [model, serial_number].map(String::as_str).join(" ");
        format!("{name} ({} GiB {})", size_bytes / GIB, words.trim()).replace(" )", ")")
    };
    if disks.is_empty() { "none".into() } else { disks.iter().map(one).collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks() -> Vec<Disk> {
        let disk = |name: &str, gibibytes: u64, model: &str, serial: &str, rotational: bool| Disk {
            name: format!("/dev/disk/by-path/{name}"),
            alternate_names: vec![format!("/dev/{name}")],
            size_bytes: gibibytes * GIB,
            model: model.into(),
            serial_number: serial.into(),
            rotational,
            ..Disk::default()
        };
        vec![
            disk("sda", 2, "Flash", "1", false),
            disk("sdb", 900, "ST900", "2", true),
            disk("sdc", 480, "PM893", "3", false),
        ]
    }

    fn chosen(hints: RootDeviceHints) -> Result<String, HintError> {
        choose(&disks(), &hints).map(|disk| disk.serial_number.clone())
    }

    #[test]
    fn the_smallest_that_fits_is_chosen() {
        let none = RootDeviceHints::default();
        assert_eq!(chosen(none.clone()).unwrap(), "3", "2 GiB are too few without a hint");
        let hints = [
            (RootDeviceHints { device_name: Some("/dev/sda".into()), ..none.clone() }, "1"),
            (RootDeviceHints { device_name: Some("/dev/disk/by-path/sdb".into()), ..none.clone() }, "2"),
            (RootDeviceHints { min_size_gigabytes: Some(481), ..none.clone() }, "2"),
            (RootDeviceHints { rotational: Some(true), ..none.clone() }, "2"),
            (RootDeviceHints { model: Some("pm8".into()), rotational: Some(false), ..none.clone() }, "3"),
            (RootDeviceHints { serial_number: Some("2".into()), ..none.clone() }, "2"),
        ];
        for (hints, serial) in hints {
            assert_eq!(chosen(hints).unwrap(), serial);
        }
    }

    #[test]
    fn what_was_seen_is_told_when_nothing_fits() {
        let hints = RootDeviceHints { serial_number: Some("4".into()), ..RootDeviceHints::default() };
        let error = chosen(hints).unwrap_err().to_string();
        assert!(error.contains("/dev/disk/by-path/sdb (900 GiB ST900 2)"), "{error}");
        assert!(choose(&disks()[..1], &RootDeviceHints::default()).is_err());
        assert_eq!(
            choose(&[], &RootDeviceHints::default()).unwrap_err().to_string(),
            "no disk has at least 4 GiB; there are: none"
        );
    }
}
