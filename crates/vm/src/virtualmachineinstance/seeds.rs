//! The Secrets that a guest's cloud-init data comes from, in the words of the person who named them. Pure.

use scute_api::kubevirt::VirtualMachineInstanceSpec;
use scute_kit::Why;

use super::guest::CLOUD_INIT_DIR;

/// What the launcher says when it finds no data.
const NO_SEED: &str = "CloudInitFailed";
/// The spellings of the key with user data.
const USER_KEYS: [&str; 2] = ["userdata", "userData"];

/// Volume, field and name of each Secret.
fn references(spec: &VirtualMachineInstanceSpec) -> Vec<(&str, &'static str, &str)> {
    let mut list = Vec::new();
    for volume in &spec.volumes {
        for data in [&volume.cloud_init_no_cloud, &volume.cloud_init_config_drive].into_iter().flatten() {
            let named =
                [("secretRef", &data.secret_ref), ("networkDataSecretRef", &data.network_data_secret_ref)];
            for (field, reference) in named {
                list.extend(
                    reference.iter().map(|secret| (volume.name.as_str(), field, secret.name.as_str())),
                );
            }
        }
    }
    list
}

/// The first Secret that does not exist. The Pod waits for it.
#[must_use]
pub fn missing(spec: &VirtualMachineInstanceSpec, exists: impl Fn(&str) -> bool) -> Option<Why> {
    let (volume, field, secret) = references(spec).into_iter().find(|(_, _, secret)| !exists(secret))?;
    let message = format!(
        "Secret {secret}, which {field} of volume {volume} names, does not exist; the guest starts when it does"
    );
    Some(Why::new("SecretNotFound", message))
}

/// A launcher knows the files that it looked for; the person who wrote the spec knows a Secret and its keys.
#[must_use]
pub fn explained(spec: &VirtualMachineInstanceSpec, why: Why) -> Why {
    if why.reason != NO_SEED {
        return why;
    }
    let looked_for = |volume: &str| {
        USER_KEYS.iter().all(|key| why.message.contains(&format!("{CLOUD_INIT_DIR}/{volume}/user/{key}\"")))
    };
    let found =
        references(spec).into_iter().find(|(volume, field, _)| *field == "secretRef" && looked_for(volume));
    match found {
        Some((volume, field, secret)) => Why::new(
            NO_SEED,
            format!(
                "Secret {secret}, which {field} of volume {volume} names, has no key {} (or {}) with the user data",
                USER_KEYS[0], USER_KEYS[1]
            ),
        ),
        None => why,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> VirtualMachineInstanceSpec {
        serde_json::from_value(json!({"domain": {}, "volumes": [
            {"name": "root", "containerDisk": {"image": "i"}},
            {"name": "seed", "cloudInitNoCloud": {
                "secretRef": {"name": "users"}, "networkDataSecretRef": {"name": "nets"}}},
        ]}))
        .unwrap()
    }

    #[test]
    fn a_missing_secret_is_named_with_its_field() {
        assert_eq!(missing(&spec(), |_| true), None);
        let why = missing(&spec(), |name| name == "users").unwrap();
        assert_eq!(why.reason, "SecretNotFound");
        assert!(
            why.message
                .starts_with("Secret nets, which networkDataSecretRef of volume seed names, does not exist"),
            "{}",
            why.message
        );
    }

    #[test]
    fn a_key_that_is_not_there_is_named_instead_of_a_file() {
        let files = format!(
            r#"volume seed: no cloud-init seed: none of ["{CLOUD_INIT_DIR}/seed/user/userdata", "{CLOUD_INIT_DIR}/seed/user/userData"] exists"#
        );
        let told = explained(&spec(), Why::new(NO_SEED, files));
        assert_eq!(
            told.message,
            "Secret users, which secretRef of volume seed names, has no key userdata (or userData) with the user data"
        );
        let unreadable = Why::new(NO_SEED, format!("cannot read {CLOUD_INIT_DIR}/seed/user/userdata"));
        assert_eq!(explained(&spec(), unreadable.clone()), unreadable);
        let other = Why::new("BackingFile", "m");
        assert_eq!(explained(&spec(), other.clone()), other);
    }
}
