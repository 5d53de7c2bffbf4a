//! The way out: what leaves a site gets the machine's address, as nobody else knows the way to a Pod. In: a site's
//! configuration. Out: a table of nftables with the site's name. Never: touches a rule of somebody else's.

use crate::{Layout, NetworkMode, SiteConfig};
use scute_processes::command::{CommandError, run};

/// The port of VXLAN: guests are Nodes, and their peers outside know them by their own addresses (docs/podnet.md).
const OVERLAY: u16 = 4789;

/// Puts the rules in place, or takes them away where the site has no way out.
pub fn apply(layout: &Layout, config: &SiteConfig) -> Result<(), CommandError> {
    if !config.masquerade {
        remove(layout);
        return Ok(());
    }
    run("nft", &["-f", "-"], Some(&render(layout, config))).map(drop)
}

/// What is wrong with the way out.
pub fn problem(layout: &Layout, config: &SiteConfig) -> Option<String> {
    let table = || run("nft", &["list", "table", "ip", &layout.netns()], None);
    let error = config.masquerade.then(table)?.err()?;
    let why = scute_processes::chain(&error);
    Some(format!("the way out is not there ({why}); `scute up --site {}` brings it back", config.name))
}

/// Takes the rules away.
pub fn remove(layout: &Layout) {
    // There may be no table; and without `nft` there can be none.
    _ = run("nft", &["delete", "table", "ip", &layout.netns()], None);
}

/// One transaction: the table of before is gone when the new one is there.
fn render(layout: &Layout, config: &SiteConfig) -> String {
    let (table, addresses, interface) =
        (layout.netns(), &config.addresses, config.addresses.host_interface());
    let from = match config.network {
        // The Node pulls images from its own address.
        NetworkMode::Namespace => format!("{{ {}, {} }}", addresses.link, addresses.pods),
        NetworkMode::Host => addresses.pods.to_string(),
    };
    format!(
        "table ip {table}\n\
         delete table ip {table}\n\
         table ip {table} {{\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip saddr {from} oifname != \"{interface}\" udp dport {OVERLAY} accept\n\
         \t\tip saddr {from} oifname != \"{interface}\" masquerade\n\
         \t}}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SiteName, addresses::Addresses};
    use std::path::PathBuf;

    fn rules(network: NetworkMode) -> String {
        let layout = Layout::new(SiteName::new("lab").unwrap(), PathBuf::from("/srv/lab"));
        let addresses = Addresses::of(1, &Default::default());
        render(&layout, &SiteConfig { network, masquerade: true, ..SiteConfig::sample(addresses) })
    }

    #[test]
    fn what_leaves_by_another_interface_than_the_sites_own_gets_the_machines_address() {
        let namespace = rules(NetworkMode::Namespace);
        let rule = "ip saddr { 172.30.1.0/24, 10.87.0.0/16 } oifname != \"scute1\" masquerade";
        assert!(namespace.contains(rule), "{namespace}");
        let overlay =
            "ip saddr { 172.30.1.0/24, 10.87.0.0/16 } oifname != \"scute1\" udp dport 4789 accept\n";
        assert!(
            namespace.find(overlay) < namespace.find(rule),
            "a guest's tunnel keeps its address: {namespace}"
        );
        // The machine's own packets are none of ours.
        assert!(rules(NetworkMode::Host).contains("ip saddr 10.87.0.0/16 oifname != \"scute1\" masquerade"));
    }

    /// In a network namespace that ends with its thread; root, as everything that touches netfilter.
    #[test]
    fn the_kernel_takes_the_rules_again_and_again() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let listed = std::thread::spawn(|| {
            // SAFETY: this thread shares no file descriptors with others that it would lose.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
            for network in [NetworkMode::Namespace, NetworkMode::Host] {
                for _ in 0..2 {
                    run("nft", &["-f", "-"], Some(&rules(network))).unwrap();
                }
            }
            run("nft", &["list", "table", "ip", "scute-lab"], None).unwrap()
        });
        let listed = listed.join().unwrap();
        assert_eq!(listed.matches("masquerade").count(), 1, "{listed}");
    }
}
