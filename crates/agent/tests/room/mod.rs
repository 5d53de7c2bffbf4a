//! An imitation of the metal room: HTTPS with an authority of its own, the protocol, and an image server that fails on
//! command. Shared with the end-to-end test, which reaches it from a virtual machine.

#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

mod images;
mod registry;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use scute_agent::protocol::{Hello, Parameters, Report, Said, Welcome, Work};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

pub use images::{Fault, Images};
pub use registry::{Guard, Registry, digest};

pub const TOKEN: &str = "one-time";
pub const HOST: &str = "5b7c1b9e-0000-4000-8000-000000000001";
const SESSION: &str = "session-of-the-test";

/// What has been said and what is to be done.
#[derive(Default)]
pub struct Memory {
    taken_by: Option<String>,
    pub hellos: Vec<Hello>,
    pub works: VecDeque<Work>,
    pub reports: Vec<Report>,
    /// Reports of these works are answered with 410.
    pub unwanted: Vec<String>,
    /// So many requests are answered with 503 first.
    pub unavailable: usize,
}

/// The room.
pub struct Room {
    pub address: SocketAddr,
    /// Images without TLS.
    pub images_address: SocketAddr,
    pub pin: String,
    pub authority: String,
    pub images: Images,
    pub registry: Registry,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    memory: Mutex<Memory>,
    changed: Notify,
}

impl Room {
    /// Listens on a port of the loopback, with a certificate for these addresses that ended long ago.
    pub fn open() -> Self {
        Self::with_certificate_until(2001)
    }

    pub fn with_certificate_until(year: i32) -> Self {
        let certificates = Certificates::new(year);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (images, registry) = (Images::default(), Registry::default());
        let app = Router::new()
            .route("/agent/v1/hello", post(hello))
            .route("/agent/v1/work", get(work))
            .route("/agent/v1/report", post(report))
            .with_state(shared.clone())
            .merge(images.router())
            .merge(registry.router());
        let config = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(certificates.server));
        let server = axum_server::from_tcp_rustls(listener, config).unwrap();
        tokio::spawn(server.serve(app.into_make_service()));
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        plain.set_nonblocking(true).unwrap();
        let images_address = plain.local_addr().unwrap();
        let app = images.router().merge(registry.router());
        tokio::spawn(
            async move { axum::serve(tokio::net::TcpListener::from_std(plain).unwrap(), app).await },
        );
        Room {
            address,
            images_address,
            pin: certificates.pin,
            authority: certificates.authority,
            images,
            registry,
            shared,
        }
    }

    /// What a host is told that reaches the loopback as `host`.
    pub fn parameters(&self, host: &str) -> Parameters {
        Parameters {
            service: format!("https://{host}:{}", self.address.port()),
            host: HOST.into(),
            token: TOKEN.into(),
            pin: self.pin.clone(),
            addresses: vec![],
        }
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        let found = look(&mut self.shared.memory.lock().unwrap());
        self.shared.changed.notify_waiters();
        found
    }

    pub fn give(&self, work: Work) {
        self.with(|memory| memory.works.push_back(work));
    }

    /// Waits until the memory holds what is looked for.
    pub async fn until<T>(&self, what: &str, limit: Duration, look: impl Fn(&Memory) -> Option<T>) -> T {
        let end = Instant::now() + limit;
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = look(&self.shared.memory.lock().unwrap()) {
                return found;
            }
            let reports = || format!("{:?}", self.shared.memory.lock().unwrap().reports);
            timeout_at(end, changed)
                .await
                .unwrap_or_else(|_| panic!("not in time: {what}; reports: {}", reports()));
        }
    }

    /// The end of a work.
    pub async fn end_of(&self, id: &str, limit: Duration) -> Said {
        let end = |memory: &Memory| {
            let ends = |report: &&Report| report.id == id && !matches!(report.what, Said::Progress { .. });
            memory.reports.iter().find(ends).map(|report| report.what.clone())
        };
        self.until(&format!("the end of {id}"), limit, end).await
    }
}

struct Certificates {
    pin: String,
    authority: String,
    server: ServerConfig,
}

impl Certificates {
    fn new(until: i32) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names = ["127.0.0.1", "10.0.2.2"].map(String::from);
        let mut params = CertificateParams::new(names).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(until, 2, 1));
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &authority).unwrap();
        let der = authority.der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let pin = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
        Certificates {
            pin: hex::encode(pin),
            authority: authority.pem(),
            server: server
                .with_no_client_auth()
                .with_single_cert(vec![leaf.der().clone(), der], key)
                .unwrap(),
        }
    }
}

async fn hello(State(shared): State<Arc<Shared>>, Json(hello): Json<Hello>) -> Response {
    let mut memory = shared.memory.lock().unwrap();
    memory.hellos.push(hello.clone());
    shared.changed.notify_waiters();
    if memory.unavailable > 0 {
        memory.unavailable -= 1;
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if hello.token != TOKEN || hello.host != HOST {
        return (StatusCode::UNAUTHORIZED, "no such token").into_response();
    }
    if memory.taken_by.get_or_insert_with(|| hello.boot.clone()) != &hello.boot {
        return (StatusCode::CONFLICT, "the token was taken already").into_response();
    }
    Json(Welcome { session: SESSION.into(), clock: 1_800_000_000 }).into_response()
}

async fn work(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if !authorized(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if let Some(work) = shared.memory.lock().unwrap().works.pop_front() {
            return Json(work).into_response();
        }
        if timeout_at(end, changed).await.is_err() {
            return Json(Work::Wait).into_response();
        }
    }
}

async fn report(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(report): Json<Report>,
) -> Response {
    if !authorized(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut memory = shared.memory.lock().unwrap();
    let status = if memory.unwanted.contains(&report.id) { StatusCode::GONE } else { StatusCode::NO_CONTENT };
    memory.reports.push(report);
    shared.changed.notify_waiters();
    status.into_response()
}

fn authorized(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == &format!("Bearer {SESSION}"))
}
