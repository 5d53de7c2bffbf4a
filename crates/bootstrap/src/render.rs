//! From the user's words to cloud-config. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use scute_api::bootstrap::{
    BootstrapTokenDiscovery, Encoding, File, FileSource, ImagePullPolicy, JoinConfiguration,
    KubeadmConfigSpec, NodeRegistrationOptions, TableType, Timeouts, User,
};
use scute_kubeadm::cloud_config::{self, CloudConfig};
use scute_kubeadm::{Version, VersionError, YamlError, join};

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The Machine asks for something that is no version, or for one whose kubeadm does not understand the cluster.
    #[error("Machine spec.version: {0}")]
    Version(#[from] VersionError),
    /// The text could not be written.
    #[error("writing YAML")]
    Yaml(#[from] YamlError),
    /// A Secret holds what is no text, where only text will do.
    #[error("Secret {secret} key {key:?} does not hold text")]
    NotText {
        /// Name of the Secret.
        secret: String,
        /// Key in it.
        key: String,
    },
}

/// Content of Secrets, by name and key.
pub type Sources = BTreeMap<(String, String), Vec<u8>>;

/// Where kubeadm has the CA's certificate unless it is told otherwise.
const CA_CERT_PATH: &str = "/etc/kubernetes/pki/ca.crt";

/// The cloud-config that makes a host of this version join. Holds secrets.
///
/// # Errors
/// When the version is none or too old, or a Secret does not hold text where text is needed.
pub fn cloud_config(
    spec: &KubeadmConfigSpec,
    join: &JoinConfiguration,
    version: Option<&str>,
    sources: &Sources,
) -> Result<String, RenderError> {
    if let Some(version) = version {
        version.parse::<Version>()?.check_oldest()?;
    }
    let document = kubeadm_join(join).with_uninitialized_taint().render()?;
    let mut config = CloudConfig::join(&document, spec.verbosity);
    let files: Result<Vec<_>, _> = spec.files.iter().map(|given| file(given, sources)).collect();
    config = config.with_user_files(files?);
    config.boot_commands = spec.boot_commands.clone();
    config.pre_kubeadm_commands = spec.pre_kubeadm_commands.clone();
    config.post_kubeadm_commands = spec.post_kubeadm_commands.clone();
    config.ntp =
        spec.ntp.as_ref().map(|ntp| cloud_config::Ntp { enabled: ntp.enabled, servers: ntp.servers.clone() });
    config.users = spec.users.iter().map(|given| user(given, sources)).collect::<Result<_, _>>()?;
    config.mounts = spec.mounts.clone();
    if let Some(disks) = &spec.disk_setup {
        config.disk_setup = disks
            .partitions
            .iter()
            .map(|partition| {
                let entry = cloud_config::Partition {
                    table_type: partition.table_type.map(|table| match table {
                        TableType::Mbr => "mbr".to_owned(),
                        TableType::Gpt => "gpt".to_owned(),
                    }),
                    layout: partition.layout.unwrap_or_default(),
                    overwrite: partition.overwrite,
                };
                (partition.device.clone(), entry)
            })
            .collect();
        config.fs_setup = disks
            .filesystems
            .iter()
            .map(|given| cloud_config::Filesystem {
                label: given.label.clone(),
                filesystem: given.filesystem.clone(),
                device: given.device.clone(),
                partition: given.partition.clone(),
                overwrite: given.overwrite,
                replace_fs: given.replace_fs.clone(),
                extra_opts: given.extra_opts.clone(),
            })
            .collect();
    }
    Ok(config.render()?)
}

fn kubeadm_join(given: &JoinConfiguration) -> join::JoinConfiguration {
    let discovery = given.discovery.clone().unwrap_or_default();
    join::JoinConfiguration {
        ca_cert_path: Some(given.ca_cert_path.clone().unwrap_or_else(|| CA_CERT_PATH.to_owned())),
        discovery: join::Discovery {
            bootstrap_token: discovery.bootstrap_token.map(by_token),
            file: None,
            tls_bootstrap_token: discovery.tls_bootstrap_token,
        },
        node_registration: registration(given.node_registration.clone().unwrap_or_default()),
        skip_phases: given.skip_phases.clone(),
        patches: given
            .patches
            .as_ref()
            .and_then(|patches| patches.directory.clone())
            .map(|directory| join::Patches { directory }),
        timeouts: given.timeouts.as_ref().map(timeouts),
    }
}

fn by_token(given: BootstrapTokenDiscovery) -> join::BootstrapTokenDiscovery {
    join::BootstrapTokenDiscovery {
        token: given.token.unwrap_or_default(),
        api_server_endpoint: given.api_server_endpoint,
        ca_cert_hashes: given.ca_cert_hashes,
        unsafe_skip_ca_verification: given.unsafe_skip_ca_verification.unwrap_or_default(),
    }
}

fn registration(given: NodeRegistrationOptions) -> join::NodeRegistration {
    join::NodeRegistration {
        name: given.name,
        cri_socket: given.cri_socket,
        taints: given.taints.map(|taints| {
            let taint = |taint: k8s_openapi::api::core::v1::Taint| join::Taint {
                key: taint.key,
                value: taint.value.unwrap_or_default(),
                effect: taint.effect,
            };
            taints.into_iter().map(taint).collect()
        }),
        kubelet_extra_args: given
            .kubelet_extra_args
            .into_iter()
            .map(|arg| join::Arg { name: arg.name, value: arg.value })
            .collect(),
        ignore_preflight_errors: given.ignore_preflight_errors,
        image_pull_policy: given.image_pull_policy.map(|policy| match policy {
            ImagePullPolicy::Always => "Always".to_owned(),
            ImagePullPolicy::IfNotPresent => "IfNotPresent".to_owned(),
            ImagePullPolicy::Never => "Never".to_owned(),
        }),
        image_pull_serial: given.image_pull_serial,
    }
}

fn timeouts(given: &Timeouts) -> join::Timeouts {
    let duration = |seconds: Option<i32>| seconds.map(|seconds| format!("{seconds}s"));
    join::Timeouts {
        kubelet_health_check: duration(given.kubelet_health_check_seconds),
        kubernetes_api_call: duration(given.kubernetes_api_call_seconds),
        tls_bootstrap: duration(given.tls_bootstrap_seconds),
        discovery: duration(given.discovery_seconds),
        ..Default::default()
    }
}

fn file(given: &File, sources: &Sources) -> Result<cloud_config::File, RenderError> {
    let mut encoding = given.encoding.map(|encoding| match encoding {
        Encoding::Base64 => "base64".to_owned(),
        Encoding::Gzip => "gzip".to_owned(),
        Encoding::GzipBase64 => "gzip+base64".to_owned(),
    });
    let content = match &given.content_from {
        None => given.content.clone().unwrap_or_default(),
        Some(source) => match (std::str::from_utf8(content(source, sources)), &encoding) {
            (Ok(text), _) => text.to_owned(),
            // Bytes that are no text can still be carried, unless the user says that they mean something else.
            (Err(_), None) => {
                encoding = Some("base64".to_owned());
                base64(content(source, sources))
            }
            (Err(_), Some(_)) => return Err(not_text(source)),
        },
    };
    Ok(cloud_config::File {
        path: given.path.clone(),
        encoding,
        owner: given.owner.clone(),
        permissions: given.permissions.clone(),
        append: given.append.unwrap_or_default(),
        content,
    })
}

fn content<'a>(source: &FileSource, sources: &'a Sources) -> &'a [u8] {
    let key = (source.secret.name.clone(), source.secret.key.clone());
    sources.get(&key).map(Vec::as_slice).unwrap_or_default()
}

