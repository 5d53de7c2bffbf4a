//! Forwarded ports of Pods that were killed with their site: CNI's `portmap` removes them only with the Pod. In: the
//! rules of the machine. Out: those of the site's network, deleted. Never: touches a rule of another CNI network.

use scute_processes::command::run;
use std::collections::BTreeSet;

/// Removes them from the machine's own network, where they would outlive the site.
pub fn remove_left(network: &str) {
    // Without `iptables` there is no rule of it.
    let rules = run("iptables-save", &["-t", "nat"], None).unwrap_or_default();
    if let Some(orders) = deletions(&rules, network) {
        _ = run("iptables-restore", &["--noflush"], Some(&orders));
    }
}

/// For `iptables-restore`: deletes each rule that `portmap` marked with the network's name, and the chain that it leads
/// to. `None` when there is none.
fn deletions(rules: &str, network: &str) -> Option<String> {
    let mark = format!("dnat name: \\\"{network}\\\" id:");
    let ours = |line: &&str| line.starts_with("-A CNI-HOSTPORT-DNAT ") && line.contains(&mark);
    let found: Vec<_> = rules.lines().filter(ours).collect();
    if found.is_empty() {
        return None;
    }
    // One chain per Pod, whatever number of rules leads to it.
    let targets = found.iter().filter_map(|line| line.split_whitespace().last());
    let chains: BTreeSet<_> = targets.filter(|name| name.starts_with("CNI-DN-")).collect();
    let rules = found.iter().map(|line| format!("{}\n", line.replacen("-A ", "-D ", 1)));
    let chains = chains.iter().map(|chain| format!("-F {chain}\n-X {chain}\n"));
    Some(format!("*nat\n{}COMMIT\n", rules.chain(chains).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_networks_ports_stay() {
        let rules = r#"*nat
:CNI-DN-1 - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-DN-1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.85.0.9:80
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"scute\" id: \"a\"" -m multiport --dports 80 -j CNI-DN-1
-A CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"scute\" id: \"a\"" -m multiport --dports 53 -j CNI-DN-1
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"scuter\" id: \"b\"" -m multiport --dports 81 -j CNI-DN-2
COMMIT
"#;
        let orders = deletions(rules, "scute").unwrap();
        let expected = r#"*nat
-D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"scute\" id: \"a\"" -m multiport --dports 80 -j CNI-DN-1
-D CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"scute\" id: \"a\"" -m multiport --dports 53 -j CNI-DN-1
-F CNI-DN-1
-X CNI-DN-1
COMMIT
"#;
        assert_eq!(orders, expected);
        assert_eq!(deletions("", "scute"), None);
    }

    /// In a network namespace that ends with its thread; root, as everything that touches netfilter.
    #[test]
    fn iptables_takes_the_deletions() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let left = std::thread::spawn(|| {
            // SAFETY: this thread shares no file descriptors with others that it would lose.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
            let rules = "*nat\n:CNI-HOSTPORT-DNAT -\n:CNI-DN-1 -\n:CNI-DN-2 -\n\
                -A CNI-DN-1 -p tcp -m tcp --dport 80 -j ACCEPT\n\
                -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment \"dnat name: \\\"scute\\\" id: \\\"a\\\"\" -j CNI-DN-1\n\
                -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment \"dnat name: \\\"other\\\" id: \\\"b\\\"\" -j CNI-DN-2\n\
                COMMIT\n";
            run("iptables-restore", &["--noflush"], Some(rules)).unwrap();
            remove_left("scute");
            run("iptables-save", &["-t", "nat"], None).unwrap()
        });
        let left = left.join().unwrap();
        assert!(!left.contains("CNI-DN-1") && left.contains("CNI-DN-2"), "{left}");
    }
}
