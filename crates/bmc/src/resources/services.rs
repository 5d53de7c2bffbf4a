//! The root and the services under it.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{collection, link, ok, system};
use crate::account::{ROLES, account_document, session_document};
use crate::machine::Facts;
use crate::service::Service;

pub fn root(service: &Service) -> Value {
    let mut document = json!({
        "@odata.id": "/redfish/v1/",
        "@odata.type": "#ServiceRoot.v1_16_0.ServiceRoot",
        "Id": "RootService",
        "Name": "Root Service",
        "RedfishVersion": "1.18.0",
        "UUID": system::service_uuid(&service.machine.facts()),
        "Vendor": service.profile.vendor,
        "Product": "Baseboard Management Controller",
        "ProtocolFeaturesSupported": {
            "ExcerptQuery": false,
            "FilterQuery": false,
            "OnlyMemberQuery": false,
            "SelectQuery": false,
            "ExpandQuery": {"ExpandAll": false, "Levels": false, "Links": false, "NoLinks": false},
        },
        "Systems": link("/redfish/v1/Systems"),
        "Managers": link("/redfish/v1/Managers"),
        "Chassis": link("/redfish/v1/Chassis"),
        "AccountService": link("/redfish/v1/AccountService"),
        "UpdateService": link("/redfish/v1/UpdateService"),
        "Tasks": link("/redfish/v1/TaskService"),
        "Registries": link("/redfish/v1/Registries"),
        "JsonSchemas": link("/redfish/v1/JsonSchemas"),
        "Links": {},
    });
    if !service.profile.quirks.no_sessions {
        document["SessionService"] = link("/redfish/v1/SessionService");
        document["Links"]["Sessions"] = link("/redfish/v1/SessionService/Sessions");
    }
    document
}

/// OData's own list of the links of the root.
pub fn odata(service: &Service) -> Value {
    let root = root(service);
    let links = root.as_object().into_iter().flatten().filter_map(|(name, value)| {
        let url = value.get("@odata.id")?;
        Some(json!({"name": name, "kind": "Singleton", "url": url}))
    });
    let service = json!({"name": "Service", "kind": "Singleton", "url": "/redfish/v1/"});
    let value: Vec<Value> = std::iter::once(service).chain(links).collect();
    json!({"@odata.context": "/redfish/v1/$metadata", "value": value})
}

pub fn session_service(service: &Service) -> Value {
    json!({
        "@odata.id": "/redfish/v1/SessionService",
        "@odata.type": "#SessionService.v1_1_9.SessionService",
        "Id": "SessionService",
        "Name": "Session Service",
        "ServiceEnabled": true,
        "SessionTimeout": service.state().session_timeout,
        "Status": ok(),
        "Sessions": link("/redfish/v1/SessionService/Sessions"),
    })
}

pub fn sessions(service: &Service) -> Value {
    let mut state = service.state();
    state.access.expire(service.profile.quirks.token_ttl, Instant::now());
    let ids = state.access.sessions.iter().map(|session| session.id.clone()).collect();
    collection("Session", "/redfish/v1/SessionService/Sessions", ids)
}

pub fn session(service: &Service, id: &str) -> Option<Value> {
    service.state().access.sessions.iter().find(|session| session.id == id).map(session_document)
}

pub fn account_service(service: &Service) -> Value {
    let lockout = service.state().lockout;
    json!({
        "@odata.id": "/redfish/v1/AccountService",
        "@odata.type": "#AccountService.v1_15_0.AccountService",
        "Id": "AccountService",
        "Name": "Account Service",
        "ServiceEnabled": true,
        "MinPasswordLength": 8,
        "MaxPasswordLength": 64,
        "AccountLockoutThreshold": lockout.map_or(0, |(refusals, _)| refusals),
        "AccountLockoutDuration": lockout.map_or(0, |(_, locked)| locked.as_secs()),
        "Status": ok(),
        "Accounts": link("/redfish/v1/AccountService/Accounts"),
        "Roles": link("/redfish/v1/AccountService/Roles"),
    })
}

pub fn accounts(service: &Service) -> Value {
    let ids = service.state().access.accounts.iter().map(|account| account.id.clone()).collect();
    collection("ManagerAccount", "/redfish/v1/AccountService/Accounts", ids)
}

pub fn account(service: &Service, id: &str) -> Option<Value> {
    let mut state = service.state();
    state.access.account(id).map(|account| account_document(account, Instant::now()))
}

pub fn roles() -> Value {
    let names = ROLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    collection("Role", "/redfish/v1/AccountService/Roles", names)
}

pub fn role(id: &str) -> Option<Value> {
    let (name, privileges) = ROLES.iter().find(|(name, _)| *name == id)?;
    Some(json!({
        "@odata.id": format!("/redfish/v1/AccountService/Roles/{name}"),
        "@odata.type": "#Role.v1_3_1.Role",
        "Id": name,
        "RoleId": name,
        "Name": "User Role",
        "IsPredefined": true,
        "AssignedPrivileges": privileges,
    }))
}

pub fn update_service() -> Value {
    json!({
        "@odata.id": "/redfish/v1/UpdateService",
        "@odata.type": "#UpdateService.v1_14_0.UpdateService",
        "Id": "UpdateService",
        "Name": "Update Service",
        "ServiceEnabled": false,
        "Status": {"State": "Disabled", "Health": "OK"},
        "FirmwareInventory": link("/redfish/v1/UpdateService/FirmwareInventory"),
        "Actions": {"#UpdateService.SimpleUpdate": {
            "target": "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate",
            "TransferProtocol@Redfish.AllowableValues": ["HTTP", "HTTPS"],
        }},
    })
}

pub fn firmware(service: &Service, facts: &Facts, at: usize) -> Value {
    let (id, version) =
        if at == 0 { ("BIOS", &facts.bios_version) } else { ("BMC", &service.profile.firmware) };
    json!({
        "@odata.id": format!("/redfish/v1/UpdateService/FirmwareInventory/{id}"),
        "@odata.type": "#SoftwareInventory.v1_10_2.SoftwareInventory",
        "Id": id,
        "Name": format!("{id} Firmware"),
        "Version": version,
        "Updateable": false,
        "Status": ok(),
    })
}

pub fn task_service() -> Value {
    json!({
        "@odata.id": "/redfish/v1/TaskService",
        "@odata.type": "#TaskService.v1_2_1.TaskService",
        "Id": "TaskService",
        "Name": "Task Service",
        "ServiceEnabled": true,
        "Status": ok(),
        "Tasks": link("/redfish/v1/TaskService/Tasks"),
    })
}
