//! Seed images for cloud-init, from the files that hold their data.

use std::io;

use scute_image::iso::LayoutError;
use scute_image::seed::{Layout, Seed};

use super::spec::{CloudInit, CloudInitFormat, LauncherSpec};

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
    /// The image cannot be laid out.
    #[error("the seed image does not fit its format")]
    Layout(#[from] LayoutError),
}

/// The seed image of one disk.
pub fn image(spec: &LauncherSpec, cloud_init: &CloudInit) -> Result<Vec<u8>, SeedError> {
    Ok(seed(spec, cloud_init)?.image()?)
}

fn seed(spec: &LauncherSpec, cloud_init: &CloudInit) -> Result<Seed, SeedError> {
    let network_data = match cloud_init.network_data.as_ref().map(read) {
        // One Secret may hold both, or only user data.
        None | Some(Err(SeedError::Missing { .. })) => None,
        Some(other) => Some(other?),
    };
    Ok(Seed {
        layout: match cloud_init.format {
            CloudInitFormat::NoCloud => Layout::NoCloud,
            CloudInitFormat::ConfigDrive => Layout::ConfigDrive,
        },
        instance_id: format!("{}.{}", spec.name, spec.namespace),
        uuid: spec.firmware.uuid.clone(),
        hostname: spec.hostname.clone(),
        user_data: cloud_init.user_data.as_ref().map(read).transpose()?.unwrap_or_default(),
        network_data,
    })
}

/// The first file that exists.
fn read(paths: &Vec<String>) -> Result<Vec<u8>, SeedError> {
    for path in paths {
        match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(SeedError::Read { path: path.clone(), source }),
            Ok(bytes) => return Ok(bytes),
        }
    }
    Err(SeedError::Missing { paths: paths.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cloud_init(user_data: Vec<String>) -> CloudInit {
        CloudInit { format: CloudInitFormat::NoCloud, user_data: Some(user_data), network_data: None }
    }

    fn spec() -> LauncherSpec {
        serde_json::from_value(json!({
            "name": "a", "namespace": "b", "uid": "u", "hostname": "host", "accelerator": "tcg", "memoryBytes": 1,
            "cpu": {"sockets": 1, "cores": 1, "threads": 1}
        }))
        .unwrap()
    }

    #[test]
    fn secrets_are_read_from_whichever_spelling_exists() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("userData"), "x").unwrap();
        assert_eq!(read(&vec![at("userdata"), at("userData")]).unwrap(), b"x");
        assert!(matches!(read(&vec![at("userdata")]), Err(SeedError::Missing { .. })));
    }

    #[test]
    fn a_secret_without_network_data_is_fine_but_not_one_without_user_data() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| vec![dir.path().join(name).display().to_string()];
        std::fs::write(dir.path().join("userdata"), "x").unwrap();
        let made = CloudInit { network_data: Some(at("networkdata")), ..cloud_init(at("userdata")) };
        let seed = seed(&spec(), &made).unwrap();
        assert_eq!(
            (seed.user_data, seed.network_data, seed.instance_id),
            (b"x".to_vec(), None, "a.b".into())
        );
        let error = image(&spec(), &cloud_init(at("absent"))).unwrap_err();
        assert!(matches!(error, SeedError::Missing { .. }));
    }
}
