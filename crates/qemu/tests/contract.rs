//! What every VMM keeps: the same stories run on QEMU and on the fake, with the same machines.

mod common;

use std::path::Path;
use std::time::Duration;

use scute_qemu::bootsector::Guest;
use scute_qemu::fake::FakeVmm;
use scute_qemu::{
    Bad, BadSpot, BootDevice, Bus, Command, ConfigError, ControlError, Drive, Event, Events, ExitCause,
    Machine, Medium, Nic, NicBackend, NicModel, Qemu, RunState, StartError, Vmm,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

const MESSAGE: &str = "hello from the guest\r\n";

/// Bounds every wait: a guest of one sector needs a second or two, a busy machine more.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let late = |_| panic!("{what} did not happen within a minute");
    tokio::time::timeout(Duration::from_secs(60), work).await.unwrap_or_else(late)
}

async fn until(events: &mut Events, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
    soon(what, async {
        loop {
            match events.next().await {
                event if wanted(&event) => return event,
                Event::Exited(exit) => panic!("waited for {what}, but the VMM ended: {exit}"),
                _ => {}
            }
        }
    })
    .await
}

async fn exited(events: &mut Events) -> ExitCause {
    match until(events, "the end", |event| matches!(event, Event::Exited(_))).await {
        Event::Exited(exit) => exit.cause,
        _ => unreachable!(),
    }
}

/// Reads until the guest has said this.
async fn hear(serial: &mut (impl AsyncRead + Unpin), wanted: &str) {
    let mut heard = String::new();
    let mut byte = [0];
    while !heard.contains(wanted) {
        let read = soon(wanted, serial.read(&mut byte)).await.unwrap();
        assert!(read > 0, "the serial port was closed after {heard:?}");
        heard.push(byte[0].into());
    }
}

/// A machine whose guest has spoken.
async fn greeted<V: Vmm>(vmm: &V, dir: &Path, guest: Guest) -> Machine<V::Serial> {
    let mut machine = vmm.start(&common::booting(dir, guest, MESSAGE)).await.unwrap();
    hear(&mut machine.serial, MESSAGE).await;
    machine
}

async fn power_off_is_the_guest_s(vmm: impl Vmm, dir: &Path) {
    let Machine { handle, mut events, serial: _serial } = greeted(&vmm, dir, Guest::PowersOff).await;
    let event = until(&mut events, "shutdown", |event| matches!(event, Event::Shutdown { .. })).await;
    assert_eq!(event, Event::Shutdown { guest: true, reason: "guest-shutdown".into() });
    assert_eq!(exited(&mut events).await, ExitCause::Code(0));
    assert_eq!(exited(&mut events).await, ExitCause::Code(0), "the end is told again to those who ask again");
    assert!(matches!(handle.command(Command::PowerDown).await, Err(ControlError::Gone)));
    assert!(matches!(handle.state().await, Err(ControlError::Gone)));
}

async fn long_mode_is_reached(vmm: impl Vmm, dir: &Path) {
    let mut machine = greeted(&vmm, dir, Guest::PowersOffInLongMode).await;
    let event = until(&mut machine.events, "an end", |event| {
        matches!(event, Event::Shutdown { .. } | Event::Reset { .. })
    })
    .await;
    assert_eq!(event, Event::Shutdown { guest: true, reason: "guest-shutdown".into() });
}

async fn the_power_button_reaches_the_guest(vmm: impl Vmm, dir: &Path) {
    let Machine { handle, mut events, .. } = greeted(&vmm, dir, Guest::WaitsForButton).await;
    assert_eq!(handle.state().await.unwrap(), RunState::Running);
    handle.command(Command::PowerDown).await.unwrap();
    let event = until(&mut events, "shutdown", |event| matches!(event, Event::Shutdown { .. })).await;
    assert_eq!(event, Event::Shutdown { guest: true, reason: "guest-shutdown".into() });
    assert_eq!(exited(&mut events).await, ExitCause::Code(0));
}

