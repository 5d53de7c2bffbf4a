//! A rack on loopback, its client, and a server of images.
#![allow(dead_code, reason = "each test binary uses its part")]

mod iso;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use base64::Engine as _;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use scute_bmc::Service;
use scute_rack::fault::{self, Fault};
use scute_rack::rack::{self, Place, Programs, Rack};
use scute_rack::{Host, HostConfig, HostFolder, Shape, Status};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tower::ServiceExt;

#[allow(unused_imports, reason = "each test binary uses its part")]
pub use iso::bootable;

pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Firmware under a translator, on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(300);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
}

/// Runs a test in a network namespace with a loopback and nothing else: what it or its programs send leaves nothing. One for
/// the process, as one thread of it starts all programs. Needs root.
pub fn isolated(test: impl AsyncFnOnce() + Send + 'static) {
    static NAMESPACE: LazyLock<File> = LazyLock::new(|| std::thread::spawn(namespace).join().unwrap());
    let inside = move || {
        move_into_link_name_space(NAMESPACE.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    };
    if let Err(panic) = std::thread::spawn(inside).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Makes one, around this thread.
fn namespace() -> File {
    // SAFETY: the thread shares nothing with others that it would lose.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("root");
    let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
    assert!(up.success());
    File::open("/proc/thread-self/ns/net").unwrap()
}

/// A rack of hosts that are called `a`, `b`, …
pub struct Rig {
    pub dir: TempDir,
    pub rack: Rack,
}

impl Rig {
    pub async fn new(shapes: &[Shape]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let programs = Programs::installed().unwrap();
        for (number, shape) in shapes.iter().enumerate() {
            let name = char::from(b'a' + number as u8).to_string();
            let config = HostConfig::new(&name, number as u16, 0, shape).unwrap();
            rack::add(dir.path(), &config, &programs, LOCAL).unwrap();
        }
        let rack = open(dir.path()).await;
        Self { dir, rack }
    }

    pub fn host(&self, name: &str) -> Client {
        let folder = HostFolder::at(self.dir.path().join(name));
        let password = folder.password().unwrap();
        let (host, service) = self.rack.host(name).unwrap().parts();
        Client { host, service, folder, password }
    }

    /// The rack ends and begins anew.
    pub async fn restarted(self) -> Self {
        let Self { dir, rack } = self;
        drop(rack);
        Self { rack: open(dir.path()).await, dir }
    }
}

async fn open(dir: &std::path::Path) -> Rack {
    let place = Place { bmc: LOCAL, network: None };
    Rack::open(dir, Programs::installed().unwrap(), place).await.unwrap()
}

/// A client of one BMC.
pub struct Client {
    host: Arc<Host>,
    service: Arc<Service>,
    pub folder: HostFolder,
    password: String,
}

impl Client {
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let basic = format!("admin:{}", self.password);
        let basic = base64::engine::general_purpose::STANDARD.encode(basic);
        let mut request = Request::builder().method(method).uri(format!("/redfish/v1/{path}"));
        request = request.header("authorization", format!("Basic {basic}"));
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        let answer = self.service.router().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    async fn done(&self, method: &str, path: &str, body: Value) {
        let (status, answer) = self.ask(method, path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
    }

    pub async fn reset(&self, kind: &str) {
        let path = "Systems/1/Actions/ComputerSystem.Reset";
        self.done("POST", path, json!({"ResetType": kind})).await;
    }

    pub async fn boot(&self, target: &str, enabled: &str) {
        let boot = json!({"BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled});
        self.done("PATCH", "Systems/1", json!({"Boot": boot})).await;
    }

    pub async fn insert(&self, url: &str) {
        let path = "Systems/1/VirtualMedia/1/Actions/VirtualMedia.InsertMedia";
        self.done("POST", path, json!({"Image": url})).await;
    }

    pub async fn eject(&self) {
        self.done("POST", "Systems/1/VirtualMedia/1/Actions/VirtualMedia.EjectMedia", json!({})).await;
    }

    /// Somebody else.
    pub fn with_password(&self, password: &str) -> Self {
        let Self { host, service, folder, .. } = self;
        Self {
            host: host.clone(),
            service: service.clone(),
            folder: folder.clone(),
            password: password.into(),
        }
    }

    pub async fn fault(&self, fault: Fault) -> Result<(), String> {
        fault::inject(&self.host, &self.service, fault).await
    }

    /// The end of all faults.
    pub fn cleared(&self) -> Fault {
        Fault::Clear { password: self.password.clone() }
    }

    pub fn console(&self) -> Console {
        Console { seen: self.host.serial.watch(), text: String::new() }
    }

    /// Waits until the host is like this.
    pub async fn until(&self, what: &str, like: impl FnMut(&Status) -> bool) {
        let mut status = self.host.status();
        soon(what, status.wait_for(like)).await.unwrap();
    }

    pub fn serial_log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.serial_log()).unwrap()).into_owned()
    }
}

/// What a host says from now on.
pub struct Console {
    seen: broadcast::Receiver<Vec<u8>>,
    text: String,
}

impl Console {
    /// Waits until it has said this; gives what it said up to there.
    pub async fn hear(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.text.find(wanted) {
                let rest = self.text.split_off(at + wanted.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let piece = tokio::time::timeout(PATIENCE, self.seen.recv()).await;
            let piece = piece.unwrap_or_else(|_| panic!("no {wanted:?}, but: {}", self.text));
            self.text.push_str(&String::from_utf8_lossy(&piece.unwrap()));
        }
    }
}

/// A server of one image, which takes note of the ranges it was asked for.
#[derive(Clone)]
pub struct Images {
    image: Arc<Vec<u8>>,
    asked: Arc<Mutex<Vec<String>>>,
    pub url: String,
}

impl Images {
    pub async fn serve(image: Vec<u8>) -> Self {
        let listener = tokio::net::TcpListener::bind((LOCAL, 0)).await.unwrap();
        let url = format!("http://{}/boot.iso", listener.local_addr().unwrap());
        let images = Self { image: Arc::new(image), asked: Arc::default(), url };
        let app = Router::new().fallback(range).with_state(images.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        images
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn range(State(images): State<Images>, method: Method, headers: HeaderMap) -> Response<Body> {
    let size = images.image.len();
    let answer = Response::builder().header(header::ACCEPT_RANGES, "bytes");
    if method == Method::HEAD {
        return answer.header(header::CONTENT_LENGTH, size).body(Body::empty()).unwrap();
    }
    let range = headers.get(header::RANGE).map(|range| range.to_str().unwrap().to_owned());
    images.asked.lock().unwrap().push(range.clone().unwrap_or_default());
    let Some(range) = range else { return answer.body(Body::from(images.image.to_vec())).unwrap() };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let last = last.parse().unwrap_or(size - 1).min(size - 1);
    answer
        .status(StatusCode::PARTIAL_CONTENT)
        .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}"))
        .body(Body::from(images.image[first..=last].to_vec()))
        .unwrap()
}

/// An address at which nobody listens.
pub async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind((LOCAL, 0)).await.unwrap();
    format!("http://{}/boot.iso", listener.local_addr().unwrap())
}

pub fn path(rig: &Rig, below: &str) -> PathBuf {
    rig.dir.path().join(below)
}
