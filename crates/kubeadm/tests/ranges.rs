//! Service ranges, against what kube-apiserver does with them.

use ipnet::IpNet;
use scute_kubeadm::{Version, check_dns_address, check_first_family, check_service_range};

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Range, and whether kube-apiserver 1.33 and 1.35 take it.
const RANGES: [(&str, bool, bool); 16] = [
    ("10.96.0.0/16", true, true),
    ("10.96.0.0/12", true, true),
    ("10.0.0.0/11", false, true),
    ("10.128.0.0/9", false, true),
    ("10.93.0.0/29", true, true),
    ("10.93.0.0/30", false, false),
    ("10.93.0.0/31", false, false),
    ("10.94.0.1/32", false, false),
    ("fd00::/108", true, true),
    ("fd00::/112", true, true),
    ("fd00::/125", true, true),
    ("fd00::/126", false, false),
    ("fd00::/64", false, true),
    ("fd00::/63", false, false),
    ("fd00:93::/48", false, false),
    ("fd00:95::/32", false, false),
];

#[test]
fn ranges_that_kube_apiserver_does_not_take() {
    for (range, old, new) in RANGES {
        for (release, fine) in [("v1.33.1", old), ("v1.34.0", new), ("v1.35.4", new)] {
            assert_eq!(
                check_service_range(&net(range), &version(release)).is_ok(),
                fine,
                "{range} {release}"
            );
        }
    }
}

#[test]
fn the_message_says_what_would_do() {
    let said = |range: &str, release: &str| {
        check_service_range(&net(range), &version(release)).unwrap_err().to_string()
    };
    assert_eq!(
        said("10.93.0.0/30", "v1.35.4"),
        "is too small: kube-apiserver needs at least 8 addresses, so a /29 or a wider range"
    );
    assert_eq!(
        said("fd00:95::/32", "v1.35.4"),
        "is too wide: Kubernetes v1.35 takes a /64 or a narrower range"
    );
    assert!(said("10.0.0.0/8", "v1.33.0").contains("a /12"));
    assert!(said("fd00::/64", "v1.33.0").contains("a /108"));
}

#[test]
fn a_range_without_an_address_for_dns() {
    for (range, fine) in [
        ("10.93.0.16/28", true),
        ("10.93.0.8/29", false),
        ("fd00::/123", true),
        ("fd00::/124", false),
        ("10.96.0.0/16", true),
    ] {
        assert_eq!(check_dns_address(&net(range)).is_ok(), fine, "{range}");
    }
    let said = check_dns_address(&net("10.93.0.8/29")).unwrap_err().to_string();
    assert!(said.contains("/28") && said.contains("dnsServiceIPs"), "{said}");
}

#[test]
fn the_first_range_has_the_family_of_the_endpoint() {
    let (four, six) = (net("10.96.0.0/16"), net("fd00::/112"));
    let (at_four, at_six) = ("10.0.0.1".parse().unwrap(), "fd01::1".parse().unwrap());
    assert!(check_first_family(&four, at_four).is_ok() && check_first_family(&six, at_six).is_ok());
    assert!(check_first_family(&four, at_six).is_err());
    let said = check_first_family(&six, at_four).unwrap_err().to_string();
    assert!(said.contains("10.0.0.1") && said.ends_with("the first range has to be IPv4"), "{said}");
}
