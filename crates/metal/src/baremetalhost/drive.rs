//! The config drive as a partition: pure. What is on it, [`ConfigDrive`] says.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use scute_api::metal3::BareMetalHost;
use scute_image::iso::{self, LayoutError};
use scute_metaldata::{ConfigDrive, ConfigDriveError, Secrets};

/// The partition on the disk has no more.
const LARGEST: usize = 64 << 20;

/// What the user gives: contents of Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// User data.
    pub user_data: Option<Vec<u8>>,
    /// YAML of more metadata.
    pub meta_data: Option<Vec<u8>>,
    /// `network_data.json`, or YAML of the same.
    pub network_data: Option<Vec<u8>>,
}

/// Why there is no config drive.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// A Secret that cannot be read as what it should be.
    #[error("{0}")]
    Content(#[from] ConfigDriveError),
    /// Too much.
    #[error("the config drive has {0} bytes, and {LARGEST} at most fit: user data must become shorter")]
    Large(usize),
    /// The image.
    #[error("the config drive cannot be laid out: {0}")]
    Layout(#[from] LayoutError),
}

/// The whole partition, base64.
///
/// # Errors
/// See [`DriveError`].
pub fn config_drive(host: &BareMetalHost, given: &Given) -> Result<String, DriveError> {
    let Given { user_data, meta_data, network_data } = given;
    let secrets = Secrets {
        user_data: user_data.as_deref(),
        meta_data: meta_data.as_deref(),
        network_data: network_data.as_deref(),
    };
    let files = ConfigDrive::of(host, &secrets)?.files();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    let image = iso::image("config-2", &files)?;
    match image.len() > LARGEST {
        true => Err(DriveError::Large(image.len())),
        false => Ok(BASE64_STANDARD.encode(image)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let host = BareMetalHost::default();
        let given = Given { user_data: Some(vec![b'x'; LARGEST]), ..Given::default() };
        assert!(matches!(config_drive(&host, &given), Err(DriveError::Large(_))));
        let drive = BASE64_STANDARD.decode(config_drive(&host, &Given::default()).unwrap()).unwrap();
        assert!(drive.windows(8).any(|bytes| bytes == b"config-2"), "the volume's label");
    }
}
