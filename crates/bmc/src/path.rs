//! Which resource an address names, and which methods it takes.

use crate::profile::Profile;
use crate::quirks::MediaOn;

/// A resource or an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Versions,
    Root,
    Odata,
    Metadata,
    Registries,
    Registry,
    RegistryFile,
    Schemas,
    Schema(String),
    SessionService,
    Sessions,
    Session(String),
    AccountService,
    Accounts,
    Account(String),
    Roles,
    Role(String),
    Systems,
    System,
    DecoySystem,
    BootSettings,
    Reset,
    Nics,
    Nic(usize),
    Processors,
    Processor(usize),
    MemoryModules,
    MemoryModule(usize),
    StorageCollection,
    Storage,
    Controllers,
    Controller,
    Volumes,
    Bios,
    BiosSettings,
    Media(Owner),
    Slot(Owner, usize),
    Insert(Owner, usize),
    Eject(Owner, usize),
    Managers,
    Manager,
    Attributes,
    ChassisCollection,
    Chassis,
    Drives,
    Drive(usize),
    UpdateService,
    SimpleUpdate,
    FirmwareInventory,
    Firmware(usize),
    TaskService,
    Tasks,
}

/// Whose slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    System,
    Manager,
}

/// The resource at this path, if the profile has one; whether the element exists is seen when it is read.
pub fn find(path: &str, profile: &Profile) -> Option<Place> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match &parts[..] {
        ["redfish"] => Some(Place::Versions),
        ["redfish", "v1"] => Some(Place::Root),
        ["redfish", "v1", rest @ ..] => below_root(rest, profile),
        _ => None,
    }
}

fn below_root(parts: &[&str], profile: &Profile) -> Option<Place> {
    let place = match parts {
        ["odata"] => Place::Odata,
        ["$metadata"] => Place::Metadata,
        ["Registries"] => Place::Registries,
        ["Registries", "Base"] => Place::Registry,
        ["Registries", "Base", "Base.json"] => Place::RegistryFile,
        ["JsonSchemas"] => Place::Schemas,
        ["JsonSchemas", name] => Place::Schema((*name).to_owned()),
        ["SessionService", ..] if profile.quirks.no_sessions => return None,
        ["SessionService"] => Place::SessionService,
        ["SessionService", "Sessions"] => Place::Sessions,
        ["SessionService", "Sessions", "Members"] => Place::Sessions,
        ["SessionService", "Sessions", id] => Place::Session((*id).to_owned()),
        ["AccountService"] => Place::AccountService,
        ["AccountService", "Accounts"] => Place::Accounts,
        ["AccountService", "Accounts", id] => Place::Account((*id).to_owned()),
        ["AccountService", "Roles"] => Place::Roles,
        ["AccountService", "Roles", id] => Place::Role((*id).to_owned()),
        ["Systems"] => Place::Systems,
        ["Systems", "DPU1"] if profile.quirks.decoy_systems => Place::DecoySystem,
        ["Systems", id, rest @ ..] if *id == profile.ids.system => return below_system(rest, profile),
        ["Managers"] => Place::Managers,
        ["Managers", id, rest @ ..] if *id == profile.ids.manager => return below_manager(rest, profile),
        ["Chassis"] => Place::ChassisCollection,
        ["Chassis", id, rest @ ..] if *id == profile.ids.chassis => return below_chassis(rest),
        ["UpdateService"] => Place::UpdateService,
        ["UpdateService", "Actions", "UpdateService.SimpleUpdate"] => Place::SimpleUpdate,
        ["UpdateService", "FirmwareInventory"] => Place::FirmwareInventory,
        ["UpdateService", "FirmwareInventory", "BIOS"] => Place::Firmware(0),
        ["UpdateService", "FirmwareInventory", "BMC"] => Place::Firmware(1),
        ["TaskService"] => Place::TaskService,
        ["TaskService", "Tasks"] => Place::Tasks,
        _ => return None,
    };
    Some(place)
}

