//! A BMC of a host in memory on loopback, for outside judges: `cargo run -p scute-bmc --example serve -- PORT PROFILE [KNOB]…`.
//! User `admin`, password `password`.

use std::net::TcpListener;
use std::sync::Arc;

use scute_bmc::memory::{MemoryMachine, facts};
use scute_bmc::{Profile, Server, Service};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [port, profile, knobs @ ..] = &args[..] else {
        return Err("PORT PROFILE [KNOB]…".into());
    };
    let knobs: Vec<&str> = knobs.iter().map(String::as_str).collect();
    let profile = Profile::named(profile, &knobs)?;
    let service = Service::new(Arc::new(MemoryMachine::new(facts(1))), profile, "admin", "password");
    let server = Server::https(&service, TcpListener::bind(format!("127.0.0.1:{port}"))?)?;
    println!("https://{}/redfish/v1/", server.address);
    tokio::signal::ctrl_c().await?;
    Ok(())
}
