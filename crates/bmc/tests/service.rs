//! The service as its clients meet it: through its router.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use base64::Engine as _;
use scute_bmc::memory::{MemoryMachine, Start, facts};
use scute_bmc::{BootDevice, BootMode, Fault, Machine, Power, Profile, Rule, Service};
use serde_json::{Value, json};
use tower::ServiceExt;

const SYSTEM: &str = "/redfish/v1/Systems/1";
const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
const SLOT: &str = "/redfish/v1/Systems/1/VirtualMedia/1";

struct Rig {
    machine: Arc<MemoryMachine>,
    service: Arc<Service>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn message(&self) -> &str {
        self.body["error"]["@Message.ExtendedInfo"][0]["MessageId"].as_str().unwrap_or_default()
    }
}

impl Rig {
    fn new(knobs: &[&str]) -> Self {
        let machine = Arc::new(MemoryMachine::new(facts(1)));
        let profile = Profile::named("plain", knobs).unwrap();
        let service = Service::new(machine.clone(), profile, "admin", "password");
        Self { machine, service }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.service.router().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
        Answer { status, headers, body: if body == json!("") { Value::Null } else { body } }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.ask_with(method, path, body, &[]).await
    }

    async fn ask_with(&self, method: &str, path: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        let basic = base64::engine::general_purpose::STANDARD.encode("admin:password");
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Basic {basic}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(request.body(body).unwrap()).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.body
    }
}

