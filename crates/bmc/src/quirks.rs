//! What a BMC does that the specification does not say. Each knob has a name, as `eject-lag=7s`, so that profiles, tests
//! and command lines say it alike. Without any, the service does what the specification says.

use std::time::Duration;

/// The knobs. `docs/redfish.md` says which servers have which.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Quirks {
    /// A PATCH of Boot with Target and Mode together answers success, and leaves Mode Legacy and Enabled Disabled.
    pub silent_boot_downgrade: bool,
    /// Every other Reset is accepted, and nothing happens.
    pub silent_reset: bool,
    /// Only this name of the CD boots virtual media; the other boots the disk.
    pub boots_only: Option<CdName>,
    /// How media are inserted.
    pub insert: Insert,
    /// Whose resource the slots are.
    pub media_on: MediaOn,
    /// The slots, in order.
    pub slots: Vec<Slot>,
    /// The System has `Links.Managers` in place of `Links.ManagedBy`.
    pub links_managers: bool,
    /// The collection of Systems begins with a member that is none and one that is another machine's.
    pub decoy_systems: bool,
    /// How long an eject runs on after its answer; an insert meanwhile is answered with 503.
    pub eject_lag: Duration,
    /// An eject without a body is answered with 415.
    pub eject_needs_body: bool,
    /// After an eject the name of the image is still shown, of a slot that is not connected.
    pub eject_sticky: bool,
    /// Once is taken, and stays as Continuous does.
    pub once_stays: bool,
    /// Continuous is refused.
    pub no_continuous: bool,
    /// A PATCH of Boot without `BootSourceOverrideEnabled` changes nothing.
    pub enabled_required: bool,
    /// A value equal to the present one is refused.
    pub enabled_unchanged_400: bool,
    /// Mode falls back to Legacy when Target is written without it.
    pub mode_reset_on_target: bool,
    /// There is no Mode.
    pub no_mode: bool,
    /// Only Target and Enabled are taken; anything else is refused.
    pub minimal_boot: bool,
    /// Enabled alone is refused.
    pub target_required: bool,
    /// All of Target, Enabled and Mode must be sent.
    pub full_boot_required: bool,
    /// How long after a start Boot and power cannot be changed.
    pub post: Duration,
    /// The real Boot is in a settings resource.
    pub boot_in_settings: bool,
    /// There is a settings resource, which takes no Boot.
    pub settings_decoy: bool,
    /// The override to the CD is taken and boots the disk; the vendor's attributes boot virtual media.
    pub idrac_old: bool,
    /// ETags are weak when gzip was offered, and a weak one is answered with 412.
    pub etag_weak_on_gzip: bool,
    /// ETags are always weak, and a weak one is answered with 412; without `W/` it is taken.
    pub etag_weak: bool,
    /// `Accept-Encoding: identity` is answered with 406.
    pub refuse_identity: bool,
    /// A PATCH without If-Match is answered with 428.
    pub if_match_required: bool,
    /// A PATCH without If-Match answers success and changes nothing.
    pub if_match_ignored_write: bool,
    /// How many sessions there may be.
    pub sessions: usize,
    /// How long a session lives after its last use.
    pub token_ttl: Duration,
    /// How many refused logins lock the account, and for how long.
    pub lockout: Option<(u32, Duration)>,
    /// Kept-alive connections are closed after each answer, without notice.
    pub close_idle: bool,
    /// Every so many requests, one is answered with the vendor's "data sources unavailable".
    pub sys518: Option<u64>,
    /// TLS 1.2 at most.
    pub tls12_only: bool,
    /// How long the service root takes.
    pub slow_root: Duration,
    /// The address of a new session is in the body only.
    pub session_in_body: bool,
    /// No session service: basic authentication only.
    pub no_sessions: bool,
    /// A Reset takes effect so long after its answer.
    pub slow_power: Duration,
    /// Fields that nobody needs are missing, null or nonsense.
    pub odd_documents: bool,
}

/// What the CD is called in the override's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CdName {
    /// `Cd`.
    Cd,
    /// `UsbCd`.
    UsbCd,
}

