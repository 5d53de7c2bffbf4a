//! What describes the rest: metadata, schemas, the registry of messages.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::collection;
use crate::answer::{BASE, MESSAGES};

/// The schemas that the service uses: namespace and version, empty for those without.
const SCHEMAS: [(&str, &str); 39] = [
    ("AccountService", "v1_15_0"),
    ("Bios", "v1_2_1"),
    ("Chassis", "v1_25_0"),
    ("ChassisCollection", ""),
    ("ComputerSystem", "v1_20_0"),
    ("ComputerSystemCollection", ""),
    ("Drive", "v1_17_0"),
    ("DriveCollection", ""),
    ("EthernetInterface", "v1_9_0"),
    ("EthernetInterfaceCollection", ""),
    ("JsonSchemaFile", "v1_1_5"),
    ("JsonSchemaFileCollection", ""),
    ("Manager", "v1_19_0"),
    ("ManagerAccount", "v1_12_0"),
    ("ManagerAccountCollection", ""),
    ("ManagerCollection", ""),
    ("Memory", "v1_17_0"),
    ("MemoryCollection", ""),
    ("MessageRegistryFile", "v1_1_5"),
    ("MessageRegistryFileCollection", ""),
    ("Processor", "v1_18_0"),
    ("ProcessorCollection", ""),
    ("Role", "v1_3_1"),
    ("RoleCollection", ""),
    ("ServiceRoot", "v1_16_0"),
    ("Session", "v1_5_0"),
    ("SessionCollection", ""),
    ("SessionService", "v1_1_9"),
    ("SoftwareInventory", "v1_10_2"),
    ("SoftwareInventoryCollection", ""),
    ("Storage", "v1_15_0"),
    ("StorageCollection", ""),
    ("StorageController", "v1_7_0"),
    ("StorageControllerCollection", ""),
    ("TaskService", "v1_2_1"),
    ("UpdateService", "v1_14_0"),
    ("VirtualMedia", "v1_6_0"),
    ("VirtualMediaCollection", ""),
    ("VolumeCollection", ""),
];
const AT: &str = "http://redfish.dmtf.org/schemas/v1";

/// OData's description of the service, XML.
pub fn metadata() -> Value {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <edmx:Edmx xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\" Version=\"4.0\">\n",
    );
    for (name, version) in SCHEMAS {
        // Writing to a String does not fail.
        let _ = writeln!(xml, "  <edmx:Reference Uri=\"{AT}/{name}_v1.xml\">");
        let _ = writeln!(xml, "    <edmx:Include Namespace=\"{name}\"/>");
        if !version.is_empty() {
            let _ = writeln!(xml, "    <edmx:Include Namespace=\"{name}.{version}\"/>");
        }
        xml.push_str("  </edmx:Reference>\n");
    }
    let _ = writeln!(xml, "  <edmx:Reference Uri=\"{AT}/RedfishExtensions_v1.xml\">");
    xml.push_str(
        "    <edmx:Include Namespace=\"RedfishExtensions.v1_0_0\" Alias=\"Redfish\"/>\n  </edmx:Reference>\n  \
         <edmx:DataServices>\n    <Schema xmlns=\"http://docs.oasis-open.org/odata/ns/edm\" Namespace=\"Service\">\n      \
         <EntityContainer Name=\"Service\" Extends=\"ServiceRoot.v1_16_0.ServiceContainer\"/>\n    \
         </Schema>\n  </edmx:DataServices>\n</edmx:Edmx>\n",
    );
    Value::String(xml)
}

pub fn schemas() -> Value {
    let names = SCHEMAS.iter().map(|(name, _)| (*name).to_owned()).collect();
    collection("JsonSchemaFile", "/redfish/v1/JsonSchemas", names)
}

pub fn schema(name: &str) -> Option<Value> {
    let (name, version) = SCHEMAS.iter().find(|(known, _)| *known == name)?;
    let full = if version.is_empty() { (*name).to_owned() } else { format!("{name}.{version}") };
    Some(json!({
        "@odata.id": format!("/redfish/v1/JsonSchemas/{name}"),
        "@odata.type": "#JsonSchemaFile.v1_1_5.JsonSchemaFile",
        "Id": name,
        "Name": format!("{name} Schema File"),
        "Schema": format!("#{full}.{name}"),
        "Languages": ["en"],
        "Location": [{"Language": "en", "PublicationUri": format!("{AT}/{full}.json")}],
    }))
}

pub fn registries() -> Value {
    collection("MessageRegistryFile", "/redfish/v1/Registries", vec!["Base".into()])
}

pub fn registry() -> Value {
    json!({
        "@odata.id": "/redfish/v1/Registries/Base",
        "@odata.type": "#MessageRegistryFile.v1_1_5.MessageRegistryFile",
        "Id": "Base",
        "Name": "Base Message Registry File",
        "Registry": BASE,
        "Languages": ["en"],
        "Location": [{"Language": "en", "Uri": "/redfish/v1/Registries/Base/Base.json"}],
    })
}

/// The registry itself: the messages that the service uses.
pub fn registry_file() -> Value {
    let messages = MESSAGES.iter().map(|(name, words, severity, resolution)| {
        let args = words.matches('%').count();
        let mut message = json!({
            "Description": words,
            "Message": words,
            "MessageSeverity": severity,
            "NumberOfArgs": args,
            "Resolution": resolution,
        });
        if args > 0 {
            message["ParamTypes"] = json!(vec!["string"; args]);
        }
        ((*name).to_owned(), message)
    });
    json!({
        "@odata.type": "#MessageRegistry.v1_6_3.MessageRegistry",
        "Id": format!("{BASE}.0"),
        "Name": "Base Message Registry",
        "Description": "The messages of DMTF's base registry that this service uses.",
        "Language": "en",
        "RegistryPrefix": "Base",
        "RegistryVersion": format!("{}.0", BASE.trim_start_matches("Base.")),
        "OwningEntity": "DMTF",
        "Messages": messages.collect::<Map<String, Value>>(),
    })
}