fn bare(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

/// Every address in a document.
fn links(document: &Value, found: &mut Vec<String>) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(path) if name == "@odata.id" || name == "Uri" => found.push(path.to_owned()),
                    _ => links(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| links(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_link_leads_to_a_resource_that_says_who_it_is() {
    for knobs in
        [&[][..], &["vmedia-on=manager"], &["vmedia-on=both"], &["boot-in-settings"], &["no-sessions"]]
    {
        let rig = Rig::new(knobs);
        let (mut waiting, mut seen) = (vec!["/redfish/v1/".to_owned()], Vec::new());
        while let Some(path) = waiting.pop() {
            if seen.contains(&path) {
                continue;
            }
            let document = rig.get(&path).await;
            if !path.ends_with(".json") {
                assert_eq!(document["@odata.id"], json!(path));
            }
            assert!(document["@odata.type"].as_str().unwrap().starts_with('#'), "{path}");
            assert!(document["Name"].is_string(), "{path}");
            links(&document, &mut waiting);
            seen.push(path);
        }
        assert!(seen.len() > 60, "{} resources", seen.len());
    }
}

#[tokio::test]
async fn a_host_is_installed_from_virtual_media() {
    let rig = Rig::new(&[]);
    let insert = format!("{SLOT}/Actions/VirtualMedia.InsertMedia");
    let inserted = rig.ask("POST", &insert, json!({"Image": "http://a/b.iso"})).await;
    assert_eq!(inserted.status, StatusCode::NO_CONTENT);
    let boot = json!({"Boot": {"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once"}});
    assert_eq!(rig.ask("PATCH", SYSTEM, boot).await.status, StatusCode::OK);
    assert_eq!(rig.ask("POST", RESET, json!({"ResetType": "On"})).await.status, StatusCode::NO_CONTENT);
    rig.machine.guest_restarts();
    let cd = Start { device: BootDevice::Cd, mode: BootMode::Uefi, medium: Some("http://a/b.iso".into()) };
    let disk = Start { device: BootDevice::Hdd, mode: BootMode::Uefi, medium: None };
    assert_eq!(rig.machine.starts(), [cd, disk]);
    let system = rig.get(SYSTEM).await;
    assert_eq!(system["PowerState"], "On");
    assert_eq!(system["Boot"]["BootSourceOverrideEnabled"], "Disabled");
    rig.ask("POST", &format!("{SLOT}/Actions/VirtualMedia.EjectMedia"), Value::Null).await;
    assert_eq!(rig.machine.medium(), None);
    rig.ask("POST", RESET, json!({"ResetType": "ForceOff"})).await;
    assert_eq!(rig.machine.power(), Power::Off);
}

#[tokio::test]
async fn errors_are_those_of_the_specification() {
    let rig = Rig::new(&[]);
    let refused = rig.send(bare("GET", SYSTEM)).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.headers.contains_key("www-authenticate"));
    // Who may not ask does not learn what there is.
    assert_eq!(rig.send(bare("GET", "/redfish/v1/Nothing")).await.status, StatusCode::UNAUTHORIZED);
    for (method, path, body, status, message) in [
        ("GET", "/redfish/v1/Nothing", Value::Null, 404, "ResourceMissingAtURI"),
        ("POST", SYSTEM, json!({}), 405, "OperationNotAllowed"),
        ("DELETE", "/redfish/v1/Systems", Value::Null, 405, "OperationNotAllowed"),
        ("GET", "/redfish/v1/Systems?$expand=.", Value::Null, 501, "QueryNotSupported"),
        ("PATCH", SYSTEM, json!({"Nonsense": 1}), 400, "PropertyUnknown"),
        ("PATCH", SYSTEM, json!({"Model": "x"}), 400, "PropertyNotWritable"),
        ("PATCH", SYSTEM, json!({"@odata.id": "x"}), 400, "NoOperation"),
        ("PATCH", SYSTEM, json!([1]), 400, "UnrecognizedRequestBody"),
        ("POST", RESET, json!({}), 400, "ActionParameterMissing"),
        ("POST", RESET, json!({"ResetType": "Explode"}), 400, "ActionParameterValueNotInList"),
    ] {
        let answer = rig.ask(method, path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        assert_eq!(answer.message(), format!("Base.1.18.{message}"), "{method} {path}");
        assert_eq!(answer.headers["odata-version"], "4.0");
    }
    let allow = rig.ask("PUT", SYSTEM, json!({})).await.headers["allow"].clone();
    assert_eq!(allow, "GET, HEAD, PATCH");
    let xml = rig.ask_with("GET", SYSTEM, Value::Null, &[("accept", "text/html")]).await;
    assert_eq!(xml.status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn head_is_get_without_a_body_and_old_etags_are_refused() {
    let rig = Rig::new(&[]);
    let (head, get) = (rig.ask("HEAD", SYSTEM, Value::Null).await, rig.ask("GET", SYSTEM, Value::Null).await);
    assert_eq!((head.status, head.body), (StatusCode::OK, Value::Null));
    assert_eq!(head.headers["etag"], get.headers["etag"]);
    let etag = get.headers["etag"].to_str().unwrap();
    assert_eq!(get.body["@odata.etag"], etag);
    let known = rig.ask_with("GET", SYSTEM, Value::Null, &[("if-none-match", etag)]).await;
    assert_eq!((known.status, known.body), (StatusCode::NOT_MODIFIED, Value::Null));
    let boot = json!({"Boot": {"BootSourceOverrideTarget": "Pxe"}});
    let taken = rig.ask_with("PATCH", SYSTEM, boot.clone(), &[("if-match", etag)]).await;
    assert_eq!(taken.status, StatusCode::OK);
    let late = rig.ask_with("PATCH", SYSTEM, boot, &[("if-match", etag)]).await;
    assert_eq!(
        (late.status, late.message()),
        (StatusCode::PRECONDITION_FAILED, "Base.1.18.PreconditionFailed")
    );
}

#[tokio::test(start_paused = true)]
async fn sessions_end_by_themselves_are_limited_and_can_be_told_apart() {
    let rig = Rig::new(&["sessions=1", "token-ttl=60s"]);
    let path = "/redfish/v1/SessionService/Sessions";
    let login = json!({"UserName": "admin", "Password": "password", "Context": "mine"});
    let made = rig.ask("POST", path, login.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let (token, location) = (made.headers["x-auth-token"].clone(), made.headers["location"].clone());
    let location = location.to_str().unwrap();
    assert_eq!(rig.get(location).await["Context"], "mine");
    let full = rig.ask("POST", path, login.clone()).await;
    assert_eq!((full.status.as_u16(), full.message()), (503, "Base.1.18.SessionLimitExceeded"));
    let with_token =
        || Request::builder().uri(SYSTEM).header("x-auth-token", &token).body(Body::empty()).unwrap();
    assert_eq!(rig.send(with_token()).await.status, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(rig.send(with_token()).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(rig.ask("POST", path, login).await.status, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn too_many_wrong_passwords_lock_the_right_one_out() {
    let rig = Rig::new(&["lockout=2/300s"]);
    let path = "/redfish/v1/SessionService/Sessions";
    let wrong = json!({"UserName": "admin", "Password": "guess"});
    for _ in 0..2 {
        let body = Body::from(wrong.to_string());
        let request = Request::builder().method("POST").uri(path).body(body).unwrap();
        assert_eq!(rig.send(request).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(rig.ask("GET", SYSTEM, Value::Null).await.status, StatusCode::UNAUTHORIZED);
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_eq!(rig.ask("GET", SYSTEM, Value::Null).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn power_and_log_ins_go_wrong_on_command_until_it_is_taken_back() {
    let rig = Rig::new(&[]);
    let reset = |kind: &str| json!({"ResetType": kind});
    rig.service.slow_power(Duration::from_secs(30));
    assert_eq!(rig.ask("POST", RESET, reset("On")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(rig.get(SYSTEM).await["PowerState"], "Off");
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(rig.get(SYSTEM).await["PowerState"], "On");

    rig.service.lock_out(2, Duration::from_secs(300));
    let guess = || {
        let basic = base64::engine::general_purpose::STANDARD.encode("admin:guess");
        let request = Request::builder().uri(SYSTEM).header("authorization", format!("Basic {basic}"));
        rig.send(request.body(Body::empty()).unwrap())
    };
    for _ in 0..2 {
        assert_eq!(guess().await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(rig.ask("GET", SYSTEM, Value::Null).await.status, StatusCode::UNAUTHORIZED);
    rig.service.clear_faults();
    assert_eq!(rig.get("/redfish/v1/AccountService").await["AccountLockoutThreshold"], 0);
    rig.ask("POST", RESET, reset("ForceOff")).await;
    assert_eq!(rig.get(SYSTEM).await["PowerState"], "Off");
}

#[tokio::test]
async fn a_setting_of_the_firmware_is_in_force_after_the_next_start() {
    let rig = Rig::new(&[]);
    let (bios, settings) = (format!("{SYSTEM}/Bios"), format!("{SYSTEM}/Bios/Settings"));
    let set = |value: Value| rig.ask("PATCH", &settings, json!({"Attributes": value}));
    let refused = set(json!({"ProcVirtualization": "Disabled", "BootMode": "Bios"})).await;
    assert_eq!((refused.status.as_u16(), refused.message()), (400, "Base.1.18.PropertyNotWritable"));
    let refused = set(json!({"ProcVirtualization": "Maybe"})).await;
    assert_eq!(refused.message(), "Base.1.18.PropertyValueNotInList");
    assert_eq!(rig.get(&settings).await["Attributes"]["ProcVirtualization"], "Enabled");
    assert_eq!(set(json!({"ProcVirtualization": "Disabled"})).await.status, StatusCode::OK);
    assert_eq!(rig.get(&settings).await["Attributes"]["ProcVirtualization"], "Disabled");
    assert_eq!(rig.get(&bios).await["Attributes"]["ProcVirtualization"], "Enabled");
    rig.ask("POST", RESET, json!({"ResetType": "On"})).await;
    assert_eq!(rig.get(&bios).await["Attributes"]["ProcVirtualization"], "Disabled");
}

#[tokio::test]
async fn what_the_service_offers_and_never_does_says_so() {
    let rig = Rig::new(&[]);
    let update = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    let refused = rig.ask("POST", update, json!({"ImageURI": "http://a/b.bin"})).await;
    assert_eq!((refused.status.as_u16(), refused.message()), (503, "Base.1.18.ServiceDisabled"));
    let volume = json!({"RAIDType": "RAID1"});
    let refused = rig.ask("POST", &format!("{SYSTEM}/Storage/1/Volumes"), volume).await;
    assert_eq!(
        (refused.status.as_u16(), refused.message()),
        (400, "Base.1.18.CreateLimitReachedForResource")
    );
}

#[tokio::test]
async fn a_fault_strikes_as_often_as_it_was_told() {
    let rig = Rig::new(&[]);
    rig.service.inject(Rule::times(1, "/Systems", Fault::message(503, "Vendor.1.0.Busy")).on(Method::GET));
    let struck = rig.ask("GET", SYSTEM, Value::Null).await;
    assert_eq!((struck.status.as_u16(), struck.message()), (503, "Vendor.1.0.Busy"));
    rig.get(SYSTEM).await;
    let requests = rig.service.take_requests();
    assert_eq!(requests.iter().map(|request| request.status).collect::<Vec<_>>(), [Some(503), Some(200)]);
}

#[tokio::test]
async fn a_reader_may_not_command() {
    let rig = Rig::new(&[]);
    let reader = json!({"UserName": "reader", "Password": "password", "RoleId": "ReadOnly"});
    assert_eq!(
        rig.ask("POST", "/redfish/v1/AccountService/Accounts", reader).await.status,
        StatusCode::CREATED
    );
    let basic = base64::engine::general_purpose::STANDARD.encode("reader:password");
    let ask = |method: &str, path: &str| {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("Basic {basic}"));
        rig.send(request.body(Body::from("{\"ResetType\":\"On\"}")).unwrap())
    };
    assert_eq!(ask("GET", SYSTEM).await.status, StatusCode::OK);
    assert_eq!(ask("POST", RESET).await.status, StatusCode::FORBIDDEN);
    assert_eq!(rig.machine.power(), Power::Off);
}

#[tokio::test]
async fn quirks_are_gotten_wrong_as_told() {
    let boot = |fields: Value| json!({"Boot": fields});
    let both = boot(
        json!({"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "UEFI"}),
    );
    let rig = Rig::new(&["silent-boot-downgrade"]);
    assert_eq!(rig.ask("PATCH", SYSTEM, both.clone()).await.status, StatusCode::OK);
    assert_eq!(rig.get(SYSTEM).await["Boot"]["BootSourceOverrideEnabled"], "Disabled");

    let rig = Rig::new(&["no-mode"]);
    assert_eq!(rig.ask("PATCH", SYSTEM, both.clone()).await.status, StatusCode::BAD_REQUEST);

    let rig = Rig::new(&["boots-only=usbcd"]);
    rig.machine.insert("http://a/b.iso").await.unwrap();
    rig.ask("PATCH", SYSTEM, both).await;
    rig.ask("POST", RESET, json!({"ResetType": "On"})).await;
    assert_eq!(rig.machine.starts()[0].device, BootDevice::Hdd);

    let rig = Rig::new(&["ifmatch-ignored-write"]);
    let pxe = boot(json!({"BootSourceOverrideTarget": "Pxe"}));
    assert_eq!(rig.ask("PATCH", SYSTEM, pxe).await.status, StatusCode::NO_CONTENT);
    assert_eq!(rig.get(SYSTEM).await["Boot"]["BootSourceOverrideTarget"], "None");

    let rig = Rig::new(&["vmedia-patch-only"]);
    assert_eq!(rig.get(SLOT).await.get("Actions"), None);
    let put = json!({"Image": "http://a/b.iso", "Inserted": true});
    assert_eq!(rig.ask("PATCH", SLOT, put).await.status, StatusCode::OK);
    assert_eq!(rig.machine.medium().as_deref(), Some("http://a/b.iso"));
}
