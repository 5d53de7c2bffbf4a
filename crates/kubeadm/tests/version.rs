//! Reading versions, and which ones a control plane may have.

use proptest::prelude::*;
use scute_kubeadm::{KUBERNETES_VERSION, Version, VersionError, check_image_tag};

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

#[test]
fn both_spellings_are_one_version() {
    assert_eq!(version("1.35.4"), version("v1.35.4"));
    assert_eq!(version("1.35.4").to_string(), "v1.35.4");
    assert_eq!(version("v1.36.0-rc.1+abc").without_v(), "1.36.0-rc.1+abc");
    assert_eq!(Version::supported().to_string(), KUBERNETES_VERSION);
}

#[test]
fn nonsense_is_refused() {
    for text in [
        "",
        "v",
        "foo",
        "1.35",
        "v1.35.4.5",
        "1.35.x",
        "1.+35.4",
        "1.035.4",
        "vv1.35.4",
        "1.35.4-",
        "1.35.4-a b",
    ] {
        assert!(text.parse::<Version>().is_err(), "{text:?}");
    }
}

#[test]
fn a_new_control_plane_is_at_most_as_new_as_we_are() {
    assert!(version("v1.35.99").check_create().is_ok());
    assert!(version("v1.31.0").check_create().is_ok());
    let error = version("v1.36.0").check_create().unwrap_err();
    let kamaji = "unable to create a TenantControlPlane with a Kubernetes version greater than the supported one, actually v1.35";
    assert_eq!(error.to_string(), kamaji);
}

#[test]
fn what_is_too_old_is_refused_by_name() {
    let said = version("v1.30.9").check_create().unwrap_err().to_string();
    assert_eq!(said, "Kubernetes v1.30.9 is not supported: the oldest that is supported is v1.31");
    let old = version("v1.30.1");
    assert!(old.check_update(&old).is_ok(), "what is there already can be edited");
    assert!(old.check_update(&version("v1.31.0")).is_ok(), "and upgraded");
    assert!(matches!(old.check_update(&version("v1.30.2")), Err(VersionError::TooOld { .. })));
}

#[test]
fn a_tag_that_no_image_can_have() {
    for tag in ["v1.35.4", "v1.36.0-rc.1", "v1.35.4-lab_2", &format!("v{}", "1".repeat(127))] {
        assert!(check_image_tag(tag).is_ok(), "{tag}");
    }
    for tag in ["", "v1.35.4-rc.1+x", "v1.35.4/x", "v1.35.4:x", ".v1", "-v1", &"1".repeat(129)] {
        let said = check_image_tag(tag).unwrap_err().to_string();
        assert!(said.contains(tag) && said.contains("tag of an image"), "{said}");
    }
}

#[test]
fn updates_go_one_minor_at_a_time() {
    let check = |from: &str, to: &str| version(from).check_update(&version(to));
    assert!(check("v1.34.3", "v1.35.0").is_ok());
    assert!(check("v1.35.4", "v1.35.0").is_ok(), "a patch may go down");
    assert!(matches!(check("v1.35.0", "v1.34.9"), Err(VersionError::Downgrade { .. })));
    assert!(matches!(check("v1.33.0", "v1.35.0"), Err(VersionError::SkippedMinor { .. })));
    assert!(matches!(check("v1.35.0", "v1.36.0"), Err(VersionError::UpgradeTooNew { .. })));
    assert!(check("v1.99.0", "v1.99.0").is_ok(), "a version that is there already must stay editable around");
    assert_eq!(
        check("v1.35.1", "v1.34.2").unwrap_err().to_string(),
        "unable to downgrade a TenantControlPlane from v1.35.1 to v1.34.2"
    );
}

proptest! {
    #[test]
    fn what_is_shown_can_be_read(major in 0u32..9, minor in any::<u32>(), patch in any::<u32>()) {
        let text = format!("v{major}.{minor}.{patch}");
        prop_assert_eq!(version(&text).to_string(), text);
    }

    #[test]
    fn no_input_panics(text in "\\PC*") {
        _ = text.parse::<Version>();
    }
}
