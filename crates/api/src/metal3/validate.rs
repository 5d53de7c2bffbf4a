//! What the webhook says of a BareMetalHost. Pure.

mod disks;
mod extra;

pub use disks::validate_image;
pub(crate) use disks::{check_custom_deploy, check_image};
pub use extra::*;

use super::annotation::{
    self, HARDWARE_DETAILS_ANNOTATION, INSPECT_ANNOTATION, INSPECT_DISABLED, STATUS_ANNOTATION,
};
use super::{
    BareMetalHost, BareMetalHostSpec, BmcAddress, BootMode, InspectionMode, OperationalStatus, PROFILES,
    ProvisioningState,
};
use crate::invalid::Invalid;

/// Everything that is wrong with a host.
#[must_use]
pub fn validate_host(host: &BareMetalHost) -> Vec<Invalid> {
    let mut bad = Vec::new();
    name(host, &mut bad);
    bmc(host, &mut bad);
    secrets(host, &mut bad);
    power(host, &mut bad);
    unserved(&host.spec, &mut bad);
    inspection(host, &mut bad);
    annotations(host, &mut bad);
    let spec = &host.spec;
    if let Some(image) = &spec.image {
        check_image("spec.image", "format", image, &mut bad);
    }
    if let Some(hints) = &spec.root_device_hints {
        disks::check_hints("spec.rootDeviceHints", hints, &mut bad);
    }
    if let Some(raid) = &spec.raid {
        disks::check_raid(raid, spec.root_device_hints.is_some(), &mut bad);
    }
    let profile = spec.hardware_profile.as_deref().unwrap_or_default();
    if !profile.is_empty() && !PROFILES.contains(&profile) {
        let detail = format!("is none of {}; better say the disk in rootDeviceHints", PROFILES.join(", "));
        bad.push(Invalid::new("spec.hardwareProfile", profile, detail));
    }
    bad
}

/// Everything that is wrong with a change of a host, and with the host as it becomes.
#[must_use]
pub fn validate_host_change(old: &BareMetalHost, new: &BareMetalHost) -> Vec<Invalid> {
    let mut bad = validate_host(new);
    let (was, now) = (&old.spec, &new.spec);
    let status = old.status.clone().unwrap_or_default();
    let state = status.provisioning.state;

    let address =
        |spec: &BareMetalHostSpec| spec.bmc.as_ref().map(|bmc| bmc.address.clone()).unwrap_or_default();
    let free = matches!(
        state,
        ProvisioningState::None | ProvisioningState::Unmanaged | ProvisioningState::Registering
    ) || status.operational_status == OperationalStatus::Detached;
    if !address(was).is_empty() && address(was) != address(now) && !free {
        let detail = "can be changed while the host is registering, or detached with the annotation baremetalhost.metal3.io/detached";
        bad.push(Invalid::new("spec.bmc.address", address(now), detail));
    }
    let mac = |spec: &BareMetalHostSpec| spec.boot_mac_address.clone().unwrap_or_default();
    if !mac(was).is_empty() && !mac(was).eq_ignore_ascii_case(&mac(now)) {
        let detail = format!("cannot be changed once it is set: it is {}", mac(was));
        bad.push(Invalid::new("spec.bootMACAddress", mac(now), detail));
    }
    if !was.externally_provisioned && now.externally_provisioned && state != ProvisioningState::Available {
        let detail = "can be set when the host is made, and while it is available";
        bad.push(Invalid::new("spec.externallyProvisioned", true, detail));
    }
    bad
}

