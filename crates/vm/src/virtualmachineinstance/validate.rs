//! What the schema cannot say about a VMI: sums, names that must match, texts that must decode.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use scute_api::kubevirt::{CloudInit, DnsPolicy, Domain, Quantity, VirtualMachineInstanceSpec, Volume};
use scute_kit::FieldError;
use scute_launcher::spec::Bus;
use scute_qemu::Devices;

use super::guest::{disk_buses, interface_count};
use super::storage;

/// Longest inline cloud-init data, decoded; more has to come from a Secret.
const INLINE_MAX: usize = 2048;
/// Prefix of the names of the Pod's own volumes.
pub(crate) const RESERVED_PREFIX: &str = "scute-";
/// The most vCPUs that a guest of machine type q35 takes.
const VCPUS_MAX: u64 = 255;

/// Everything wrong with a spec whose fields are below `path`.
#[must_use]
pub fn validate(spec: &VirtualMachineInstanceSpec, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_resources(&spec.domain, &format!("{path}.domain"), &mut errors);
    check_storage(spec, path, &mut errors);
    check_disks(spec, path, &mut errors);
    check_networks(spec, path, &mut errors);
    check_room(spec, path, &mut errors);
    let mut names = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let path = format!("{path}.volumes[{index}]");
        if !names.insert(volume.name.as_str()) {
            let told = "is the name of another volume too";
            errors.push(FieldError::new(format!("{path}.name"), &volume.name, told));
        }
        check_volume(volume, &path, &mut errors);
    }
    if spec.dns_policy == Some(DnsPolicy::None) && spec.dns_config.is_none() {
        errors.push(FieldError::new(format!("{path}.dnsConfig"), "", "must be set when dnsPolicy is None"));
    }
    errors
}

fn check_resources(domain: &Domain, path: &str, errors: &mut Vec<FieldError>) {
    let guest = domain.memory.as_ref().and_then(|memory| memory.guest.as_ref());
    let requests = domain.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let limits = domain.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let named = [
        (format!("{path}.memory.guest"), guest),
        (format!("{path}.resources.requests.memory"), requests.and_then(|list| list.memory.as_ref())),
        (format!("{path}.resources.limits.memory"), limits.and_then(|list| list.memory.as_ref())),
    ];
    if named.iter().all(|(_, amount)| amount.is_none()) {
        errors.push(FieldError::new(
            named[0].0.clone(),
            "",
            "memory.guest, resources.requests.memory or resources.limits.memory must be set",
        ));
    }
    let read: Vec<Option<u64>> =
        named.iter().map(|(path, amount)| amount.and_then(|amount| units(amount, path, errors))).collect();
    for ((path, amount), bytes) in named.iter().zip(&read) {
        if bytes.is_some_and(|bytes| bytes < 1_000_000) {
            errors.push(FieldError::new(path, text(*amount), "must be at least 1M"));
        }
    }
    if let [guest, request, Some(limit)] = read.as_slice()
        && (guest.or(*request).is_some_and(|wanted| wanted > *limit)
            || request.is_some_and(|request| request > *limit))
    {
        errors.push(FieldError::new(
            &named[2].0,
            text(named[2].1),
            "must not be below the memory of the guest or the request",
        ));
    }
    check_cpu(domain, path, errors);
}

/// Disks of a size that is known must fit; that of a disk in an image is known to the launcher only.
fn check_storage(spec: &VirtualMachineInstanceSpec, path: &str, errors: &mut Vec<FieldError>) {
    let (request, limit) = storage::named(spec);
    let mut read = |which: &str, amount: Option<&Quantity>| {
        let path = format!("{path}.domain.resources.{which}.ephemeral-storage");
        let bytes = units(amount?, &path, errors)?;
        Some((path, bytes))
    };
    let (asked, most) = (read("requests", request), read("limits", limit));
    let Some((path, most)) = most else { return };
    if asked.is_some_and(|(_, asked)| asked > most) {
        errors.push(FieldError::new(&path, text(limit), "must not be below the request"));
    }
    let empty = spec.volumes.iter().filter_map(|volume| volume.empty_disk.as_ref()?.capacity.units().ok());
    let empty = empty.fold(0_u64, u64::saturating_add);
    if empty > most {
        let told = format!("must not be below the capacity of the emptyDisks, which is {empty} bytes");
        errors.push(FieldError::new(path, text(limit), told));
    }
}

