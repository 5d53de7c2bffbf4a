//! Stories of machines that end, hang, pause and come back, on a clock that the tests move.

use std::cell::{Cell, RefCell};

use super::*;
use crate::ending::Phase;
use scute_qemu::Vmm;
use scute_qemu::bootsector::Guest;
use scute_qemu::fake::{FakeVmm, Fault};

/// What a test sees and says.
#[derive(Default)]
struct Around {
    oom: bool,
    room: Cell<bool>,
    told: RefCell<Vec<Health>>,
}

impl Surroundings for Around {
    fn oom_killed(&self) -> bool {
        self.oom
    }

    fn has_room(&self) -> bool {
        self.room.get()
    }

    fn health(&self, health: &Health) {
        self.told.borrow_mut().push(health.clone());
    }
}

async fn end_in(vmm: FakeVmm, stop: impl Future<Output = ()>, grace: Duration, around: &Around) -> Ending {
    let config = crate::machine::tests::config();
    let mut machine = vmm.start(&config).await.unwrap();
    supervise(&machine.handle, &mut machine.events, stop, grace, around).await
}

async fn end(vmm: FakeVmm, stopped: bool, grace: Duration, oom: bool) -> (String, Phase, Duration) {
    let start = Instant::now();
    let stop = async {
        if !stopped {
            std::future::pending::<()>().await;
        }
        // The guest has to be up, or it ignores the button.
        tokio::time::sleep(UP).await;
    };
    let ending = end_in(vmm, stop, grace, &Around { oom, ..Around::default() }).await;
    (ending.reason, ending.phase, start.elapsed().saturating_sub(UP))
}

fn fake(guest: Guest) -> FakeVmm {
    FakeVmm::new(guest, "")
}

const UP: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn only_the_guest_s_own_shutdown_succeeds() {
    let (reason, phase, _) = end(fake(Guest::PowersOff), false, GRACE, false).await;
    assert_eq!((reason.as_str(), phase), ("GuestShutdown", Phase::Succeeded));
    let (reason, phase, _) = end(fake(Guest::WaitsForButton), true, GRACE, false).await;
    assert_eq!((reason.as_str(), phase), ("GuestShutdown", Phase::Succeeded));
    let (reason, phase, _) = end(fake(Guest::Panics), false, GRACE, false).await;
    assert_eq!((reason.as_str(), phase), ("GuestPanicked", Phase::Failed));
}

#[tokio::test(start_paused = true)]
async fn a_hung_guest_gets_its_grace_and_no_more() {
    let (reason, phase, took) = end(fake(Guest::Hangs), true, GRACE, false).await;
    assert_eq!((reason.as_str(), phase), ("GracePeriodExpired", Phase::Failed));
    assert!(took >= GRACE && took < GRACE + PRESS_EVERY, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn no_grace_means_at_once() {
    let (reason, _, took) = end(fake(Guest::WaitsForButton), true, Duration::ZERO, false).await;
    assert_eq!(reason, "GracePeriodExpired");
    assert!(took < PRESS_EVERY, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_vmm_that_answers_nothing_is_killed() {
    let (reason, phase, _) = end(fake(Guest::Hangs).with(Fault::AnswersNothing), true, GRACE, false).await;
    assert_eq!((reason.as_str(), phase), ("GracePeriodExpired", Phase::Failed));
}

#[tokio::test(start_paused = true)]
async fn a_killed_vmm_is_told_apart_from_a_full_cgroup() {
    let killed = || fake(Guest::Hangs).with(Fault::KilledBy(9));
    assert_eq!(end(killed(), false, GRACE, false).await.0, "QemuCrashed");
    assert_eq!(end(killed(), false, GRACE, true).await.0, "OOMKilled");
}

#[tokio::test(start_paused = true)]
async fn a_vmm_that_ends_while_we_ask_did_not_expire() {
    let config = crate::machine::tests::config();
    let machine = fake(Guest::Hangs).with(Fault::KilledBy(15)).start(&config).await.unwrap();
    let mut seen = Seen::default();
    let asked = Stage::Asked { until: Instant::now() + GRACE, press: Instant::now() };
    assert_eq!(step(&machine.handle, asked, &mut seen).await, Stage::Killed);
    assert!(!seen.expired);
}

fn full(times: u32) -> FakeVmm {
    fake(Guest::Hangs).with(Fault::DiskFull { drive: "root".into(), times })
}

/// Stops after so long.
async fn after(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_disk_is_full_is_said_to_be_paused_and_is_not_the_end() {
    let around = Around::default();
    let ending = end_in(full(1), after(3600), GRACE, &around).await;
    assert_eq!(ending.reason, "GracePeriodExpired", "it was paused when its Pod had to go");
    let paused = Health::DiskFull { drive: "root".into() };
    assert_eq!(*around.told.borrow(), [Health::Running, paused]);
}

#[tokio::test(start_paused = true)]
async fn a_guest_goes_on_as_soon_as_there_is_room() {
    let around = Around { room: Cell::new(true), ..Around::default() };
    // The first try finds that the room was not enough.
    end_in(full(2), after(60), Duration::ZERO, &around).await;
    let told = around.told.borrow().clone();
    assert_eq!(told.first(), Some(&Health::Running));
    assert_eq!(told.iter().filter(|health| matches!(health, Health::DiskFull { .. })).count(), 2, "{told:?}");
    assert_eq!(told.last(), Some(&Health::Running), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_vmm_that_hangs_is_said_to_be_silent() {
    let around = Around::default();
    end_in(fake(Guest::Hangs).with(Fault::AnswersNothing), after(120), GRACE, &around).await;
    assert_eq!(*around.told.borrow(), [Health::Running, Health::Silent]);
}
