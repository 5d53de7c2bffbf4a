//! Names that follow from a VMI, the same on every run of the controller.

use aws_lc_rs::digest::{SHA256, digest};
use kube::ResourceExt;
use scute_api::kubevirt::{VirtualMachineInstance, VirtualMachineInstanceSpec};

/// Letters and digits of generated suffixes, as the API server uses them: no vowels, no lookalikes.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Name of the launcher Pod: `virt-launcher-<vmi>-xxxxx`. It follows from the UID, so that no restart of
/// the controller can make a second Pod.
#[must_use]
pub fn pod_name(vmi: &VirtualMachineInstance) -> String {
    let hash = digest(&SHA256, vmi.uid().unwrap_or_default().as_bytes());
    let suffix: String = hash
        .as_ref()
        .iter()
        .take(5)
        .map(|byte| char::from(SUFFIX[usize::from(*byte) % SUFFIX.len()]))
        .collect();
    format!("virt-launcher-{}-{suffix}", vmi.name_any())
}

/// Host name of the guest: as asked for, else the name up to the first dot, cut to 63 characters.
#[must_use]
pub fn hostname(name: &str, spec: &VirtualMachineInstanceSpec) -> String {
    spec.hostname.clone().unwrap_or_else(|| {
        let label = name.split('.').next().unwrap_or(name);
        label.chars().take(63).collect::<String>().trim_end_matches('-').to_owned()
    })
}

/// A name as a label value: cut to 63 characters that end in a letter or digit.
#[must_use]
pub fn label_value(name: &str) -> String {
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

/// UUID of the machine unless the user sets one: the same for each VMI of this name, so that a guest
/// knows itself after a restart.
#[must_use]
pub fn machine_uuid(namespace: &str, name: &str) -> String {
    let hash = digest(&SHA256, format!("{namespace}/{name}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    // Version 8 (a hash of one's own choice), variant RFC 9562.
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_valid() {
        let mut vmi = VirtualMachineInstance::new("worker-0", VirtualMachineInstanceSpec::default());
        vmi.metadata.uid = Some("b1b0c6f4-0000-0000-0000-000000000001".into());
        assert_eq!(pod_name(&vmi), pod_name(&vmi.clone()));
        assert_eq!(pod_name(&vmi).len(), "virt-launcher-worker-0-xxxxx".len());
        vmi.metadata.uid = Some("b1b0c6f4-0000-0000-0000-000000000002".into());
        assert_ne!(pod_name(&vmi), pod_name(&VirtualMachineInstance::new("worker-0", Default::default())));
        let spec = VirtualMachineInstanceSpec::default();
        assert_eq!(hostname("worker-0.pool.example", &spec), "worker-0");
        assert_eq!(hostname(&"a".repeat(70), &spec).len(), 63);
        assert_eq!(label_value(&format!("{}-b", "a".repeat(62))), "a".repeat(62));
        let uuid = machine_uuid("default", "worker-0");
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "8"));
        assert_ne!(uuid, machine_uuid("default", "worker-1"));
    }
}
