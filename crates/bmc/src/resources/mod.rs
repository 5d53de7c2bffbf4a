//! The documents. In: a service and a place. Out: what a GET of it shows.

mod hardware;
mod odd;
mod schema;
mod services;
mod storage;
mod system;

use serde_json::{Value, json};

use crate::bios;
use crate::media;
use crate::path::{Owner, Place};
use crate::quirks::MediaOn;
use crate::service::Service;

/// The document at a place; `None` when there is no such element.
pub fn document(service: &Service, place: &Place) -> Option<Value> {
    let mut document = plain(service, place)?;
    if service.profile.quirks.odd_documents {
        odd::spoil(&mut document, place);
    }
    Some(document)
}

fn plain(service: &Service, place: &Place) -> Option<Value> {
    let ids = &service.profile.ids;
    let facts = service.machine.facts();
    let system = format!("/redfish/v1/Systems/{}", ids.system);
    let chassis = format!("/redfish/v1/Chassis/{}", ids.chassis);
    let document = match place {
        Place::Versions => json!({"v1": "/redfish/v1/"}),
        Place::Root => services::root(service),
        Place::Odata => services::odata(service),
        Place::Metadata => schema::metadata(),
        Place::Registries => schema::registries(),
        Place::Registry => schema::registry(),
        Place::RegistryFile => schema::registry_file(),
        Place::Schemas => schema::schemas(),
        Place::Schema(name) => schema::schema(name)?,
        Place::SessionService => services::session_service(service),
        Place::Sessions => services::sessions(service),
        Place::Session(id) => services::session(service, id)?,
        Place::AccountService => services::account_service(service),
        Place::Accounts => services::accounts(service),
        Place::Account(id) => services::account(service, id)?,
        Place::Roles => services::roles(),
        Place::Role(id) => services::role(id)?,
        Place::Systems => system::systems(service),
        Place::System => system::system(service, &facts),
        Place::DecoySystem => system::decoy(),
        Place::BootSettings => system::settings(service),
        Place::Nics => {
            numbered("EthernetInterface", &format!("{system}/EthernetInterfaces"), facts.nics.len())
        }
        Place::Nic(at) => hardware::nic(&system, *at, facts.nics.get(*at)?),
        Place::Processors => numbered("Processor", &format!("{system}/Processors"), facts.processors.len()),
        Place::Processor(at) => hardware::processor(&system, *at, facts.processors.get(*at)?),
        Place::MemoryModules => numbered("Memory", &format!("{system}/Memory"), facts.memory.len()),
        Place::MemoryModule(at) => hardware::memory(&system, *at, facts.memory.get(*at)?),
        Place::StorageCollection => numbered("Storage", &format!("{system}/Storage"), 1),
        Place::Storage => storage::storage(&system, &chassis, facts.drives.len()),
        Place::Controllers => numbered("StorageController", &format!("{system}/Storage/1/Controllers"), 1),
        Place::Controller => storage::controller(&system),
        Place::Volumes => storage::volumes(&system),
        Place::Bios => bios::document(service, &system),
        Place::BiosSettings => bios::settings(service, &system),
        Place::Media(owner) => {
            let path = media::collection(service, *owner);
            numbered("VirtualMedia", &path, service.profile.quirks.slots.len())
        }
        Place::Slot(owner, at) => media::document(service, *owner, *at)?,
        Place::Managers => collection("Manager", "/redfish/v1/Managers", vec![ids.manager.clone()]),
        Place::Manager => system::manager(service, &facts),
        Place::Attributes => system::attributes(service),
        Place::ChassisCollection => collection("Chassis", "/redfish/v1/Chassis", vec![ids.chassis.clone()]),
        Place::Chassis => system::chassis(service, &facts),
        Place::Drives => numbered("Drive", &format!("{chassis}/Drives"), facts.drives.len()),
        Place::Drive(at) => storage::drive(&chassis, *at, facts.drives.get(*at)?),
        Place::UpdateService => services::update_service(),
        Place::FirmwareInventory => {
            let names = vec!["BIOS".into(), "BMC".into()];
            collection("SoftwareInventory", "/redfish/v1/UpdateService/FirmwareInventory", names)
        }
        Place::Firmware(at) => services::firmware(service, &facts, *at),
        Place::TaskService => services::task_service(),
        Place::Tasks => collection("Task", "/redfish/v1/TaskService/Tasks", Vec::new()),
        Place::Reset | Place::Insert(..) | Place::Eject(..) | Place::SimpleUpdate => return None,
    };
    Some(document)
}

/// A collection whose members are numbered from 1.
fn numbered(kind: &str, path: &str, count: usize) -> Value {
    collection(kind, path, (1..=count).map(|at| at.to_string()).collect())
}

fn collection(kind: &str, path: &str, members: Vec<String>) -> Value {
    let members: Vec<Value> =
        members.into_iter().map(|member| json!({"@odata.id": format!("{path}/{member}")})).collect();
    json!({
        "@odata.id": path,
        "@odata.type": format!("#{kind}Collection.{kind}Collection"),
        "Name": format!("{kind} Collection"),
        "Members@odata.count": members.len(),
        "Members": members,
    })
}

fn link(path: impl Into<String>) -> Value {
    json!({"@odata.id": path.into()})
}

fn ok() -> Value {
    json!({"State": "Enabled", "Health": "OK"})
}

/// The link to the slots, where they are this owner's.
fn media_link(service: &Service, owner: Owner) -> Option<Value> {
    let here = match owner {
        Owner::System => service.profile.quirks.media_on != MediaOn::Manager,
        Owner::Manager => service.profile.quirks.media_on != MediaOn::System,
    };
    here.then(|| link(media::collection(service, owner)))
}