fn check_cpu(domain: &Domain, path: &str, errors: &mut Vec<FieldError>) {
    let cpu = domain.cpu.clone().unwrap_or_default();
    let vcpus: u64 = [cpu.cores, cpu.sockets, cpu.threads].into_iter().flatten().map(u64::from).product();
    if vcpus > VCPUS_MAX {
        errors.push(FieldError::new(
            format!("{path}.cpu"),
            vcpus.to_string(),
            format!("cores x sockets x threads must be at most {VCPUS_MAX}"),
        ));
    }
    let resources = domain.resources.clone().unwrap_or_default();
    let mut milli = |which: &str, amount: Option<Quantity>| {
        let amount = amount?;
        let path = format!("{path}.resources.{which}.cpu");
        match amount.thousandths() {
            Ok(milli) => Some((path, amount, milli)),
            Err(error) => {
                errors.push(FieldError::new(path, amount.0, error.to_string()));
                None
            }
        }
    };
    let request = milli("requests", resources.requests.and_then(|list| list.cpu));
    let limit = milli("limits", resources.limits.and_then(|list| list.cpu));
    if let (Some((path, amount, request)), Some((_, _, limit))) = (request, limit)
        && request > limit
    {
        errors.push(FieldError::new(path, amount.0, "must not be above the limit"));
    }
}

fn check_disks(spec: &VirtualMachineInstanceSpec, path: &str, errors: &mut Vec<FieldError>) {
    let volumes: BTreeSet<_> = spec.volumes.iter().map(|volume| volume.name.as_str()).collect();
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for (index, disk) in spec.domain.devices.disks.iter().enumerate() {
        let path = format!("{path}.domain.devices.disks[{index}]");
        if !names.insert(disk.name.as_str()) {
            errors.push(FieldError::new(
                format!("{path}.name"),
                &disk.name,
                "is the name of another disk too",
            ));
        }
        if !volumes.contains(disk.name.as_str()) {
            errors.push(FieldError::new(
                format!("{path}.name"),
                &disk.name,
                "there is no volume of this name in spec.volumes",
            ));
        }
        if disk.boot_order.is_some_and(|place| !places.insert(place)) {
            let place = disk.boot_order.unwrap_or_default().to_string();
            errors.push(FieldError::new(
                format!("{path}.bootOrder"),
                place,
                "is the place of another disk too",
            ));
        }
    }
}

/// More disks than the machine has room for would be a guest that never starts.
fn check_room(spec: &VirtualMachineInstanceSpec, path: &str, errors: &mut Vec<FieldError>) {
    let buses = disk_buses(spec);
    let on = |bus| buses.iter().filter(|known| **known == bus).count();
    let devices = Devices {
        virtio: on(Bus::Virtio),
        sata: on(Bus::Sata),
        scsi: on(Bus::Scsi),
        nics: interface_count(&spec.domain.devices),
        spare: 0,
    };
    if let Err(error) = devices.fit() {
        let path = format!("{path}.domain.devices");
        errors.push(FieldError::new(path, format!("{} disks", buses.len()), error.to_string()));
    }
}

fn check_networks(spec: &VirtualMachineInstanceSpec, path: &str, errors: &mut Vec<FieldError>) {
    let interfaces = &spec.domain.devices.interfaces;
    for (index, interface) in interfaces.iter().enumerate() {
        if !spec.networks.iter().any(|network| network.name == interface.name) {
            errors.push(FieldError::new(
                format!("{path}.domain.devices.interfaces[{index}].name"),
                &interface.name,
                "there is no network of this name in spec.networks",
            ));
        }
    }
    for (index, network) in spec.networks.iter().enumerate() {
        if !interfaces.iter().any(|interface| interface.name == network.name) {
            errors.push(FieldError::new(
                format!("{path}.networks[{index}].name"),
                &network.name,
                "there is no interface of this name in spec.domain.devices.interfaces",
            ));
        }
    }
}