async fn a_hung_guest_is_ended_by_us(vmm: impl Vmm, dir: &Path) {
    let Machine { handle, mut events, .. } = greeted(&vmm, dir, Guest::Hangs).await;
    handle.command(Command::PowerDown).await.unwrap();
    assert_eq!(handle.state().await.unwrap(), RunState::Running, "this guest ignores the button");
    handle.command(Command::Quit).await.unwrap();
    let event = until(&mut events, "shutdown", |event| matches!(event, Event::Shutdown { .. })).await;
    assert_eq!(event, Event::Shutdown { guest: false, reason: "host-qmp-quit".into() });
    assert_eq!(exited(&mut events).await, ExitCause::Code(0));
}

async fn pause_stops_and_resume_goes_on(vmm: impl Vmm, dir: &Path) {
    let Machine { handle, mut events, .. } = greeted(&vmm, dir, Guest::Hangs).await;
    handle.command(Command::Pause).await.unwrap();
    let first = soon("pause", events.next()).await;
    assert_eq!(first, Event::Paused, "that it runs since its start is no news");
    assert_eq!(handle.state().await.unwrap(), RunState::Paused);
    handle.command(Command::Resume).await.unwrap();
    until(&mut events, "resume", |event| *event == Event::Resumed).await;
    assert_eq!(handle.state().await.unwrap(), RunState::Running);
}

async fn a_reset_is_no_end(vmm: impl Vmm, dir: &Path) {
    let Machine { handle, mut events, .. } = greeted(&vmm, dir, Guest::Resets).await;
    until(&mut events, "the guest's reset", |event| *event == Event::Reset { guest: true }).await;
    handle.command(Command::Reset).await.unwrap();
    until(&mut events, "our reset", |event| *event == Event::Reset { guest: false }).await;
    assert_eq!(handle.state().await.unwrap(), RunState::Running);
}

async fn kill_needs_no_answer(vmm: impl Vmm, dir: &Path) {
    let Machine { handle, mut events, .. } = greeted(&vmm, dir, Guest::Hangs).await;
    handle.kill();
    assert_eq!(exited(&mut events).await, ExitCause::Signal(9));
}

/// One waits for events while others command, by copies of one handle.
async fn several_command_while_somebody_listens(vmm: impl Vmm, dir: &Path) {
    let Machine { handle, mut events, .. } = greeted(&vmm, dir, Guest::WaitsForButton).await;
    let listener = tokio::spawn(async move { exited(&mut events).await });
    let askers = (0..5).map(|_| {
        let handle = handle.clone();
        tokio::spawn(async move { handle.state().await })
    });
    for asked in askers.collect::<Vec<_>>() {
        assert_eq!(soon("an answer", asked).await.unwrap().unwrap(), RunState::Running);
    }
    handle.command(Command::PowerDown).await.unwrap();
    assert_eq!(soon("the end", listener).await.unwrap(), ExitCause::Code(0));
}

async fn a_panic_is_told_and_ends_the_machine(vmm: impl Vmm, dir: &Path) {
    let mut machine = greeted(&vmm, dir, Guest::Panics).await;
    until(&mut machine.events, "the panic", |event| *event == Event::Panicked).await;
    let off = until(&mut machine.events, "shutdown", |event| matches!(event, Event::Shutdown { .. })).await;
    assert_eq!(off, Event::Shutdown { guest: true, reason: "guest-panic".into() });
    assert_eq!(exited(&mut machine.events).await, ExitCause::Code(0));
}

async fn a_guest_that_hangs_under_its_watchdog_is_reset(vmm: impl Vmm, dir: &Path) {
    let mut machine = greeted(&vmm, dir, Guest::HangsUnderWatchdog).await;
    until(&mut machine.events, "the watchdog", |event| *event == Event::WatchdogExpired).await;
    until(&mut machine.events, "the reset", |event| matches!(event, Event::Reset { .. })).await;
}

async fn the_serial_port_goes_both_ways(vmm: impl Vmm, dir: &Path) {
    let mut machine = greeted(&vmm, dir, Guest::Echoes).await;
    machine.serial.write_all(b"anybody there?").await.unwrap();
    hear(&mut machine.serial, "anybody there?").await;
}

fn cdrom(bus: Bus) -> Drive {
    Drive { cdrom: true, medium: None, ..common::drive("cd", Medium::raw("/none"), bus) }
}

fn path_of(medium: &Medium) -> std::path::PathBuf {
    match medium {
        Medium::File { path, .. } => path.clone(),
        Medium::Overlay { .. } | Medium::Url(_) => unreachable!(),
    }
}

