//! How much of the Pod range each Node gets, where the controller-manager's default does not fit.

use ipnet::IpNet;

/// The controller-manager gives a Node a /24 or a /64, and ends when the range is smaller than that, or more than
/// 2^16 times larger. Flags for the ranges that its default does not fit.
pub fn node_masks(pods: &[IpNet]) -> Vec<(&'static str, String)> {
    let dual = pods.len() > 1;
    pods.iter()
        .filter_map(|net| {
            let mask = mask(net)?;
            let flag = match (dual, net) {
                (false, _) => "node-cidr-mask-size",
                (true, IpNet::V4(_)) => "node-cidr-mask-size-ipv4",
                (true, IpNet::V6(_)) => "node-cidr-mask-size-ipv6",
            };
            Some((flag, mask.to_string()))
        })
        .collect()
}

/// `None` where the default is fine: room for at least four Nodes.
fn mask(net: &IpNet) -> Option<u8> {
    let (prefix, default, longest) = match net {
        IpNet::V4(net) => (net.prefix_len(), 24, 30),
        IpNet::V6(net) => (net.prefix_len(), 64, 126),
    };
    if prefix + 2 > default {
        return Some((prefix + 4).min(longest).max(prefix));
    }
    (default - prefix > 16).then_some(prefix + 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(nets: &[&str]) -> Vec<String> {
        let nets: Vec<_> = nets.iter().map(|net| net.parse().expect("a CIDR")).collect();
        node_masks(&nets).into_iter().map(|(flag, mask)| format!("{flag}={mask}")).collect()
    }

    #[test]
    fn the_default_is_kept_where_it_fits() {
        assert!(masks(&["10.244.0.0/16"]).is_empty());
        assert!(masks(&["10.244.0.0/22"]).is_empty());
        assert!(masks(&["10.244.0.0/16", "fd00::/48"]).is_empty());
    }

    #[test]
    fn small_and_huge_ranges_get_their_own() {
        assert_eq!(masks(&["10.244.0.0/24"]), ["node-cidr-mask-size=28"]);
        assert_eq!(masks(&["10.0.0.0/7"]), ["node-cidr-mask-size=23"]);
        assert_eq!(masks(&["10.244.0.0/16", "fd00::/64"]), ["node-cidr-mask-size-ipv6=68"]);
        assert_eq!(masks(&["10.244.0.0/30"]), ["node-cidr-mask-size=30"]);
    }
}
