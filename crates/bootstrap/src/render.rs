//! From the user's words to bootstrap data. Pure.

mod ignition;
mod join;
#[cfg(test)]
mod judged;
mod system;
mod template;

use std::collections::BTreeMap;

use scute_api::bootstrap::{Format, JoinConfiguration, KubeadmConfigSpec};
use scute_contract::certificates::{Certificates, Purpose, Wanted};
use scute_kubeadm::cloud_config::{self, CloudConfig};
use scute_kubeadm::init::to_template_yaml;
use scute_kubeadm::{Version, VersionError, YamlError};
use serde_json::Value;

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
    /// The template of a file cannot be filled in.
    #[error("the template of file {path}: {why}")]
    Template {
        /// Path of the file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Ignition cannot say what is asked for.
    #[error("{path}: {why}")]
    Ignition {
        /// Path of the field.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// Content of Secrets, by name and key.
pub type Sources = BTreeMap<(String, String), Vec<u8>>;

/// What a host is told to do.
pub enum What<'a> {
    /// Begin the Cluster: ClusterConfiguration and InitConfiguration.
    Init(&'a [Value]),
    /// Join it.
    Join {
        /// How, with the whole discovery.
        join: &'a JoinConfiguration,
        /// As a worker; such a Node is tainted until its Machine's labels are on it.
        worker: bool,
    },
}

/// Everything that bootstrap data is made of.
pub struct Wish<'a> {
    /// The user's words.
    pub spec: &'a KubeadmConfigSpec,
    /// What the host does.
    pub what: What<'a>,
    /// Version of the Machine.
    pub version: Option<&'a str>,
    /// Key pairs of the control plane, as files.
    pub certificates: Vec<cloud_config::File>,
    /// What Secrets hold.
    pub sources: &'a Sources,
    /// Version of the control plane, for templates.
    pub control_plane_version: Option<&'a str>,
}

/// The bootstrap data, in the format that the user wants. Holds secrets.
///
/// # Errors
/// When the version is none or too old, a Secret does not hold text where text is needed, or Ignition has no word for
/// what is asked for.
pub fn data(wish: &Wish<'_>) -> Result<String, RenderError> {
    let spec = wish.spec;
    if let Some(version) = wish.version {
        version.parse::<Version>()?.check_oldest()?;
    }
    let mut files = wish.certificates.clone();
    for given in &spec.files {
        files.push(system::file(given, wish.sources, wish.control_plane_version)?);
    }
    let mut config = match &wish.what {
        What::Init(documents) => CloudConfig::init(&to_template_yaml(documents)?, spec.verbosity),
        What::Join { join, worker } => {
            let file = join.discovery.as_ref().and_then(|discovery| discovery.file.as_ref());
            files.extend(file.map(join::kubeconfig).transpose()?.flatten());
            let document = join::configuration(join);
            let document = if *worker { document.with_uninitialized_taint() } else { document };
            CloudConfig::join(&document.render()?, spec.verbosity)
        }
    };
    config = config.with_user_files(files);
    config.boot_commands = spec.boot_commands.clone();
    config.pre_kubeadm_commands = spec.pre_kubeadm_commands.clone();
    config.post_kubeadm_commands = spec.post_kubeadm_commands.clone();
    config.ntp =
        spec.ntp.as_ref().map(|ntp| cloud_config::Ntp { enabled: ntp.enabled, servers: ntp.servers.clone() });
    config.users =
        spec.users.iter().map(|given| system::user(given, wish.sources)).collect::<Result<_, _>>()?;
    config.mounts = spec.mounts.clone();
    if let Some(disks) = &spec.disk_setup {
        system::disks(disks, &mut config);
    }
    match spec.format.unwrap_or_default() {
        Format::CloudConfig => Ok(config.render()?),
        Format::Ignition => ignition::render(&config, spec),
    }
}

/// The key pairs of a control plane as files on its hosts.
#[must_use]
pub fn certificate_files(
    spec: &KubeadmConfigSpec,
    wanted: &Wanted,
    certificates: &Certificates,
) -> Vec<cloud_config::File> {
    let configuration = spec.cluster_configuration.as_ref();
    let external =
        configuration.and_then(|given| given.etcd.as_ref()).and_then(|etcd| etcd.external.as_ref());
    let folder =
        configuration.and_then(|given| given.certificates_dir.as_deref()).unwrap_or("/etc/kubernetes/pki");
    let folder = folder.trim_end_matches('/');
    let mut files = Vec::new();
    for purpose in wanted.purposes() {
        let Some(pair) = certificates.pairs.get(&purpose) else { continue };
        let (certificate, key) = match (purpose, external) {
            (Purpose::EtcdCa, Some(external)) => (external.ca_file.clone(), None),
            (Purpose::ApiServerEtcdClient, Some(external)) => {
                (external.cert_file.clone(), Some(external.key_file.clone()))
            }
            (Purpose::ApiServerEtcdClient, None) => continue,
            (Purpose::ClusterCa, _) => (format!("{folder}/ca.crt"), Some(format!("{folder}/ca.key"))),
            (Purpose::EtcdCa, None) => {
                (format!("{folder}/etcd/ca.crt"), Some(format!("{folder}/etcd/ca.key")))
            }
            (Purpose::FrontProxyCa, _) => {
                (format!("{folder}/front-proxy-ca.crt"), Some(format!("{folder}/front-proxy-ca.key")))
            }
            (Purpose::ServiceAccount, _) => (format!("{folder}/sa.pub"), Some(format!("{folder}/sa.key"))),
        };
        files.push(owned_by_root(certificate, "0640", &pair.certificate));
        if let (Some(path), Some(key)) = (key, &pair.key) {
            files.push(owned_by_root(path, "0600", key));
        }
    }
    files
}

fn owned_by_root(path: String, permissions: &str, content: &str) -> cloud_config::File {
    cloud_config::File {
        path,
        owner: Some("root:root".to_owned()),
        permissions: Some(permissions.to_owned()),
        content: content.to_owned(),
        ..cloud_config::File::default()
    }
}

#[cfg(test)]
mod tests {
    use scute_api::bootstrap::BootstrapTokenDiscovery;
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
        worker(&spec, &join, Some("v1.35.4"), sources).expect("a cloud-config")
    }

    fn worker(
        spec: &KubeadmConfigSpec,
        join: &JoinConfiguration,
        version: Option<&str>,
        sources: &Sources,
    ) -> Result<String, RenderError> {
        let what = What::Join { join, worker: true };
        data(&Wish { spec, what, version, certificates: Vec::new(), sources, control_plane_version: None })
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
        let error = worker(&Default::default(), &Default::default(), Some("latest"), &Sources::new());
        assert!(error.expect_err("no version").to_string().starts_with("Machine spec.version"));
        let error = worker(&Default::default(), &Default::default(), Some("v1.30.9"), &Sources::new());
        let said = error.expect_err("its kubeadm cannot read the cluster's configuration").to_string();
        assert!(said.starts_with("Machine spec.version") && said.contains("v1.31"), "{said}");
    }
}