/// How media are inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// The action, with any of its parameters.
    Plain,
    /// No action: the resource is written.
    PatchOnly,
    /// The action, which refuses `Inserted` and `WriteProtected`.
    Minimal,
    /// The action demands `TransferProtocolType`, and `TransferMethod` if so.
    NeedsProtocol {
        /// Whether it demands `TransferMethod` too.
        method: bool,
    },
    /// The action demands `UserName` and `Password`.
    NeedsCredentials,
}

/// Whose resource the slots are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaOn {
    /// The Manager's.
    Manager,
    /// The System's.
    System,
    /// Both lists have the same slots.
    Both,
}

/// A slot for virtual media. `Cd` and `Dvd` are the machine's CD drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Takes a CD.
    Cd,
    /// Says that it takes a DVD only.
    Dvd,
    /// A USB stick.
    UsbStick,
    /// For the vendor's own console: insert is answered with 400.
    Kvm400,
    /// Insert is answered with 405.
    Nbd405,
    /// Has no actions, and takes no PATCH.
    NoAction,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            silent_boot_downgrade: false,
            silent_reset: false,
            boots_only: None,
            insert: Insert::Plain,
            media_on: MediaOn::System,
            slots: vec![Slot::Cd, Slot::UsbStick],
            links_managers: false,
            decoy_systems: false,
            eject_lag: Duration::ZERO,
            eject_needs_body: false,
            eject_sticky: false,
            once_stays: false,
            no_continuous: false,
            enabled_required: false,
            enabled_unchanged_400: false,
            mode_reset_on_target: false,
            no_mode: false,
            minimal_boot: false,
            target_required: false,
            full_boot_required: false,
            post: Duration::ZERO,
            boot_in_settings: false,
            settings_decoy: false,
            idrac_old: false,
            etag_weak_on_gzip: false,
            etag_weak: false,
            refuse_identity: false,
            if_match_required: false,
            if_match_ignored_write: false,
            sessions: 16,
            token_ttl: Duration::from_secs(1_800),
            lockout: None,
            close_idle: false,
            sys518: None,
            tls12_only: false,
            slow_root: Duration::ZERO,
            session_in_body: false,
            no_sessions: false,
            slow_power: Duration::ZERO,
            odd_documents: false,
        }
    }
}

