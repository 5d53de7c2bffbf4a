//! A BMC on loopback, by HTTPS, and a client that trusts it.

// Each test binary has its own copy of this module and does not use all of it.
#![allow(dead_code)]

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use scute_bmc::memory::{MemoryMachine, facts};
use scute_bmc::{Profile, Server, Service};
use scute_redfish::{Access, Bmc, Connector, Credentials, Error, Origin, Patience, Trust, Which};

pub const USER: &str = "admin";
pub const PASSWORD: &str = "correct-horse";

/// A BMC of a host in memory.
pub struct Rig {
    pub machine: Arc<MemoryMachine>,
    pub service: Arc<Service>,
    pub server: Server,
    pub profile: Profile,
}

impl Rig {
    pub fn new(profile: &str, knobs: &[&str]) -> Self {
        let profile = Profile::named(profile, knobs).unwrap();
        let machine = Arc::new(MemoryMachine::new(facts(7)));
        let service = Service::new(machine.clone(), profile.clone(), USER, PASSWORD);
        let server = Server::https(&service, TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        Self { machine, service, server, profile }
    }

    /// Access that names the System, as an address usually does.
    pub fn access(&self) -> Access {
        let address = self.server.address;
        let origin = Origin { tls: true, host: address.ip().to_string(), port: address.port() };
        let path = Some(format!("/redfish/v1/Systems/{}", self.profile.ids.system));
        let trust = Trust::Authorities(self.server.certificate_pem.clone());
        let access = Access::new(origin, Credentials::new(USER, PASSWORD), trust);
        Access { which: Which { path, ..Which::default() }, ..access }
    }

    pub fn open(&self, connector: &Connector) -> Arc<dyn Bmc> {
        connector.open(&self.access()).unwrap()
    }

    /// Methods and paths since the last call.
    pub fn asked(&self) -> Vec<String> {
        self.service.take_requests().iter().map(|it| format!("{} {}", it.method, it.path)).collect()
    }
}

/// Short waits: the BMC is in this process.
pub fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        request: Duration::from_secs(5),
        settle: Duration::from_secs(3),
        poll: Duration::from_millis(10),
    }
}

pub fn connector() -> Connector {
    Connector::new("scute/test", patience())
}

/// What a state machine does with a BMC that says "not now", or is cut off: asks again, within limits.
pub async fn free<T>(mut ask: impl AsyncFnMut() -> Result<T, Error>) -> T {
    for _ in 0..500 {
        match ask().await {
            Ok(it) => return it,
            Err(Error::Busy { .. } | Error::Unreachable(_)) => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the BMC did not answer, or was busy, all the time");
}
