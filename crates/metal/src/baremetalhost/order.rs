//! What a BMC is told: each order a few requests that may be repeated from their beginning at any time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::dataimage::Disc;
use scute_redfish::{Bmc, BootDevice, BootMode, Error, NextBoot, Power, PowerAction, State};

/// One order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Who are you?
    Register,
    /// How are you?
    Look,
    /// Start from the medium of this address.
    StartMedium {
        /// Where the BMC finds it.
        url: String,
        /// By which firmware.
        mode: BootMode,
        /// See [`NextBoot::attempt`].
        attempt: u8,
    },
    /// Start from the disk, without a medium.
    StartDisk {
        /// By which firmware.
        mode: BootMode,
    },
    /// No medium, and no power.
    Retire,
    /// Power on.
    On {
        /// What becomes of the CD drive before.
        disc: Disc,
    },
    /// Power off.
    Off {
        /// The guest is asked first.
        softly: bool,
    },
}

/// How long a guest may take to power off when it is asked; then the power goes. As upstream.
const SOFT_OFF: Duration = Duration::from_secs(180);
/// Between two looks at a guest that was asked to power off: a BMC cannot be watched.
const BETWEEN: Duration = Duration::from_secs(5);
/// How long all of an order may take, with all that a slow BMC takes for each request.
const LONG: Duration = Duration::from_secs(600);
/// How long a question may take.
const BRIEF: Duration = Duration::from_secs(90);

impl Order {
    /// How long it may take.
    pub fn limit(&self) -> Duration {
        match self {
            Self::Register | Self::Look => BRIEF,
            Self::StartMedium { .. }
            | Self::StartDisk { .. }
            | Self::Retire
            | Self::On { .. }
            | Self::Off { .. } => LONG,
        }
    }

    /// What is being done, as a person says it.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Register => "the BMC is asked who it is",
            Self::Look => "the BMC is asked for its state",
            Self::StartMedium { .. } => "the host is being started from virtual media",
            Self::StartDisk { .. } => "the host is being started from its disk",
            Self::Retire => "the host is being powered off",
            Self::On { .. } => "the host is being powered on",
            Self::Off { softly: true } => "the host is asked to power off",
            Self::Off { softly: false } => "the host is being powered off",
        }
    }

    /// Has it done, and gives how the host is then. A host that is never powered off is restarted instead.
    pub async fn carry_out(&self, bmc: &dyn Bmc, never_off: bool) -> Result<State, Error> {
        match self {
            Self::Register => return Ok(bmc.identify().await?.state),
            Self::Look => {}
            Self::StartMedium { url, mode, attempt } => {
                self.off_before_start(bmc, never_off).await?;
                bmc.insert(url).await?;
                let boot = NextBoot { device: BootDevice::Cd, mode: *mode, attempt: *attempt };
                bmc.boot_next(boot).await?;
                start(bmc).await?;
            }
            Self::StartDisk { mode } => {
                self.off_before_start(bmc, never_off).await?;
                bmc.eject().await?;
                let boot = NextBoot { device: BootDevice::Disk, mode: *mode, attempt: 0 };
                bmc.boot_next(boot).await?;
                start(bmc).await?;
            }
            Self::Retire => {
                self.off_before_start(bmc, never_off).await?;
                bmc.eject().await?;
                if never_off {
                    bmc.power(PowerAction::Restart).await?;
                }
            }
            Self::On { disc } => {
                match disc {
                    Disc::Leave => {}
                    Disc::Insert(url) => bmc.insert(url).await?,
                    Disc::Eject => bmc.eject().await?,
                }
                bmc.power(PowerAction::On).await?;
            }
            Self::Off { .. } if never_off => bmc.power(PowerAction::Restart).await?,
            Self::Off { softly: false } => bmc.power(PowerAction::ForceOff).await?,
            Self::Off { softly: true } => softly_off(bmc).await?,
        }
        bmc.state().await
    }

    /// What boots next is written while the host is off: many BMCs refuse it while a host starts.
    async fn off_before_start(&self, bmc: &dyn Bmc, never_off: bool) -> Result<(), Error> {
        if never_off { Ok(()) } else { bmc.power(PowerAction::ForceOff).await }
    }
}

/// A host that is on at this moment was started past what boots next: by a BMC that carries out an earlier order late, or
/// by a person. It is started once more, as one that is never off.
async fn start(bmc: &dyn Bmc) -> Result<(), Error> {
    bmc.power(PowerAction::Restart).await
}

async fn softly_off(bmc: &dyn Bmc) -> Result<(), Error> {
    let end = Instant::now() + SOFT_OFF;
    match bmc.power(PowerAction::GracefulOff).await {
        Ok(()) => return Ok(()),
        // The guest takes its time, or does not listen.
        Err(Error::NotTaken { .. }) => {}
        Err(error) => return Err(error),
    }
    while Instant::now() < end {
        if bmc.state().await?.power == Power::Off {
            return Ok(());
        }
        sleep(BETWEEN).await;
    }
    bmc.power(PowerAction::ForceOff).await
}
