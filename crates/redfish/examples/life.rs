//! Tries a BMC: `cargo run -p scute-redfish --example life -- HOST PORT USER IMAGE`, with the password in `BMC_PASSWORD`.
//! Identifies the host, inserts the image, boots it once, ejects it and powers the host off. It does power the host.

use std::time::Instant;

use scute_redfish::{
    Access, BootDevice, BootMode, Connector, Credentials, NextBoot, Origin, Patience, PowerAction, Trust,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, user, image] = &args[..] else { return Err("HOST PORT USER IMAGE".into()) };
    let credentials = Credentials::new(user, std::env::var("BMC_PASSWORD")?);
    let origin = Origin { tls: true, host: host.clone(), port: port.parse()? };
    let access = Access::new(origin, credentials, Trust::Any);
    let connector = Connector::new("scute/example", Patience::default());
    let bmc = connector.open(&access)?;
    let cd = NextBoot { device: BootDevice::Cd, mode: BootMode::Uefi, attempt: 0 };
    let begun = Instant::now();
    let say =
        |what: &str, result: String| println!("{:7.2} s  {what}: {result}", begun.elapsed().as_secs_f32());
    say("identify", format!("{:?}", bmc.identify().await));
    say("certificate", format!("{:?}", bmc.fingerprint()));
    say("inventory", format!("{:?}", bmc.inventory().await));
    say("force off", format!("{:?}", bmc.power(PowerAction::ForceOff).await));
    say("insert", format!("{:?}", bmc.insert(image).await));
    say("inserted", format!("{:?}", bmc.inserted().await));
    say("boot once", format!("{:?}", bmc.boot_next(cd).await));
    say("power on", format!("{:?}", bmc.power(PowerAction::On).await));
    say("eject", format!("{:?}", bmc.eject().await));
    say("inserted", format!("{:?}", bmc.inserted().await));
    say("usual boot", format!("{:?}", bmc.boot_next(NextBoot { device: BootDevice::Usual, ..cd }).await));
    say("force off", format!("{:?}", bmc.power(PowerAction::ForceOff).await));
    say("state", format!("{:?}", bmc.state().await));
    connector.leave().await;
    Ok(())
}