/// Media are put in, changed and taken out while the machine runs. (No boot sector boots from a CD; that a guest would
/// find it is shown by the drives' answers.)
async fn media_come_and_go(vmm: impl Vmm, dir: &Path) {
    let mut config = common::booting(dir, Guest::Hangs, MESSAGE);
    config.drives.push(Drive { boot_index: None, ..cdrom(Bus::Sata) });
    let mut machine = vmm.start(&config).await.unwrap();
    hear(&mut machine.serial, MESSAGE).await;
    let handle = &machine.handle;
    let one = path_of(&common::disk(dir, "one, file.filename=x", Guest::Hangs, ""));
    let other = path_of(&common::disk(dir, "other", Guest::Hangs, ""));
    let insert = |file: &Path| Command::Insert { drive: "cd".into(), medium: Medium::raw(file) };
    handle.command(Command::Eject { drive: "cd".into() }).await.unwrap();
    for file in [&one, &other, &one] {
        handle.command(insert(file)).await.unwrap();
    }
    for _ in 0..2 {
        handle.command(Command::Eject { drive: "cd".into() }).await.unwrap();
    }
    for drive in ["boot", "absent"] {
        let refused = handle.command(Command::Eject { drive: drive.into() }).await.unwrap_err();
        assert!(matches!(refused, ControlError::NoDevice(_)), "{refused}");
    }
}

/// A write that finds no room waits, and is done when there is; one that fails is told.
async fn a_spot_of_a_disk_goes_bad_and_heals(vmm: impl Vmm, dir: &Path) {
    let mut config = common::booting(dir, Guest::WritesDisk, MESSAGE);
    config.drives.push(Drive { boot_index: None, ..cdrom(Bus::Sata) });
    let spot = |what| Some(BadSpot { offset: 700, what });
    let spoil = |spot| Command::Spoil { drive: "boot".into(), spot };
    for what in [Bad::Full, Bad::Fails] {
        config.drives[0].bad = spot(Bad::Full);
        let mut machine = vmm.start(&config).await.unwrap();
        let failed = |event: &Event| matches!(event, Event::DriveFailed { .. });
        let Event::DriveFailed { drive, full: true, paused: true, .. } =
            until(&mut machine.events, "no room", failed).await
        else {
            panic!("not for want of room")
        };
        assert_eq!(drive, "boot");
        assert_eq!(machine.handle.state().await.unwrap(), RunState::DriveFailed);
        for drive in ["cd", "absent"] {
            let spoil = Command::Spoil { drive: drive.into(), spot: spot(what) };
            let refused = machine.handle.command(spoil).await.unwrap_err();
            assert!(matches!(refused, ControlError::NoDevice(_)), "{refused}");
        }
        machine.handle.command(spoil(spot(Bad::Fails))).await.unwrap();
        if what == Bad::Full {
            machine.handle.command(spoil(None)).await.unwrap();
        }
        machine.handle.command(Command::Resume).await.unwrap();
        if what == Bad::Fails {
            let Event::DriveFailed { full: false, paused: false, .. } =
                until(&mut machine.events, "an error", failed).await
            else {
                panic!("no error of the disk")
            };
        }
        assert_eq!(exited(&mut machine.events).await, ExitCause::Code(0));
    }
}

/// What boots is what comes first in the order, from the next reset on.
async fn the_boot_order_is_honoured_and_can_be_changed(vmm: impl Vmm, dir: &Path) {
    let disk = |name: &str, message: &str, place| Drive {
        boot_index: place,
        ..common::drive(name, common::disk(dir, name, Guest::Hangs, message), Bus::Virtio)
    };
    let drives =
        vec![disk("a", "this is a\r\n", Some(2)), disk("b", "this is b\r\n", Some(1)), cdrom(Bus::Scsi)];
    let drives = drives
        .into_iter()
        .map(|drive| Drive { boot_index: drive.boot_index.filter(|_| !drive.cdrom), ..drive });
    let mut machine = vmm.start(&common::machine(drives.collect())).await.unwrap();
    hear(&mut machine.serial, "this is b").await;
    let drive = |name: &str| BootDevice::Drive(name.into());
    for (order, heard) in [(vec![drive("a"), drive("b")], "this is a"), (vec![drive("b")], "this is b")] {
        machine.handle.command(Command::BootFrom(order)).await.unwrap();
        machine.handle.command(Command::Reset).await.unwrap();
        hear(&mut machine.serial, heard).await;
    }
    let unknown = machine.handle.command(Command::BootFrom(vec![drive("c")])).await.unwrap_err();
    assert!(matches!(unknown, ControlError::NoDevice(_)), "{unknown}");
}

