//! What every VMM keeps: the same stories run on QEMU and on the fake.

mod common;

use std::time::Duration;

use scute_qemu::bootsector::Guest;
use scute_qemu::fake::FakeVmm;
use scute_qemu::{Command, ControlError, Event, ExitCause, Machine, MachineConfig, Qemu, RunState, Vmm};
use tokio::io::AsyncReadExt;

const MESSAGE: &str = "hello from the guest\r\n";

/// Bounds every wait: a guest of one sector needs a second or two, a busy machine more.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let late = |_| panic!("{what} did not happen within a minute");
    tokio::time::timeout(Duration::from_secs(60), work).await.unwrap_or_else(late)
}

async fn until<M: Machine>(machine: &mut M, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
    soon(what, async {
        loop {
            match machine.event().await {
                event if wanted(&event) => return event,
                Event::Exited(exit) => panic!("waited for {what}, but the VMM ended: {exit}"),
                _ => {}
            }
        }
    })
    .await
}

async fn exited<M: Machine>(machine: &mut M) -> ExitCause {
    match until(machine, "the end", |event| matches!(event, Event::Exited(_))).await {
        Event::Exited(exit) => exit.cause,
        _ => unreachable!(),
    }
}

/// Waits until the guest runs.
async fn greeted<M: Machine>(machine: &mut M) -> M::Serial {
    let mut serial = machine.take_serial().expect("the serial port is given out once");
    assert!(machine.take_serial().is_none());
    let mut heard = String::new();
    let mut chunk = [0; 256];
    while !heard.contains(MESSAGE) {
        let read = soon("the guest's message", serial.read(&mut chunk)).await.unwrap();
        assert!(read > 0, "the serial port was closed after {heard:?}");
        heard.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    serial
}

async fn power_off_is_the_guest_s(vmm: impl Vmm, config: MachineConfig) {
    let mut machine = vmm.start(&config).await.unwrap();
    greeted(&mut machine).await;
    let event = until(&mut machine, "shutdown", |event| matches!(event, Event::Shutdown { .. })).await;
    assert_eq!(event, Event::Shutdown { guest: true, reason: "guest-shutdown".into() });
    assert_eq!(exited(&mut machine).await, ExitCause::Code(0));
    assert_eq!(
        exited(&mut machine).await,
        ExitCause::Code(0),
        "the end is told again to those who ask again"
    );
    assert!(matches!(machine.command(Command::PowerDown).await, Err(ControlError::Gone)));
    assert!(matches!(machine.state().await, Err(ControlError::Gone)));
}

async fn the_power_button_reaches_the_guest(vmm: impl Vmm, config: MachineConfig) {
    let mut machine = vmm.start(&config).await.unwrap();
    greeted(&mut machine).await;
    assert_eq!(machine.state().await.unwrap(), RunState::Running);
    machine.command(Command::PowerDown).await.unwrap();
    let event = until(&mut machine, "shutdown", |event| matches!(event, Event::Shutdown { .. })).await;
    assert_eq!(event, Event::Shutdown { guest: true, reason: "guest-shutdown".into() });
    assert_eq!(exited(&mut machine).await, ExitCause::Code(0));
}

async fn a_hung_guest_is_ended_by_us(vmm: impl Vmm, config: MachineConfig) {
    let mut machine = vmm.start(&config).await.unwrap();
    greeted(&mut machine).await;
    machine.command(Command::PowerDown).await.unwrap();
    assert_eq!(machine.state().await.unwrap(), RunState::Running, "this guest ignores the button");
    machine.command(Command::Quit).await.unwrap();
    let event = until(&mut machine, "shutdown", |event| matches!(event, Event::Shutdown { .. })).await;
    assert_eq!(event, Event::Shutdown { guest: false, reason: "host-qmp-quit".into() });
    assert_eq!(exited(&mut machine).await, ExitCause::Code(0));
}

async fn pause_stops_and_resume_goes_on(vmm: impl Vmm, config: MachineConfig) {
    let mut machine = vmm.start(&config).await.unwrap();
    greeted(&mut machine).await;
    machine.command(Command::Pause).await.unwrap();
    until(&mut machine, "pause", |event| *event == Event::Paused).await;
    assert_eq!(machine.state().await.unwrap(), RunState::Paused);
    machine.command(Command::Resume).await.unwrap();
    until(&mut machine, "resume", |event| *event == Event::Resumed).await;
    assert_eq!(machine.state().await.unwrap(), RunState::Running);
}

async fn a_reset_is_no_end(vmm: impl Vmm, config: MachineConfig) {
    let mut machine = vmm.start(&config).await.unwrap();
    greeted(&mut machine).await;
    until(&mut machine, "the guest's reset", |event| *event == Event::Reset { guest: true }).await;
    machine.command(Command::Reset).await.unwrap();
    until(&mut machine, "our reset", |event| *event == Event::Reset { guest: false }).await;
    assert_eq!(machine.state().await.unwrap(), RunState::Running);
}

async fn kill_needs_no_answer(vmm: impl Vmm, config: MachineConfig) {
    let mut machine = vmm.start(&config).await.unwrap();
    greeted(&mut machine).await;
    machine.kill();
    assert_eq!(exited(&mut machine).await, ExitCause::Signal(9));
}

macro_rules! contract {
    ($($story:ident($guest:expr);)*) => {
        mod qemu {
            use super::*;
            $(#[tokio::test]
            async fn $story() {
                let dir = tempfile::tempdir().unwrap();
                let config = common::booting(dir.path(), $guest, MESSAGE);
                super::$story(Qemu::new("qemu-system-x86_64"), config).await;
            })*
        }
        mod fake {
            use super::*;
            $(#[tokio::test]
            async fn $story() {
                super::$story(FakeVmm::new($guest, MESSAGE), common::machine(vec![])).await;
            })*
        }
    };
}

contract! {
    power_off_is_the_guest_s(Guest::PowersOff);
    the_power_button_reaches_the_guest(Guest::WaitsForButton);
    a_hung_guest_is_ended_by_us(Guest::Hangs);
    pause_stops_and_resume_goes_on(Guest::Hangs);
    a_reset_is_no_end(Guest::Resets);
    kill_needs_no_answer(Guest::Hangs);
}
