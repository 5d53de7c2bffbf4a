//! What is wrong with images, root device hints and RAID volumes. Pure.

use super::super::url::{check_image_url, check_url, shown};
use super::super::{
    ChecksumType, CustomDeploy, DiskFormat, HardwareRaidVolume, Image, RaidConfig, RootDeviceHints,
    SoftwareRaidLevel, SoftwareRaidVolume,
};
use crate::invalid::Invalid;

/// What is wrong with an image, whose format has one of two names.
pub(crate) fn check_image(path: &str, format_field: &str, image: &Image, bad: &mut Vec<Invalid>) {
    if let Some(wrong) = check_image_url(&image.url) {
        bad.push(Invalid::new(format!("{path}.url"), shown(&image.url), wrong));
    }
    if let Some(format @ (DiskFormat::Vdi | DiskFormat::Vmdk)) = image.format {
        let name = format!("{format:?}").to_lowercase();
        bad.push(Invalid::new(
            format!("{path}.{format_field}"),
            name,
            "is not served: convert it to qcow2 or raw",
        ));
    }
    let checksum = image.checksum.as_deref().unwrap_or_default();
    registry(path, format_field, image, bad);
    if image.is_live_iso() || image.is_oci() {
        return;
    }
    if let Some(wrong) = check_checksum(checksum, image.checksum_type) {
        bad.push(Invalid::new(format!("{path}.checksum"), checksum, wrong));
    }
}

/// What is wrong with an image that stands at `path`.
#[must_use]
pub fn validate_image(path: &str, image: &Image) -> Vec<Invalid> {
    let mut bad = Vec::new();
    check_image(path, "format", image, &mut bad);
    bad
}

/// Another way to deploy than writing an image: nobody knows one.
pub(crate) fn check_custom_deploy(path: &str, deploy: Option<&CustomDeploy>, bad: &mut Vec<Invalid>) {
    let Some(deploy) = deploy else { return };
    let detail = "is no method that is known: give an image instead of customDeploy";
    bad.push(Invalid::new(format!("{path}.customDeploy.method"), &deploy.method, detail));
}

/// What a registry has to do with an image.
fn registry(path: &str, format_field: &str, image: &Image, bad: &mut Vec<Invalid>) {
    let secret = image.oci_auth_secret_name.as_deref().unwrap_or_default();
    if !secret.is_empty() && !image.url.starts_with("oci://") {
        let detail = "is for an image whose url begins with oci://: a password goes over TLS only";
        bad.push(Invalid::new(format!("{path}.ociAuthSecretName"), secret, detail));
    }
    if !image.is_oci() {
        return;
    }
    let checksum = image.checksum.as_deref().unwrap_or_default();
    if !checksum.is_empty() {
        let detail = "must be left out: a registry says the digest itself; put @sha256:… behind the url to have no other image";
        bad.push(Invalid::new(format!("{path}.checksum"), checksum, detail));
    }
    if image.is_live_iso() {
        let detail = "is read by the BMC, which knows no registries: put it where HTTP or HTTPS reaches it";
        bad.push(Invalid::new(format!("{path}.{format_field}"), "live-iso", detail));
    }
}

/// Why a text is no checksum of its type.
fn check_checksum(checksum: &str, given: Option<ChecksumType>) -> Option<String> {
    const FORMS: &str = "the digest in hexadecimal, or the URL of a file with digests";
    if checksum.is_empty() {
        return Some(format!("is needed: {FORMS}"));
    }
    if checksum.contains("://") {
        return check_url(checksum);
    }
    if !checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(format!("must be {FORMS}"));
    }
    let fits = |digits| checksum.len() == digits;
    match given.unwrap_or(ChecksumType::Auto) {
        ChecksumType::Md5 => (!fits(32)).then(|| "must have 32 digits for md5".to_owned()),
        ChecksumType::Sha256 => (!fits(64)).then(|| "must have 64 digits for sha256".to_owned()),
        ChecksumType::Sha512 => (!fits(128)).then(|| "must have 128 digits for sha512".to_owned()),
        ChecksumType::Auto => (![32, 64, 128].into_iter().any(fits))
            .then(|| "must have 32 (md5), 64 (sha256) or 128 (sha512) digits".to_owned()),
    }
}

pub(super) fn check_hints(path: &str, hints: &RootDeviceHints, bad: &mut Vec<Invalid>) {
    let name = hints.device_name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return;
    }
    let below = name.strip_prefix("/dev/disk/by-path/").or_else(|| name.strip_prefix("/dev/"));
    if below.is_none_or(|below| below.is_empty() || below.contains('/')) {
        let detail = "must be a name below /dev/ or /dev/disk/by-path/, such as /dev/sda";
        bad.push(Invalid::new(format!("{path}.deviceName"), name, detail));
    }
}

pub(super) fn check_raid(raid: &RaidConfig, hints: bool, bad: &mut Vec<Invalid>) {
    let hardware = raid.hardware_raid_volumes.as_deref().unwrap_or_default();
    let software = raid.software_raid_volumes.as_deref().unwrap_or_default();
    if !hardware.is_empty() && !software.is_empty() {
        let detail = "hardwareRAIDVolumes and softwareRAIDVolumes exclude each other: leave one of them out";
        bad.push(Invalid::new("spec.raid", "", detail));
    }
    for (index, volume) in hardware.iter().enumerate() {
        hardware_volume(&format!("spec.raid.hardwareRAIDVolumes[{index}]"), volume, bad);
    }
    software_volumes(software, hints, bad);
    for (field, volumes) in [("hardwareRAIDVolumes", hardware.len()), ("softwareRAIDVolumes", software.len())]
    {
        if volumes > 0 {
            let detail = "volumes are not made yet: leave them out, and choose a disk with rootDeviceHints";
            bad.push(Invalid::new(format!("spec.raid.{field}"), format!("{volumes} volumes"), detail));
        }
    }
}

fn hardware_volume(path: &str, volume: &HardwareRaidVolume, bad: &mut Vec<Invalid>) {
    let disks = &volume.physical_disks;
    if !disks.is_empty() && volume.controller.as_deref().unwrap_or_default().is_empty() {
        let detail = "needs controller beside it: names of disks are those of a controller";
        bad.push(Invalid::new(format!("{path}.physicalDisks"), disks.join(","), detail));
    }
    if let Some(number) = volume.number_of_physical_disks
        && !disks.is_empty()
        && usize::try_from(number) != Ok(disks.len())
    {
        let detail = format!("must be the number of physicalDisks, which is {}", disks.len());
        bad.push(Invalid::new(format!("{path}.numberOfPhysicalDisks"), number, detail));
    }
}

fn software_volumes(volumes: &[SoftwareRaidVolume], hints: bool, bad: &mut Vec<Invalid>) {
    let roots: Vec<_> = volumes.iter().enumerate().filter(|(_, volume)| volume.root_volume).collect();
    let path = |index: usize, field: &str| format!("spec.raid.softwareRAIDVolumes[{index}].{field}");
    for (index, _) in roots.iter().skip(1) {
        bad.push(Invalid::new(path(*index, "rootVolume"), true, "only one volume can be the root"));
    }
    for (index, volume) in &roots {
        if hints {
            let detail = "excludes rootDeviceHints: both say where the image goes";
            bad.push(Invalid::new(path(*index, "rootVolume"), true, detail));
        }
        if volume.level != SoftwareRaidLevel::Raid1 {
            let level = if volume.level == SoftwareRaidLevel::Raid0 { "0" } else { "1+0" };
            bad.push(Invalid::new(path(*index, "level"), level, "must be 1 for the root volume"));
        }
    }
}