/// As many devices as a schema of 64 disks allows, a NIC without a cable, and slots for more.
async fn many_devices_have_room(vmm: impl Vmm, dir: &Path) {
    let mut config = common::booting(dir, Guest::Hangs, MESSAGE);
    for (bus, count) in [(Bus::Virtio, 36), (Bus::Sata, 20), (Bus::Scsi, 7)] {
        for number in 0..count {
            let name = format!("{bus:?}-{number}");
            let medium = common::disk(dir, &name, Guest::Hangs, "");
            config.drives.push(Drive { boot_index: None, ..common::drive(&name, medium, bus) });
        }
    }
    config.spare_slots = 4;
    let mac = "02:00:00:00:00:01".to_owned();
    let backend = NicBackend::Unplugged;
    config.nics = vec![Nic {
        mac,
        model: NicModel::Virtio,
        backend,
        queues: 1,
        mtu: None,
        rom: None,
        boot_index: None,
    }];
    let mut machine = vmm.start(&config).await.unwrap();
    hear(&mut machine.serial, MESSAGE).await;
    assert_eq!(machine.handle.state().await.unwrap(), RunState::Running);
    for up in [false, true] {
        machine.handle.command(Command::Link { nic: 0, up }).await.unwrap();
    }
    let unknown = machine.handle.command(Command::Link { nic: 1, up: true }).await.unwrap_err();
    assert!(matches!(unknown, ControlError::NoDevice(_)), "{unknown}");
}

async fn what_does_not_fit_is_refused_with_the_number_that_does(vmm: impl Vmm, dir: &Path) {
    let mut config = common::booting(dir, Guest::Hangs, "");
    let medium = common::disk(dir, "x", Guest::Hangs, "");
    config.drives = (0..250).map(|n| common::drive(&format!("d{n}"), medium.clone(), Bus::Virtio)).collect();
    let refused = vmm.start(&config).await.map(drop).unwrap_err();
    let StartError::Config(why) = refused else { panic!("{refused}") };
    let said = "250 virtio disks do not fit, 232 do beside the machine's other devices";
    assert_eq!(why.to_string(), said);
    config.drives.truncate(2);
    config.drives[1].name = "d0".into();
    let refused = vmm.start(&config).await.map(drop).unwrap_err();
    assert!(matches!(refused, StartError::Config(ConfigError::Twice(name)) if name == "d0"));
}

macro_rules! contract {
    ($($story:ident;)*) => {
        mod qemu {
            use super::*;
            $(#[tokio::test]
            async fn $story() {
                let dir = tempfile::tempdir().unwrap();
                super::$story(Qemu::new("qemu-system-x86_64"), dir.path()).await;
            })*
        }
        mod fake {
            use super::*;
            $(#[tokio::test(start_paused = true)]
            async fn $story() {
                let dir = tempfile::tempdir().unwrap();
                super::$story(FakeVmm::new(Guest::Hangs, "not from the disk"), dir.path()).await;
            })*
        }
    };
}

contract! {
    power_off_is_the_guest_s;
    long_mode_is_reached;
    the_power_button_reaches_the_guest;
    a_hung_guest_is_ended_by_us;
    pause_stops_and_resume_goes_on;
    a_reset_is_no_end;
    kill_needs_no_answer;
    several_command_while_somebody_listens;
    a_panic_is_told_and_ends_the_machine;
    a_guest_that_hangs_under_its_watchdog_is_reset;
    the_serial_port_goes_both_ways;
    media_come_and_go;
    a_spot_of_a_disk_goes_bad_and_heals;
    the_boot_order_is_honoured_and_can_be_changed;
    many_devices_have_room;
    what_does_not_fit_is_refused_with_the_number_that_does;
}