fn not_text(source: &FileSource) -> RenderError {
    RenderError::NotText { secret: source.secret.name.clone(), key: source.secret.key.clone() }
}

fn base64(bytes: &[u8]) -> String {
    let encoded = serde_json::to_value(ByteString(bytes.to_vec())).unwrap_or_default();
    encoded.as_str().unwrap_or_default().to_owned()
}

fn user(given: &User, sources: &Sources) -> Result<cloud_config::User, RenderError> {
    let passwd = match &given.passwd_from {
        None => given.passwd.clone(),
        Some(source) => {
            let text = std::str::from_utf8(content(source, sources)).map_err(|_| not_text(source))?;
            Some(text.to_owned())
        }
    };
    Ok(cloud_config::User {
        name: given.name.clone(),
        passwd,
        gecos: given.gecos.clone(),
        groups: given.groups.clone(),
        homedir: given.home_dir.clone(),
        inactive: given.inactive,
        lock_passwd: given.lock_password,
        shell: given.shell.clone(),
        primary_group: given.primary_group.clone(),
        sudo: given.sudo.clone(),
        ssh_authorized_keys: given.ssh_authorized_keys.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rendered(spec: Value, sources: &Sources) -> String {
        let spec: KubeadmConfigSpec = serde_json::from_value(spec).expect("a spec");
        let mut join = spec.join_configuration.clone().unwrap_or_default();
        join.discovery.get_or_insert_default().bootstrap_token = Some(BootstrapTokenDiscovery {
            token: Some("abcdef.0123456789abcdef".into()),
            api_server_endpoint: Some("10.0.0.1:6443".into()),
            ca_cert_hashes: vec!["sha256:00".into()],
            unsafe_skip_ca_verification: None,
        });
        cloud_config(&spec, &join, Some("v1.35.4"), sources).expect("a cloud-config")
    }

    #[test]
    fn an_empty_spec_joins() {
        let text = rendered(json!({}), &Sources::new());
        assert!(text.starts_with("## template: jinja\n#cloud-config\n"), "{text}");
        for part in [
            "kubeadm join --config",
            "bootstrap-success.complete",
            "10.0.0.1:6443",
            "sha256:00",
            "node.cluster.x-k8s.io/uninitialized",
            "kubeadm.k8s.io/v1beta4",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn the_users_words_are_passed_through() {
        let text = rendered(
            json!({
                "joinConfiguration": {"nodeRegistration": {"name": "{{ ds.meta_data.hostname }}", "taints": []}},
                "preKubeadmCommands": ["echo before"], "postKubeadmCommands": ["echo after"],
                "files": [{"path": "/etc/x", "content": "plain", "permissions": "0600"},
                    {"path": "/etc/y", "contentFrom": {"secret": {"name": "s", "key": "k"}}}],
                "users": [{"name": "admin", "lockPassword": true}]
            }),
            &Sources::from([(("s".into(), "k".into()), b"from a Secret".to_vec())]),
        );
        for part in ["{{ ds.meta_data.hostname }}", "plain", "from a Secret", "lock_passwd: true", "'0600'"] {
            assert!(
                text.contains(part) || text.contains(&part.replace('\'', "\"")),
                "{part} is missing in\n{text}"
            );
        }
        let at = |part: &str| text.find(part).expect("present");
        assert!(
            at("echo before") < at("kubeadm join --config") && at("kubeadm join --config") < at("echo after")
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_carried_in_base64() {
        let text = rendered(
            json!({"files": [{"path": "/bin/x", "contentFrom": {"secret": {"name": "s", "key": "k"}}}]}),
            &Sources::from([(("s".into(), "k".into()), vec![0xff, 0x00])]),
        );
        assert!(text.contains("/wA="), "{text}");
        assert!(text.contains("encoding: base64"), "{text}");
    }

    #[test]
    fn what_is_no_version_is_refused_with_its_field() {
        let error = cloud_config(&Default::default(), &Default::default(), Some("latest"), &Sources::new());
        assert!(error.expect_err("no version").to_string().starts_with("Machine spec.version"));
        let error = cloud_config(&Default::default(), &Default::default(), Some("v1.30.9"), &Sources::new());
        let said = error.expect_err("its kubeadm cannot read the cluster's configuration").to_string();
        assert!(said.starts_with("Machine spec.version") && said.contains("v1.31"), "{said}");
    }
}
