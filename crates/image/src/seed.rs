//! Seed images for cloud-init: what is in them, in an ISO 9660 image.

use serde_json::json;

use crate::iso::{self, LayoutError};

/// Layout of a seed image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Volume `cidata`: `meta-data`, `user-data`, `network-config`.
    NoCloud,
    /// Volume `config-2`: `openstack/latest/{meta_data.json,user_data,network_data.json}`.
    ConfigDrive,
}

/// What a guest's cloud-init is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Where cloud-init looks for it.
    pub layout: Layout,
    /// Identity of the instance: when it changes, cloud-init runs anew.
    pub instance_id: String,
    /// What a config drive's reader takes for the instance's identity; the instance id if there is none.
    pub uuid: Option<String>,
    /// Host name.
    pub hostname: String,
    /// User data.
    pub user_data: Vec<u8>,
    /// Network data; without it there is no file.
    pub network_data: Option<Vec<u8>>,
}

impl Seed {
    /// The image. The same input gives the same bytes, so a restarted VM keeps its instance.
    pub fn image(&self) -> Result<Vec<u8>, LayoutError> {
        let files = self.files();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect();
        let volume = match self.layout {
            Layout::NoCloud => "cidata",
            Layout::ConfigDrive => "config-2",
        };
        iso::image(volume, &files)
    }

    /// The files in it.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let (id, hostname) = (&self.instance_id, &self.hostname);
        let (meta, names) = match self.layout {
            Layout::NoCloud => (
                json!({"instance-id": id, "local-hostname": hostname}),
                ["meta-data", "user-data", "network-config"],
            ),
            Layout::ConfigDrive => (
                // cloud-init takes `uuid` for the instance's identity; both must stay the same over a restart.
                json!({"instance_id": id, "uuid": self.uuid.as_ref().unwrap_or(id), "hostname": hostname,
                       "local_hostname": hostname}),
                [
                    "openstack/latest/meta_data.json",
                    "openstack/latest/user_data",
                    "openstack/latest/network_data.json",
                ],
            ),
        };
        let mut files =
            vec![(names[0], format!("{meta}\n").into_bytes()), (names[1], self.user_data.clone())];
        files.extend(self.network_data.clone().map(|data| (names[2], data)));
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn seed(layout: Layout) -> Seed {
        Seed {
            layout,
            instance_id: "a.b".into(),
            uuid: Some("5d307ca9-b3ef-428c-8861-06e72d69f223".into()),
            hostname: "host".into(),
            user_data: b"#cloud-config\n".to_vec(),
            network_data: None,
        }
    }

    #[test]
    fn no_cloud_has_identity_and_host_name() {
        let files = seed(Layout::NoCloud).files();
        let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["meta-data", "user-data"]);
        let meta: Value = serde_json::from_slice(&files[0].1).unwrap();
        assert_eq!(meta, json!({"instance-id": "a.b", "local-hostname": "host"}));
        assert_eq!(files[1].1, b"#cloud-config\n");
    }

    #[test]
    fn config_drive_has_upstream_s_keys() {
        let files = Seed { network_data: Some(b"{}".to_vec()), ..seed(Layout::ConfigDrive) }.files();
        let meta: Value = serde_json::from_slice(&files[0].1).unwrap();
        assert_eq!(
            meta,
            json!({"instance_id": "a.b", "uuid": "5d307ca9-b3ef-428c-8861-06e72d69f223", "hostname": "host",
                   "local_hostname": "host"})
        );
        assert_eq!(files[2], ("openstack/latest/network_data.json", b"{}".to_vec()));
    }

    #[test]
    fn the_same_vm_gets_the_same_image() {
        let image = || seed(Layout::ConfigDrive).image().unwrap();
        assert!(image() == image());
    }
}
