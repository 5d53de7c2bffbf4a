//! Kernel settings of the machine that a site changes, and their way back. In: the site's network mode.
//! Out: what was changed, to be kept until `down`.

use crate::NetworkMode;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// inotify instances per user. The default of many machines is used up by ten tenants.
const INOTIFY: &str = "/proc/sys/fs/inotify/max_user_instances";
const FEW_INOTIFY_INSTANCES: u64 = 128;
const ENOUGH_INOTIFY_INSTANCES: &str = "8192";

/// Settings of the network that the site lives in: forwarding for Pods, and netfilter on the bridge between them.
/// The bridge's exists only where the kernel has it.
pub const NETWORK: [(&str, &str); 2] =
    [("/proc/sys/net/ipv4/ip_forward", "1"), ("/proc/sys/net/bridge/bridge-nf-call-iptables", "1")];

/// What is set besides in a network namespace of the site's own. A Service without ready Pods refuses connections by
/// ICMP: at the usual one message a second most clients would not hear it, and only try again a second later.
pub const OWN_NETWORK: [(&str, &str); 1] = [("/proc/sys/net/ipv4/icmp_ratelimit", "0")];

/// One changed setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its file.
    pub path: String,
    /// What it was.
    pub before: String,
    /// What we wrote.
    pub ours: String,
}

/// Changes what a site of this mode needs on the machine itself; gives what is different now.
pub fn change(network: NetworkMode) -> Vec<Setting> {
    let few = crate::host::facts::number(INOTIFY).is_some_and(|now| now <= FEW_INOTIFY_INSTANCES);
    let mut wanted = Vec::new();
    if few {
        wanted.push((INOTIFY, ENOUGH_INOTIFY_INSTANCES));
    }
    if network == NetworkMode::Host {
        wanted.extend(NETWORK);
    }
    wanted.into_iter().filter_map(|(path, ours)| set(path, ours)).collect()
}

fn set(path: &str, ours: &str) -> Option<Setting> {
    let before = fs::read_to_string(path).ok()?.trim().to_owned();
    if before == ours {
        return None;
    }
    fs::write(path, ours).ok()?;
    Some(Setting { path: path.to_owned(), before, ours: ours.to_owned() })
}

/// Whether inotify instances are few and we cannot change that.
pub fn few_inotify_instances() -> Option<u64> {
    let now = crate::host::facts::number(INOTIFY)?;
    let may = rustix::fs::access(Path::new(INOTIFY), rustix::fs::Access::WRITE_OK).is_ok();
    (now <= FEW_INOTIFY_INSTANCES && !may).then_some(now)
}

/// Whether other sites of the machine live on this setting too.
pub fn is_shared(setting: &Setting) -> bool {
    setting.path == INOTIFY
}

/// Puts settings back, but for those that somebody else changed since.
pub fn restore(settings: &[Setting]) {
    for setting in settings {
        if fs::read_to_string(&setting.path).is_ok_and(|now| now.trim() == setting.ours) {
            // The machine let us write it before; if it does not now, the value is a harmless one.
            _ = fs::write(&setting.path, &setting.before);
        }
    }
}
