//! Passwords and tokens stay out of what is logged and told. In a binary of its own: which events are heard is decided for
//! the whole process.

mod common;

use std::sync::{Arc, Mutex};

use common::{PASSWORD, Rig, connector};
use scute_bmc::{Fault, Rule};
use scute_redfish::PowerAction;

/// What is logged, into memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_credentials_are_logged_or_told() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let rig = Rig::new("plain", &[]);
    let connector = connector();
    let bmc = rig.open(&connector);
    bmc.identify().await.unwrap();
    bmc.insert("http://192.0.2.1/agent.iso").await.unwrap();
    // A BMC that repeats what it was told.
    rig.service.inject(Rule::times(1, "Reset", Fault::message(400, &format!("Base.1.0.{PASSWORD}"))));
    let told = bmc.power(PowerAction::On).await.unwrap_err();
    rig.service.inject(Rule::times(1, "/SessionService/Sessions", Fault::message(503, "Base.1.0.Busy")));
    rig.service.restart();
    let busy = bmc.state().await.unwrap_err();
    drop(guard);
    let access = rig.access();
    let said = format!("{told} {told:?} {busy} {busy:?} {access:?} {connector:?}");
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("asked a BMC"), "the log was looked at: {logged}");
    for text in [said, logged] {
        assert!(!text.contains(PASSWORD), "{text}");
        assert!(!text.to_ascii_lowercase().contains("x-auth-token"), "{text}");
    }
}
