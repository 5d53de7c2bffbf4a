//! Names that follow from a VMI, the same on every run of the controller.

use aws_lc_rs::digest::{SHA256, digest};
use kube::ResourceExt;
use scute_api::kubevirt::{VirtualMachineInstance, VirtualMachineInstanceSpec};

/// Letters and digits of generated suffixes, as the API server uses them: no vowels, no lookalikes.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Letters of a VMI's name in that of its Pod. A kubelet makes a folder `<namespace>_<Pod>_<UID>` of at most 255: with
/// 63 for the namespace and 36 for the UID, 154 are left for prefix, name and suffix.
const NAME_IN_POD: usize = 128;

/// Name of the launcher Pod: `virt-launcher-<vmi>-xxxxx`, with a long name cut. It follows from the UID, so that no
/// restart of the controller can make a second Pod, and two long names that begin alike have Pods of their own.
#[must_use]
pub fn pod_name(vmi: &VirtualMachineInstance) -> String {
    let hash = digest(&SHA256, vmi.uid().unwrap_or_default().as_bytes());
    let suffix: String = hash
        .as_ref()
        .iter()
        .take(5)
        .map(|byte| char::from(SUFFIX[usize::from(*byte) % SUFFIX.len()]))
        .collect();
    format!("virt-launcher-{}-{suffix}", cut(&vmi.name_any(), NAME_IN_POD))
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
    cut(name, 63)
}

/// The beginning of a name, ending in a letter or digit.
fn cut(name: &str, length: usize) -> String {
    name.chars()
        .take(length)
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

    #[test]
    fn the_longest_name_leaves_the_kubelet_room_for_its_folder() {
        let named = |name: &str, uid: &str| {
            let mut vmi = VirtualMachineInstance::new(name, VirtualMachineInstanceSpec::default());
            vmi.metadata.uid = Some(uid.into());
            pod_name(&vmi)
        };
        let long = format!("{}.{}", "v".repeat(127), "w".repeat(125));
        let (one, two) = (named(&long, "1"), named(&long, "2"));
        assert!(one.len() <= 154, "{}", one.len());
        assert!(
            one.starts_with(&format!("virt-launcher-{}-", "v".repeat(127))),
            "no dot before a dash: {one}"
        );
        assert_ne!(one, two);
    }
}