fn below_system(parts: &[&str], profile: &Profile) -> Option<Place> {
    let place = match parts {
        [] => Place::System,
        ["Settings"] if profile.quirks.boot_in_settings || profile.quirks.settings_decoy => {
            Place::BootSettings
        }
        ["Actions", "ComputerSystem.Reset"] => Place::Reset,
        ["EthernetInterfaces"] => Place::Nics,
        ["EthernetInterfaces", id] => Place::Nic(number(id)?),
        ["Processors"] => Place::Processors,
        ["Processors", id] => Place::Processor(number(id)?),
        ["Memory"] => Place::MemoryModules,
        ["Memory", id] => Place::MemoryModule(number(id)?),
        ["Storage"] => Place::StorageCollection,
        ["Storage", "1"] => Place::Storage,
        ["Storage", "1", "Controllers"] => Place::Controllers,
        ["Storage", "1", "Controllers", "1"] => Place::Controller,
        ["Storage", "1", "Volumes"] => Place::Volumes,
        ["Bios"] => Place::Bios,
        ["Bios", "Settings"] => Place::BiosSettings,
        ["VirtualMedia", rest @ ..] => return below_media(Owner::System, rest, profile),
        _ => return None,
    };
    Some(place)
}

fn below_chassis(parts: &[&str]) -> Option<Place> {
    match parts {
        [] => Some(Place::Chassis),
        ["Drives"] => Some(Place::Drives),
        ["Drives", id] => Some(Place::Drive(number(id)?)),
        _ => None,
    }
}

fn below_manager(parts: &[&str], profile: &Profile) -> Option<Place> {
    match parts {
        [] => Some(Place::Manager),
        ["Attributes"] if profile.quirks.idrac_old => Some(Place::Attributes),
        ["VirtualMedia", rest @ ..] => below_media(Owner::Manager, rest, profile),
        _ => None,
    }
}

fn below_media(owner: Owner, parts: &[&str], profile: &Profile) -> Option<Place> {
    match (owner, profile.quirks.media_on) {
        (Owner::System, MediaOn::Manager) | (Owner::Manager, MediaOn::System) => return None,
        _ => {}
    }
    match parts {
        [] => Some(Place::Media(owner)),
        [id] => Some(Place::Slot(owner, number(id)?)),
        [id, "Actions", "VirtualMedia.InsertMedia"] => Some(Place::Insert(owner, number(id)?)),
        [id, "Actions", "VirtualMedia.EjectMedia"] => Some(Place::Eject(owner, number(id)?)),
        _ => None,
    }
}

/// Elements are numbered from 1 in addresses.
fn number(id: &str) -> Option<usize> {
    if id.starts_with('0') { None } else { id.parse::<usize>().ok()?.checked_sub(1) }
}

impl Place {
    /// The methods that the place takes, as the header Allow has them.
    pub fn allow(&self) -> &'static str {
        match self {
            Self::Reset | Self::Insert(..) | Self::Eject(..) | Self::SimpleUpdate => "POST",
            Self::Sessions | Self::Accounts | Self::Volumes => "GET, HEAD, POST",
            Self::Session(_) => "GET, HEAD, DELETE",
            Self::Account(_) => "GET, HEAD, PATCH, DELETE",
            Self::SessionService
            | Self::AccountService
            | Self::System
            | Self::BootSettings
            | Self::BiosSettings
            | Self::Attributes
            | Self::Slot(..) => "GET, HEAD, PATCH",
            _ => "GET, HEAD",
        }
    }

    /// Whether everybody may read it.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Versions | Self::Root | Self::Odata | Self::Metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_what_the_profile_has() {
        let plain = Profile::plain();
        let place = |path: &str| find(path, &plain);
        assert_eq!(place("/redfish"), Some(Place::Versions));
        assert_eq!(place("/redfish/v1/"), Some(Place::Root));
        assert_eq!(place("/redfish/v1/Systems/1/Processors/2"), Some(Place::Processor(1)));
        assert_eq!(place("/redfish/v1/Chassis/1/Drives/1"), Some(Place::Drive(0)));
        assert_eq!(place("/redfish/v1/Systems/1/VirtualMedia/1"), Some(Place::Slot(Owner::System, 0)));
        for nothing in ["/", "/redfish/v2", "/redfish/v1/Systems/2", "/redfish/v1/Managers/bmc/VirtualMedia"]
        {
            assert_eq!(place(nothing), None, "{nothing}");
        }
        assert_eq!(place("/redfish/v1/Systems/1/Processors/0"), None);
        assert_eq!(place("/redfish/v1/Systems/1/Processors/02"), None);
    }
}
