//! A rack as `scute rack` commands it.

mod common;

use axum::http::StatusCode;
use common::{LOCAL, Rig, soon};
use scute_bmc::{Power, Reset};
use scute_qemu::bootsector::{self, Guest};
use scute_rack::control::{self, Answer, ControlError, Request};
use scute_rack::fault::{Fault, Which};
use scute_rack::rack::{self, Programs};
use scute_rack::{Firmware, HostConfig, Shape};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SYSTEM: &str = "Systems/1";

fn small() -> Shape {
    Shape { firmware: Firmware::Bios, memory_mib: 256, disks_mib: vec![1], ..Shape::default() }
}

#[tokio::test]
async fn a_rack_does_what_it_is_told() {
    let rig = Rig::new(&[small()]).await;
    std::fs::write(common::path(&rig, "a/disk-0.raw"), bootsector::disk(Guest::Echoes, "up")).unwrap();
    let host = rig.host("a");
    let Rig { dir, rack } = rig;
    let socket = dir.path().join("sock");
    let path = socket.clone();
    tokio::spawn(async move { control::serve(rack, &path).await.map(drop) });
    let ask = async |request| control::ask(&socket, &request).await;
    while matches!(ask(Request::List).await, Err(ControlError::Socket { .. })) {
        tokio::task::yield_now().await;
    }
    let hosts = async || match ask(Request::List).await.unwrap().0 {
        Answer::Hosts(hosts) => hosts,
        other => panic!("{other:?}"),
    };
    assert_eq!(hosts().await[0].power, Power::Off);
    assert_eq!(hosts().await[0].system, "/redfish/v1/Systems/1");

    // The serial port goes both ways.
    let (_, mut line) = ask(Request::Console { host: "a".into() }).await.unwrap();
    ask(Request::Power { host: "a".into(), reset: Reset::On }).await.unwrap();
    let mut said = String::new();
    let mut chunk = [0; 256];
    for (wanted, typed) in [("up", "anybody"), ("anybody", "")] {
        while !said.contains(wanted) {
            let read = soon(wanted, line.read(&mut chunk)).await.unwrap();
            said.push_str(&String::from_utf8_lossy(&chunk[..read]));
        }
        line.get_mut().write_all(typed.as_bytes()).await.unwrap();
    }
    assert_eq!(hosts().await[0].power, Power::On);

    // Faults.
    let wrong = async |fault| ask(Request::Fault { host: "a".into(), fault }).await.map(drop);
    let status = async || host.ask("GET", SYSTEM, Value::Null).await.0;
    let which = Which { times: Some(2), ..Which::default() };
    let busy = Fault::Http { status: 503, message: None, retry_after: None, which };
    wrong(busy).await.unwrap();
    let answers = [status().await, status().await, status().await];
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(answers, [unavailable, unavailable, StatusCode::OK]);
    wrong(Fault::WrongPassword).await.unwrap();
    assert_eq!(status().await, StatusCode::UNAUTHORIZED);
    let password = host.folder.password().unwrap();
    wrong(Fault::Clear { password }).await.unwrap();
    assert_eq!(status().await, StatusCode::OK);
    wrong(Fault::Link { nic: 0, up: false }).await.unwrap();
    assert_eq!(host.get("Systems/1/EthernetInterfaces/1").await["LinkStatus"], "LinkDown");
    let refused = wrong(Fault::Link { nic: 7, up: true }).await.unwrap_err().to_string();
    assert_eq!(refused, "there is no NIC 7");

    // Hosts come and go.
    let config = HostConfig::new("b", 1, 0, &small()).unwrap();
    rack::add(dir.path(), &config, &Programs::installed().unwrap(), LOCAL).unwrap();
    ask(Request::Refresh).await.unwrap();
    assert_eq!(hosts().await.len(), 2);
    std::fs::remove_dir_all(dir.path().join("b")).unwrap();
    ask(Request::Refresh).await.unwrap();
    assert_eq!(hosts().await.len(), 1);
    let refused = ask(Request::Console { host: "b".into() }).await.map(drop).unwrap_err().to_string();
    assert_eq!(refused, "there is no host b in the rack");
}
