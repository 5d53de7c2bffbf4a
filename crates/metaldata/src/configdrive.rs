//! The config drive of a host: what its first boot is told.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use scute_api::metal3::BareMetalHost;
use serde_json::{Map, Value, json};

/// What a host's Secrets say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Secrets<'a> {
    /// User data, as it is.
    pub user_data: Option<&'a [u8]>,
    /// Additions to the metadata: a YAML mapping.
    pub meta_data: Option<&'a [u8]>,
    /// Network data: a YAML mapping in the words of OpenStack.
    pub network_data: Option<&'a [u8]>,
}

/// The part of a Secret that counts: what is under a key of its own, or under `value`, as in bootstrap Secrets of Cluster
/// API.
#[must_use]
pub fn secret_data<'a>(data: &'a BTreeMap<String, ByteString>, key: &str) -> Option<&'a [u8]> {
    data.get(key).or_else(|| data.get("value")).map(|found| found.0.as_slice())
}

/// Why there is no config drive. Names the part, never what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigDriveError {
    /// It is no YAML mapping.
    #[error("the Secret of spec.{0} holds no YAML mapping")]
    NoMapping(&'static str),
}

/// A config drive.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigDrive {
    meta_data: Value,
    user_data: Option<Vec<u8>>,
    network_data: Option<Value>,
}

impl ConfigDrive {
    /// The config drive of a host.
    ///
    /// # Errors
    /// When metadata or network data cannot be read.
    pub fn of(host: &BareMetalHost, secrets: &Secrets) -> Result<Self, ConfigDriveError> {
        let name = host.metadata.name.as_deref().unwrap_or_default();
        // No `hostname`, as upstream: cloud-init would take it instead of the `local-hostname` that a Secret may give.
        let mut meta_data = json!({
            "uuid": host.metadata.uid.as_deref().unwrap_or_default(),
            "metal3-namespace": host.metadata.namespace.as_deref().unwrap_or_default(),
            "metal3-name": name,
            "local-hostname": name,
            "local_hostname": name,
            "name": name,
        });
        let given = mapping("metaData", secrets.meta_data)?.unwrap_or_default();
        given.into_iter().for_each(|(key, value)| meta_data[key] = value);
        Ok(Self {
            meta_data,
            user_data: secrets.user_data.filter(|data| !data.is_empty()).map(<[u8]>::to_vec),
            network_data: mapping("networkData", secrets.network_data)?.map(Value::Object),
        })
    }

    /// The files on it, whose volume label is `config-2`.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let json = |value: &Value| format!("{value}\n").into_bytes();
        let mut files = vec![("openstack/latest/meta_data.json", json(&self.meta_data))];
        files.extend(self.user_data.clone().map(|data| ("openstack/latest/user_data", data)));
        files.extend(
            self.network_data.as_ref().map(|data| ("openstack/latest/network_data.json", json(data))),
        );
        files
    }
}

/// A YAML mapping; nothing is none.
fn mapping(
    field: &'static str,
    bytes: Option<&[u8]>,
) -> Result<Option<Map<String, Value>>, ConfigDriveError> {
    let Some(bytes) = bytes else { return Ok(None) };
    let text = std::str::from_utf8(bytes).map_err(|_| ConfigDriveError::NoMapping(field))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    match serde_saphyr::from_str(text) {
        Ok(Value::Object(fields)) => Ok(Some(fields)),
        Ok(Value::Null) => Ok(None),
        _ => Err(ConfigDriveError::NoMapping(field)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> BareMetalHost {
        let metadata =
            json!({"name": "server-1", "namespace": "metal", "uid": "0b5d1d4e-1111-2222-3333-444455556666"});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"online": true}})).unwrap()
    }

    fn files(secrets: &Secrets) -> BTreeMap<&'static str, String> {
        let files = ConfigDrive::of(&host(), secrets).unwrap().files();
        files.into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect()
    }

    #[test]
    fn without_secrets_there_are_defaults() {
        let files = files(&Secrets { user_data: Some(b""), meta_data: Some(b"\n"), network_data: None });
        assert_eq!(files.keys().copied().collect::<Vec<_>>(), ["openstack/latest/meta_data.json"]);
        let meta: Value = serde_json::from_str(&files["openstack/latest/meta_data.json"]).unwrap();
        let expected = json!({"uuid": "0b5d1d4e-1111-2222-3333-444455556666", "metal3-namespace": "metal",
            "metal3-name": "server-1", "local-hostname": "server-1", "local_hostname": "server-1", "name": "server-1"});
        assert_eq!(meta, expected);
    }

    #[test]
    fn a_secret_overrides_and_adds() {
        let files = files(&Secrets {
            user_data: Some(b"#cloud-config\n"),
            meta_data: Some(b"local-hostname: node-7\nprovider: metal3\nindex: 7\n"),
            network_data: Some(b"links: []\nnetworks:\n- {type: ipv4_dhcp, id: a, link: b}\n"),
        });
        let meta: Value = serde_json::from_str(&files["openstack/latest/meta_data.json"]).unwrap();
        assert_eq!(
            (&meta["local-hostname"], &meta["index"], &meta["name"]),
            (&json!("node-7"), &json!(7), &json!("server-1"))
        );
        assert_eq!(files["openstack/latest/user_data"], "#cloud-config\n");
        let network: Value = serde_json::from_str(&files["openstack/latest/network_data.json"]).unwrap();
        assert_eq!(
            network,
            json!({"links": [], "networks": [{"type": "ipv4_dhcp", "id": "a", "link": "b"}]})
        );
    }

    #[test]
    fn what_is_no_mapping_is_named_and_not_repeated() {
        for bad in [&b"hunter2"[..], b"- hunter2", b"{hunter2", b"\xff\xfe"] {
            let secrets = Secrets { meta_data: Some(bad), ..Secrets::default() };
            let error = ConfigDrive::of(&host(), &secrets).unwrap_err().to_string();
            assert!(error.contains("spec.metaData") && !error.contains("hunter2"), "{error}");
        }
        let secrets = Secrets { network_data: Some(b"[]"), ..Secrets::default() };
        assert_eq!(ConfigDrive::of(&host(), &secrets), Err(ConfigDriveError::NoMapping("networkData")));
    }

    #[test]
    fn a_bootstrap_secret_has_its_data_under_value() {
        let data = |key: &str| BTreeMap::from([(key.to_owned(), ByteString(b"x".to_vec()))]);
        for key in ["userData", "value"] {
            assert_eq!(secret_data(&data(key), "userData"), Some(&b"x"[..]));
        }
        assert_eq!(secret_data(&data("format"), "userData"), None);
        let both = BTreeMap::from([
            ("value".to_owned(), ByteString(b"v".to_vec())),
            ("userData".to_owned(), ByteString(b"u".to_vec())),
        ]);
        assert_eq!(secret_data(&both, "userData"), Some(&b"u"[..]));
    }
}
