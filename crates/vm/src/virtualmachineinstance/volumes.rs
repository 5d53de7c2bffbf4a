//! The volumes of a launcher Pod: images of disks, Secrets of cloud-init, devices.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, ImageVolumeSource, KeyToPath, LocalObjectReference, Secret, SecretVolumeSource,
    Volume as PodVolume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use kube::ResourceExt;
use scute_api::kubevirt::{CloudInit, PullPolicy, VirtualMachineInstance, VirtualMachineInstanceSpec};

use super::guest::{CLOUD_INIT_DIR, DISKS_DIR, KERNEL_DIR};
use super::names::pod_name;
use super::pod::owner;
use super::storage::Storage;
use scute_launcher::spec::{RUN_DIR, STATE_DIR};

/// Two short documents and a device node, with a large margin.
const RUN_BYTES: u64 = 16 << 20;

/// The volumes of the Pod and their places in `compute`.
pub(super) fn volumes(vmi: &VirtualMachineInstance, storage: &Storage) -> (Vec<PodVolume>, Vec<VolumeMount>) {
    let disks = storage.limit.saturating_add(storage.around);
    let mut volumes = vec![empty_dir("scute-run", RUN_BYTES), empty_dir("scute-state", disks)];
    let mut mounts = vec![mount("scute-run", RUN_DIR, false), mount("scute-state", STATE_DIR, false)];
    for volume in &vmi.spec.volumes {
        if let Some(disk) = &volume.container_disk {
            volumes.push(image(&volume.name, &disk.image, disk.image_pull_policy));
            mounts.push(mount(&volume.name, &format!("{DISKS_DIR}/{}", volume.name), true));
        }
        for data in [&volume.cloud_init_no_cloud, &volume.cloud_init_config_drive].into_iter().flatten() {
            for (folder, source) in seeds(vmi, &volume.name, data) {
                let name = if folder == "user" {
                    volume.name.clone()
                } else {
                    format!("scute-network-{}", mounts.len())
                };
                mounts.push(mount(&name, &format!("{CLOUD_INIT_DIR}/{}/{folder}", volume.name), true));
                volumes.push(PodVolume { name, secret: Some(source), ..PodVolume::default() });
            }
        }
    }
    let firmware = vmi.spec.domain.firmware.as_ref();
    if let Some(kernel) = firmware.and_then(|firmware| firmware.kernel_boot.as_ref()?.container.as_ref()) {
        volumes.push(image("scute-kernel", &kernel.image, kernel.image_pull_policy));
        mounts.push(mount("scute-kernel", KERNEL_DIR, true));
    }
    (volumes, mounts)
}

pub(super) fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// Secrets with the credentials of every image, each once.
pub(super) fn pull_secrets(spec: &VirtualMachineInstanceSpec) -> Option<Vec<LocalObjectReference>> {
    let disks =
        spec.volumes.iter().filter_map(|volume| volume.container_disk.as_ref()?.image_pull_secret.clone());
    let kernel =
        spec.domain.firmware.as_ref().and_then(|firmware| {
            firmware.kernel_boot.as_ref()?.container.as_ref()?.image_pull_secret.clone()
        });
    let names: std::collections::BTreeSet<String> = disks.chain(kernel).collect();
    (!names.is_empty()).then(|| names.into_iter().map(|name| LocalObjectReference { name }).collect())
}

fn empty_dir(name: &str, bytes: u64) -> PodVolume {
    let size_limit = Some(ApiQuantity(bytes.to_string()));
    PodVolume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { size_limit, medium: None }),
        ..PodVolume::default()
    }
}

fn image(name: &str, reference: &str, policy: Option<PullPolicy>) -> PodVolume {
    let policy = policy.unwrap_or_else(|| default_policy(reference));
    PodVolume {
        name: name.to_owned(),
        image: Some(ImageVolumeSource {
            reference: Some(reference.to_owned()),
            pull_policy: Some(policy.as_str().to_owned()),
        }),
        ..PodVolume::default()
    }
}

/// Always for the tag `latest` or none, else IfNotPresent.
fn default_policy(reference: &str) -> PullPolicy {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    let pinned = last.contains('@') || last.split_once(':').is_some_and(|(_, tag)| tag != "latest");
    if pinned { PullPolicy::IfNotPresent } else { PullPolicy::Always }
}

const KEY_SPELLINGS: [(&str, &str); 2] = [("user", "userdata"), ("network", "networkdata")];

/// The Secrets of a seed by the folder that they are mounted at.
fn seeds(
    vmi: &VirtualMachineInstance,
    volume: &str,
    data: &CloudInit,
) -> Vec<(&'static str, SecretVolumeSource)> {
    let named = [&data.secret_ref, &data.network_data_secret_ref];
    let inline = inline_data(data);
    let mut seeds = Vec::new();
    for (((folder, key), named), inline) in KEY_SPELLINGS.into_iter().zip(named).zip(inline) {
        if let Some(reference) = named {
            seeds.push((folder, secret(&reference.name, None)));
        } else if inline.is_some() {
            let item = KeyToPath { key: format!("{volume}-{key}"), path: key.to_owned(), mode: None };
            seeds.push((folder, secret(&pod_name(vmi), Some(vec![item]))));
        }
    }
    seeds
}

/// A Secret that is missing keeps the Pod waiting, and it starts when the Secret is there.
fn secret(name: &str, items: Option<Vec<KeyToPath>>) -> SecretVolumeSource {
    SecretVolumeSource {
        secret_name: Some(name.to_owned()),
        items,
        default_mode: Some(0o440),
        optional: None,
    }
}

/// User data and network data that stand in the spec. Base64 was checked on admission.
fn inline_data(data: &CloudInit) -> [Option<Vec<u8>>; 2] {
    let read = |text: &Option<String>, encoded: &Option<String>| match (text, encoded) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(encoded)) => STANDARD.decode(encoded).ok(),
        (None, None) => None,
    };
    [read(&data.user_data, &data.user_data_base64), read(&data.network_data, &data.network_data_base64)]
}

/// The Secret that carries the inline data of all volumes into the Pod, if there is any: like every
/// Secret it is mounted, so that the Pod's spec has no data in it.
#[must_use]
pub fn inline_secret(vmi: &VirtualMachineInstance) -> Option<Secret> {
    let mut contents = BTreeMap::new();
    for volume in &vmi.spec.volumes {
        for data in [&volume.cloud_init_no_cloud, &volume.cloud_init_config_drive].into_iter().flatten() {
            for ((_, key), bytes) in KEY_SPELLINGS.into_iter().zip(inline_data(data)) {
                contents.extend(bytes.map(|bytes| (format!("{}-{key}", volume.name), ByteString(bytes))));
            }
        }
    }
    if contents.is_empty() {
        return None;
    }
    let mut secret = Secret { data: Some(contents), immutable: Some(true), ..Secret::default() };
    secret.metadata.name = Some(pod_name(vmi));
    secret.metadata.namespace = vmi.namespace();
    secret.metadata.owner_references = Some(owner(vmi).into_iter().collect());
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_a_tag_are_pulled_always() {
        for (reference, policy) in [
            ("debian", PullPolicy::Always),
            ("registry:5000/debian", PullPolicy::Always),
            ("registry:5000/debian:latest", PullPolicy::Always),
            ("registry:5000/debian:12", PullPolicy::IfNotPresent),
            ("debian@sha256:abc", PullPolicy::IfNotPresent),
        ] {
            assert_eq!(default_policy(reference), policy, "{reference}");
        }
    }
}