fn check_volume(volume: &Volume, path: &str, errors: &mut Vec<FieldError>) {
    if volume.name.starts_with(RESERVED_PREFIX) {
        errors.push(FieldError::new(
            format!("{path}.name"),
            &volume.name,
            format!("names that start with {RESERVED_PREFIX} belong to the Pod's own volumes"),
        ));
    }
    if let Some(disk) = &volume.container_disk {
        let parent = |file: &String| file.split('/').any(|part| part == "..");
        if let Some(file) = disk.path.as_ref().filter(|file| parent(file)) {
            errors.push(FieldError::new(format!("{path}.containerDisk.path"), file, "must not contain '..'"));
        }
    }
    if let Some(disk) = &volume.empty_disk {
        let path = format!("{path}.emptyDisk.capacity");
        if units(&disk.capacity, &path, errors).is_some_and(|bytes| bytes < 1 << 20) {
            errors.push(FieldError::new(path, &disk.capacity.0, "must be at least 1Mi"));
        }
    }
    if let Some(data) = &volume.cloud_init_no_cloud {
        check_cloud_init(data, &format!("{path}.cloudInitNoCloud"), errors);
    }
    if let Some(data) = &volume.cloud_init_config_drive {
        check_cloud_init(data, &format!("{path}.cloudInitConfigDrive"), errors);
    }
}

fn check_cloud_init(data: &CloudInit, path: &str, errors: &mut Vec<FieldError>) {
    let user = data.user_data.is_some() || data.user_data_base64.is_some() || data.secret_ref.is_some();
    let network = data.network_data.is_some()
        || data.network_data_base64.is_some()
        || data.network_data_secret_ref.is_some();
    if !user && !network {
        errors.push(FieldError::new(
            path,
            "",
            "one of userData, userDataBase64, secretRef, networkData, networkDataBase64 and networkDataSecretRef must be set",
        ));
    }
    for (name, text, reference) in [
        ("userData", data.user_data.as_deref(), "secretRef"),
        ("networkData", data.network_data.as_deref(), "networkDataSecretRef"),
    ] {
        check_length(text.map(str::len), &format!("{path}.{name}"), reference, errors);
    }
    for (name, text, reference) in [
        ("userDataBase64", data.user_data_base64.as_deref(), "secretRef"),
        ("networkDataBase64", data.network_data_base64.as_deref(), "networkDataSecretRef"),
    ] {
        let path = format!("{path}.{name}");
        match text.map(|text| STANDARD.decode(text)) {
            Some(Err(_)) => errors.push(FieldError::new(path, "<not shown>", "is not base64")),
            Some(Ok(bytes)) => check_length(Some(bytes.len()), &path, reference, errors),
            None => {}
        }
    }
}

/// Only the length is repeated: what is inside may be a password.
fn check_length(length: Option<usize>, path: &str, reference: &str, errors: &mut Vec<FieldError>) {
    if let Some(length) = length.filter(|length| *length > INLINE_MAX) {
        errors.push(FieldError::new(
            path,
            format!("<{length} bytes>"),
            format!("inline data is limited to {INLINE_MAX} bytes; put it into a Secret and name it in {reference}"),
        ));
    }
}

fn units(amount: &Quantity, path: &str, errors: &mut Vec<FieldError>) -> Option<u64> {
    match amount.units() {
        Ok(units) => Some(units),
        Err(error) => {
            errors.push(FieldError::new(path, &amount.0, error.to_string()));
            None
        }
    }
}

fn text(amount: Option<&Quantity>) -> String {
    amount.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
