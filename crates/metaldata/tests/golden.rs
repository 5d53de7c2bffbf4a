//! Numbered stories: a Metal3DataTemplate, a server, and what the server is told. `SCUTE_UPDATE=1` writes the answers anew.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scute_api::infrastructure::{Metal3DataTemplate, validate_data_template};
use scute_api::metal3::Nic;
use scute_metaldata::{Facts, PoolAddress, pools, render_metadata, render_networkdata};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    index: i32,
    machine: ObjectMeta,
    metal3_machine: ObjectMeta,
    host: ObjectMeta,
    boot_mac: Option<String>,
    #[serde(default)]
    nics: Vec<Nic>,
    #[serde(default)]
    addresses: BTreeMap<String, Address>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Address {
    address: IpAddr,
    prefix: Option<u8>,
    gateway: Option<IpAddr>,
    #[serde(default)]
    dns_servers: Vec<IpAddr>,
}

fn answer(story: &Path) -> String {
    let read = |name: &str| fs::read_to_string(story.join(name)).unwrap();
    let template: Metal3DataTemplate = serde_saphyr::from_str(&read("template.yaml")).unwrap();
    assert_eq!(validate_data_template(&template), [], "{}", story.display());
    let server: Server = serde_saphyr::from_str(&read("server.yaml")).unwrap();
    let address = |(pool, found): (&String, &Address)| {
        let Address { address, prefix, gateway, dns_servers } = found;
        let found = PoolAddress {
            address: *address,
            prefix: *prefix,
            gateway: *gateway,
            dns_servers: dns_servers.clone(),
        };
        (pool.clone(), found)
    };
    let addresses = server.addresses.iter().map(address).collect();
    let facts = Facts {
        index: server.index,
        machine: &server.machine,
        metal3_machine: &server.metal3_machine,
        host: &server.host,
        boot_mac: server.boot_mac.as_deref(),
        nics: &server.nics,
        addresses: &addresses,
    };
    let mut out = read("story.txt");
    match pools(&template.spec, &facts) {
        Ok(pools) => {
            for pool in pools.values() {
                out += &format!("\npool {}: {} of {}", pool.name, pool.kind, pool.api_group);
            }
        }
        Err(error) => out += &format!("\nno pools: {error}"),
    }
    let told = |name: &str, rendered: Option<Result<String, scute_metaldata::RenderError>>| match rendered {
        None => String::new(),
        Some(Ok(text)) => format!("\n\n{name}\n{}", text.trim_end()),
        Some(Err(error)) => format!("\n\nno {name}: {error}"),
    };
    out += &told("metaData", template.spec.meta_data.as_ref().map(|data| render_metadata(data, &facts)));
    out += &told(
        "networkData",
        template.spec.network_data.as_ref().map(|data| render_networkdata(data, &facts)),
    );
    format!("{out}\n")
}

#[test]
fn every_story_ends_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    scute_testkit::every_story_ends_as_written(&root, answer);
}