fn name(host: &BareMetalHost, bad: &mut Vec<Invalid>) {
    let name = host.metadata.name.as_deref().unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !name.bytes().all(allowed) {
        bad.push(Invalid::new(
            "metadata.name",
            name,
            "may contain letters, digits, dots, dashes and underscores",
        ));
    }
    if is_uuid(name) {
        bad.push(Invalid::new("metadata.name", name, "must not be a UUID: those are the hosts' own"));
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = groups.iter().map(|group| group.len()).collect();
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.iter().all(|group| hex(group)) && (lengths == [8, 4, 4, 4, 12] || lengths == [32])
}

fn bmc(host: &BareMetalHost, bad: &mut Vec<Invalid>) {
    let address = host.spec.bmc.as_ref().map(|bmc| bmc.address.as_str()).unwrap_or_default();
    if address.is_empty() {
        return;
    }
    if let Err(error) = address.parse::<BmcAddress>() {
        // An address with a user name may have a password too.
        let shown = if address.contains('@') { "" } else { address };
        bad.push(Invalid::new("spec.bmc.address", shown, error));
    }
    let mac = host.spec.boot_mac_address.as_deref().unwrap_or_default();
    if mac.is_empty() && host.inspection() == InspectionMode::Disabled {
        let detail = "is needed when inspection is disabled: nothing else says which interface is the host's";
        bad.push(Invalid::new("spec.bootMACAddress", "", detail));
    }
}

fn secrets(host: &BareMetalHost, bad: &mut Vec<Invalid>) {
    let spec = &host.spec;
    for (field, secret) in
        [("userData", &spec.user_data), ("metaData", &spec.meta_data), ("networkData", &spec.network_data)]
    {
        let namespace = secret.as_ref().and_then(|secret| secret.namespace.as_deref()).unwrap_or_default();
        if !namespace.is_empty() && Some(namespace) != host.metadata.namespace.as_deref() {
            let detail = "must be the namespace of the host, or nothing";
            bad.push(Invalid::new(format!("spec.{field}.namespace"), namespace, detail));
        }
    }
}

fn power(host: &BareMetalHost, bad: &mut Vec<Invalid>) {
    if host.spec.disable_power_off && !host.spec.online {
        let detail = "a host that is never powered off must be online";
        bad.push(Invalid::new("spec.disablePowerOff", true, detail));
    }
}

/// Architecture of the ramdisk, and so of every server that it is started on.
const ARCHITECTURE: &str = "x86_64";

/// Upstream's choices that nobody carries out here.
fn unserved(spec: &BareMetalHostSpec, bad: &mut Vec<Invalid>) {
    if spec.boot_mode == Some(BootMode::UefiSecureBoot) {
        let detail = "is not served: the loader of the ramdisk is not signed; use UEFI";
        bad.push(Invalid::new("spec.bootMode", "UEFISecureBoot", detail));
    }
    if spec.inspection_mode == Some(InspectionMode::Fast) {
        let detail = "is not served: agent looks from the server itself, disabled does not look";
        bad.push(Invalid::new("spec.inspectionMode", "fast", detail));
    }
    check_custom_deploy("spec", spec.custom_deploy.as_ref(), bad);
    let architecture = spec.architecture.as_deref().unwrap_or_default();
    if !["", ARCHITECTURE].contains(&architecture) {
        let detail = format!("is not served: the ramdisk is for {ARCHITECTURE}");
        bad.push(Invalid::new("spec.architecture", architecture, detail));
    }
}

fn inspection(host: &BareMetalHost, bad: &mut Vec<Invalid>) {
    let Some(value) = host.annotation(INSPECT_ANNOTATION).filter(|value| !value.is_empty()) else { return };
    if let Some(mode) = host.spec.inspection_mode
        && (value == INSPECT_DISABLED) != (mode == InspectionMode::Disabled)
    {
        let detail =
            format!("contradicts the annotation {INSPECT_ANNOTATION}: {value}; leave one of them out");
        bad.push(Invalid::new("spec.inspectionMode", format!("{mode:?}").to_lowercase(), detail));
    }
}

fn annotations(host: &BareMetalHost, bad: &mut Vec<Invalid>) {
    for (name, value) in host.metadata.annotations.iter().flatten() {
        let wrong = match name.as_str() {
            STATUS_ANNOTATION if !value.is_empty() => annotation::read_status(value).err(),
            INSPECT_ANNOTATION if !["", INSPECT_DISABLED].contains(&value.as_str()) => {
                Some("must be disabled, or empty to inspect once more".to_owned())
            }
            HARDWARE_DETAILS_ANNOTATION if !value.is_empty() => hardware_details(host, value),
            name if annotation::is_reboot(name) => annotation::Reboot::read(value).err(),
            _ => None,
        };
        bad.extend(
            wrong.map(|wrong| Invalid::new(format!("metadata.annotations[{name}]"), shown(value), wrong)),
        );
    }
}

/// A whole status would bury the message.
fn shown(value: &str) -> String {
    value.chars().take(100).collect()
}

fn hardware_details(host: &BareMetalHost, value: &str) -> Option<String> {
    if host.inspection() != InspectionMode::Disabled {
        return Some("is read when inspection is disabled: set spec.inspectionMode to disabled".to_owned());
    }
    annotation::read_hardware_details(value).err()
}

#[cfg(test)]
mod tests;
