//! Kernel settings of the machine that a site changes, and their way back. In: the site's network mode.
//! Out: what was changed, to be kept until `down`.

use crate::{NetworkMode, SiteConfig, config, layout::SiteName};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// inotify instances per user. The default of many machines is used up by ten tenants.
const INOTIFY: &str = "/proc/sys/fs/inotify/max_user_instances";
const FEW_INOTIFY_INSTANCES: u64 = 128;
const ENOUGH_INOTIFY_INSTANCES: &str = "8192";

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Settings of the network that the site lives in: forwarding for Pods, and netfilter on the bridge between them.
/// The bridge's exists only where the kernel has it.
pub const NETWORK: [(&str, &str); 2] =
    [(FORWARD, "1"), ("/proc/sys/net/bridge/bridge-nf-call-iptables", "1")];

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

/// Changes what a site needs on the machine itself; gives what is different now.
pub fn change(config: &SiteConfig) -> Vec<Setting> {
    let few = crate::host::facts::number(INOTIFY).is_some_and(|now| now <= FEW_INOTIFY_INSTANCES);
    let mut wanted = Vec::new();
    if few {
        wanted.push((INOTIFY, ENOUGH_INOTIFY_INSTANCES));
    }
    match config.network {
        NetworkMode::Host => wanted.extend(NETWORK),
        NetworkMode::Namespace if config.masquerade => wanted.push((FORWARD, "1")),
        NetworkMode::Namespace => {}
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

/// Whether a site lives on this setting of the machine.
pub fn needs(config: &SiteConfig, setting: &Setting) -> bool {
    let network = NETWORK.iter().any(|(path, _)| *path == setting.path);
    match config.network {
        NetworkMode::Host => network || setting.path == INOTIFY,
        NetworkMode::Namespace => setting.path == INOTIFY || config.masquerade && setting.path == FORWARD,
    }
}

/// Puts settings back; those that other sites of the machine live on are left to one of them.
pub fn give_back(site: &SiteName, changed: Vec<Setting>) {
    let others = config::all_sites().into_iter().filter(|(name, _)| name != site);
    let mut others: Vec<_> = others.filter_map(|(_, found)| found.ok()).collect();
    for setting in changed {
        match others.iter_mut().find(|(_, config)| needs(config, &setting)) {
            None => restore(&setting),
            Some((layout, config)) => {
                config.changed_settings.push(setting);
                // When that fails it stays as it is, which hurts nobody.
                _ = config.save(layout);
            }
        }
    }
}

/// Puts a setting back, unless somebody else changed it since.
fn restore(setting: &Setting) {
    if fs::read_to_string(&setting.path).is_ok_and(|now| now.trim() == setting.ours) {
        // The machine let us write it before; if it does not now, the value is a harmless one.
        _ = fs::write(&setting.path, &setting.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addresses::Addresses;

    #[test]
    fn a_site_forwards_on_the_machine_only_where_it_has_a_way_out() {
        let site = |network, masquerade| {
            let addresses = Addresses::of(0, &Default::default());
            SiteConfig { network, masquerade, ..SiteConfig::sample(addresses) }
        };
        let setting = |path: &str| Setting { path: path.to_owned(), before: "0".into(), ours: "1".into() };
        for (network, masquerade, forwards) in [
            (NetworkMode::Namespace, false, false),
            (NetworkMode::Namespace, true, true),
            (NetworkMode::Host, false, true),
        ] {
            let site = site(network, masquerade);
            assert_eq!(needs(&site, &setting(FORWARD)), forwards, "{network:?} {masquerade}");
            assert!(needs(&site, &setting(INOTIFY)));
        }
    }

    #[test]
    fn a_setting_goes_back_unless_somebody_else_changed_it_since() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("setting").display().to_string();
        for (now, after) in [("1\n", "0"), ("2\n", "2\n")] {
            fs::write(&path, now).unwrap();
            restore(&Setting { path: path.clone(), before: "0".into(), ours: "1".into() });
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }
}
