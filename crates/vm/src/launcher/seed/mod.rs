//! Seed images for cloud-init: what is in them ([`contents`]) and the ISO 9660 image around it ([`iso`]).

mod iso;

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::spec::{CloudInit, CloudInitFormat, Data, LauncherSpec};

/// Why a seed image was not made.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// None of the files that may hold the data exists.
    #[error("none of {paths:?} exists")]
    Missing {
        /// The files that were tried.
        paths: Vec<String>,
    },
    /// A file with data cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The data is not base64.
    #[error("the data is not valid base64")]
    Base64(#[source] base64::DecodeError),
    /// The image cannot be laid out.
    #[error("the seed image does not fit its format")]
    Layout(#[from] iso::LayoutError),
}

/// The seed image of one disk. The same input gives the same bytes, so a restarted VM keeps its instance.
pub fn image(spec: &LauncherSpec, cloud_init: &CloudInit) -> Result<Vec<u8>, SeedError> {
    let files = contents(spec, cloud_init)?;
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect();
    let volume = match cloud_init.format {
        CloudInitFormat::NoCloud => "cidata",
        CloudInitFormat::ConfigDrive => "config-2",
    };
    Ok(iso::image(volume, &files)?)
}

/// The files of a seed image.
fn contents(spec: &LauncherSpec, cloud_init: &CloudInit) -> Result<Vec<(&'static str, Vec<u8>)>, SeedError> {
    let user_data = cloud_init.user_data.as_ref().map(read).transpose()?.unwrap_or_default();
    let network_data = match cloud_init.network_data.as_ref().map(read) {
        // One Secret may hold both, or only user data.
        None | Some(Err(SeedError::Missing { .. })) => None,
        Some(other) => Some(other?),
    };
    let instance_id =
        cloud_init.instance_id.clone().unwrap_or_else(|| format!("{}.{}", spec.name, spec.namespace));
    let hostname = &spec.hostname;
    let (meta, names) = match cloud_init.format {
        CloudInitFormat::NoCloud => {
            let mut meta = json!({"instance-id": instance_id, "local-hostname": hostname});
            if !cloud_init.public_keys.is_empty() {
                meta["public-keys"] = json!(cloud_init.public_keys);
            }
            (meta, ["meta-data", "user-data", "network-config"])
        }
        CloudInitFormat::ConfigDrive => {
            // cloud-init takes `uuid` for the instance's identity; both must stay the same over a restart.
            let uuid = spec.firmware.uuid.as_ref().unwrap_or(&instance_id);
            let mut meta = json!({"instance_id": instance_id, "uuid": uuid, "hostname": hostname,
                                  "local_hostname": hostname});
            if !cloud_init.public_keys.is_empty() {
                let keys = cloud_init.public_keys.iter().enumerate();
                meta["public_keys"] = keys.map(|(index, key)| (index.to_string(), json!(key))).collect();
            }
            let names = [
                "openstack/latest/meta_data.json",
                "openstack/latest/user_data",
                "openstack/latest/network_data.json",
            ];
            (meta, names)
        }
    };
    let mut files = vec![(names[0], format!("{meta}\n").into_bytes()), (names[1], user_data)];
    files.extend(network_data.map(|data| (names[2], data)));
    Ok(files)
}

fn read(data: &Data) -> Result<Vec<u8>, SeedError> {
    match data {
        Data::Inline(text) => Ok(text.clone().into_bytes()),
        Data::Base64(text) => STANDARD.decode(text.trim()).map_err(SeedError::Base64),
        Data::Files(paths) => {
            for path in paths {
                match std::fs::read(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(SeedError::Read { path: path.clone(), source }),
                    Ok(bytes) => return Ok(bytes),
                }
            }
            Err(SeedError::Missing { paths: paths.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn cloud_init(format: CloudInitFormat) -> CloudInit {
        let user_data = Some(Data::Inline("#cloud-config\n".into()));
        CloudInit {
            format,
            user_data,
            network_data: None,
            instance_id: None,
            public_keys: vec!["ssh-ed25519 A".into()],
        }
    }

    fn spec() -> LauncherSpec {
        serde_json::from_value(json!({
            "name": "a", "namespace": "b", "uid": "u", "hostname": "host", "accelerator": "tcg", "memoryBytes": 1,
            "cpu": {"sockets": 1, "cores": 1, "threads": 1}, "firmware": {"uuid": "5d307ca9-b3ef-428c-8861-06e72d69f223"}
        }))
        .unwrap()
    }

    #[test]
    fn no_cloud_has_identity_and_host_name() {
        let files = contents(&spec(), &cloud_init(CloudInitFormat::NoCloud)).unwrap();
        let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["meta-data", "user-data"]);
        let meta: Value = serde_json::from_slice(&files[0].1).unwrap();
        assert_eq!(
            meta,
            json!({"instance-id": "a.b", "local-hostname": "host", "public-keys": ["ssh-ed25519 A"]})
        );
        assert_eq!(files[1].1, b"#cloud-config\n");
    }

    #[test]
    fn config_drive_has_upstream_s_keys() {
        let mut cloud_init = cloud_init(CloudInitFormat::ConfigDrive);
        cloud_init.network_data = Some(Data::Base64("e30=".into()));
        let files = contents(&spec(), &cloud_init).unwrap();
        let meta: Value = serde_json::from_slice(&files[0].1).unwrap();
        assert_eq!(
            meta,
            json!({"instance_id": "a.b", "uuid": "5d307ca9-b3ef-428c-8861-06e72d69f223", "hostname": "host",
                   "local_hostname": "host", "public_keys": {"0": "ssh-ed25519 A"}})
        );
        assert_eq!(files[2], ("openstack/latest/network_data.json", b"{}".to_vec()));
    }

    #[test]
    fn secrets_are_read_from_whichever_spelling_exists() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("userData"), "x").unwrap();
        assert_eq!(read(&Data::Files(vec![at("userdata"), at("userData")])).unwrap(), b"x");
        assert!(matches!(read(&Data::Files(vec![at("userdata")])), Err(SeedError::Missing { .. })));
        assert!(matches!(read(&Data::Base64("???".into())), Err(SeedError::Base64(_))));
    }

    #[test]
    fn a_secret_without_network_data_is_fine_but_not_one_without_user_data() {
        let dir = tempfile::tempdir().unwrap();
        let missing = || Some(Data::Files(vec![dir.path().join("networkdata").display().to_string()]));
        let no_cloud = cloud_init(CloudInitFormat::NoCloud);
        let files = contents(&spec(), &CloudInit { network_data: missing(), ..no_cloud.clone() }).unwrap();
        assert_eq!(files.len(), 2);
        let error = contents(&spec(), &CloudInit { user_data: missing(), ..no_cloud }).unwrap_err();
        assert!(matches!(error, SeedError::Missing { .. }));
    }

    #[test]
    fn the_same_vm_gets_the_same_image() {
        let cloud_init = cloud_init(CloudInitFormat::ConfigDrive);
        assert!(image(&spec(), &cloud_init).unwrap() == image(&spec(), &cloud_init).unwrap());
    }
}