/// A knob that there is not, or whose value cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quirk {0:?}: {1}")]
pub struct UnknownQuirk(String, &'static str);

impl Quirks {
    /// Turns a knob: `NAME` or `NAME=VALUE`, durations as `7s` or `250ms`.
    ///
    /// # Errors
    /// When there is no such knob, or its value is not one.
    pub fn set(&mut self, knob: &str) -> Result<(), UnknownQuirk> {
        let (name, value) = knob.split_once('=').map_or((knob, None), |(name, value)| (name, Some(value)));
        let turned = match value {
            None => self.switch(name),
            Some(value) => self.turn(name, value),
        };
        turned.ok_or_else(|| UnknownQuirk(knob.to_owned(), "is not a knob, or its value is not understood"))
    }

    fn switch(&mut self, name: &str) -> Option<()> {
        let flag = match name {
            "silent-boot-downgrade" => &mut self.silent_boot_downgrade,
            "silent-reset" => &mut self.silent_reset,
            "links-managers" => &mut self.links_managers,
            "decoy-systems" => &mut self.decoy_systems,
            "eject-needs-body" => &mut self.eject_needs_body,
            "eject-sticky" => &mut self.eject_sticky,
            "once-stays" => &mut self.once_stays,
            "no-continuous" => &mut self.no_continuous,
            "enabled-required" => &mut self.enabled_required,
            "enabled-unchanged-400" => &mut self.enabled_unchanged_400,
            "mode-reset-on-target" => &mut self.mode_reset_on_target,
            "no-mode" => &mut self.no_mode,
            "minimal-boot" => &mut self.minimal_boot,
            "target-required" => &mut self.target_required,
            "full-boot-required" => &mut self.full_boot_required,
            "boot-in-settings" => &mut self.boot_in_settings,
            "settings-decoy" => &mut self.settings_decoy,
            "idrac-old" => &mut self.idrac_old,
            "etag-weak-on-gzip" => &mut self.etag_weak_on_gzip,
            "etag-weak" => &mut self.etag_weak,
            "406-on-identity" => &mut self.refuse_identity,
            "ifmatch-required" => &mut self.if_match_required,
            "ifmatch-ignored-write" => &mut self.if_match_ignored_write,
            "close-idle" => &mut self.close_idle,
            "tls12-only" => &mut self.tls12_only,
            "session-in-body" => &mut self.session_in_body,
            "no-sessions" => &mut self.no_sessions,
            "odd-documents" => &mut self.odd_documents,
            _ => return self.insert_style(name),
        };
        *flag = true;
        Some(())
    }

    fn insert_style(&mut self, name: &str) -> Option<()> {
        self.insert = match name {
            "vmedia-patch-only" => Insert::PatchOnly,
            "vmedia-minimal" => Insert::Minimal,
            "vmedia-needs-protocol" => Insert::NeedsProtocol { method: false },
            "vmedia-needs-protocol+method" => Insert::NeedsProtocol { method: true },
            "vmedia-needs-credentials" => Insert::NeedsCredentials,
            _ => return None,
        };
        Some(())
    }

    fn turn(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "boots-only" => self.boots_only = Some(cd_name(value)?),
            "vmedia-on" => self.media_on = media_on(value)?,
            "slots" => self.slots = value.split(',').map(slot).collect::<Option<_>>()?,
            "eject-lag" => self.eject_lag = duration(value)?,
            "post" => self.post = duration(value)?,
            "sessions" => self.sessions = value.parse().ok()?,
            "token-ttl" => self.token_ttl = duration(value)?,
            "lockout" => {
                let (refusals, locked) = value.split_once('/')?;
                self.lockout = Some((refusals.parse().ok()?, duration(locked)?));
            }
            "sys518" => self.sys518 = Some(value.parse().ok().filter(|every| *every > 1)?),
            "slow-root" => self.slow_root = duration(value)?,
            "slow-power" => self.slow_power = duration(value)?,
            _ => return None,
        }
        Some(())
    }
}

fn cd_name(value: &str) -> Option<CdName> {
    match value {
        "cd" => Some(CdName::Cd),
        "usbcd" => Some(CdName::UsbCd),
        _ => None,
    }
}

fn media_on(value: &str) -> Option<MediaOn> {
    match value {
        "manager" => Some(MediaOn::Manager),
        "system" => Some(MediaOn::System),
        "both" => Some(MediaOn::Both),
        _ => None,
    }
}

fn slot(value: &str) -> Option<Slot> {
    match value {
        "cd" => Some(Slot::Cd),
        "dvd" => Some(Slot::Dvd),
        "usb" => Some(Slot::UsbStick),
        "kvm400" => Some(Slot::Kvm400),
        "nbd405" => Some(Slot::Nbd405),
        "noaction" => Some(Slot::NoAction),
        _ => None,
    }
}

fn duration(value: &str) -> Option<Duration> {
    match value.strip_suffix("ms") {
        Some(millis) => millis.parse().ok().map(Duration::from_millis),
        None => value.strip_suffix('s')?.parse().ok().map(Duration::from_secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_are_turned_by_name() {
        let mut quirks = Quirks::default();
        for knob in
            ["eject-lag=7s", "lockout=3/300s", "slots=dvd,kvm400,nbd405,cd", "vmedia-minimal", "no-mode"]
        {
            quirks.set(knob).unwrap();
        }
        assert_eq!(quirks.eject_lag, Duration::from_secs(7));
        assert_eq!(quirks.lockout, Some((3, Duration::from_secs(300))));
        assert_eq!(quirks.slots, [Slot::Dvd, Slot::Kvm400, Slot::Nbd405, Slot::Cd]);
        assert_eq!(quirks.insert, Insert::Minimal);
        assert!(quirks.no_mode);
        for knob in ["no-such", "no-mode=1", "eject-lag=7", "slots=tape", "sys518=0", "eject-lag"] {
            assert!(quirks.set(knob).is_err(), "{knob}");
        }
    }
}
