//! Bootstrap data in the form of Cluster API's kubeadm bootstrap provider: a cloud-config that joins the Node and
//! leaves a sentinel file behind. Text of users is passed through as it is, jinja expressions included.

use crate::{YamlError, to_yaml, yaml::Template};
use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, fmt};

/// First lines of every cloud-config: cloud-init renders it as a jinja template over its instance data.
pub const HEADER: &str = "## template: jinja\n#cloud-config\n";
/// Where the JoinConfiguration lies on the Node.
pub const JOIN_CONFIGURATION: &str = "/run/kubeadm/kubeadm-join-config.yaml";
/// Where ClusterConfiguration and InitConfiguration lie on the first Node.
pub const INIT_CONFIGURATION: &str = "/run/kubeadm/kubeadm.yaml";
/// Exists once kubeadm has succeeded, with the text `success`.
pub const SENTINEL: &str = "/run/cluster-api/bootstrap-success.complete";

/// A cloud-config around one kubeadm command. `Debug` shows no contents.
#[derive(Clone, Default, PartialEq)]
pub struct CloudConfig {
    /// Files to write before any command, the user's first.
    pub files: Vec<File>,
    /// `bootcmd`: at every boot, before the files.
    pub boot_commands: Vec<String>,
    /// Commands before kubeadm.
    pub pre_kubeadm_commands: Vec<String>,
    /// The kubeadm command.
    pub kubeadm_command: String,
    /// Commands after kubeadm, whether it succeeded or not.
    pub post_kubeadm_commands: Vec<String>,
    /// Time servers.
    pub ntp: Option<Ntp>,
    /// Users to create.
    pub users: Vec<User>,
    /// Partitions by device.
    pub disk_setup: BTreeMap<String, Partition>,
    /// File systems.
    pub fs_setup: Vec<Filesystem>,
    /// Mounts, each the fields of an fstab line.
    pub mounts: Vec<Vec<String>>,
}

/// A file of `write_files`. `Debug` hides its content.
#[derive(Clone, Default, PartialEq, Serialize)]
pub struct File {
    /// Absolute path.
    #[serde(serialize_with = "template")]
    pub path: String,
    /// `base64`, `gzip` or `gzip+base64`; plain text if absent.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub encoding: Option<String>,
    /// `user:group`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub owner: Option<String>,
    /// Octal mode, such as `0640`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub permissions: Option<String>,
    /// Append to what is there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub append: bool,
    /// The content, in `encoding`.
    #[serde(serialize_with = "template")]
    pub content: String,
}

/// `ntp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ntp {
    /// Whether time is synchronised at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Servers.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "templates")]
    pub servers: Vec<String>,
}

/// A user of `users`. `Debug` hides the password.
#[derive(Clone, Default, PartialEq, Serialize)]
pub struct User {
    /// Login name.
    #[serde(serialize_with = "template")]
    pub name: String,
    /// Hashed password.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub passwd: Option<String>,
    /// Comment.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub gecos: Option<String>,
    /// Comma separated groups.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub groups: Option<String>,
    /// Home directory.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub homedir: Option<String>,
    /// Create it inactive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inactive: Option<bool>,
    /// Forbid logging in by password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_passwd: Option<bool>,
    /// Login shell.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub shell: Option<String>,
    /// Primary group.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub primary_group: Option<String>,
    /// sudo rule.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub sudo: Option<String>,
    /// Public keys.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "templates")]
    pub ssh_authorized_keys: Vec<String>,
}

/// An entry of `disk_setup`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Partition {
    /// `mbr` or `gpt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_type: Option<String>,
    /// The partitions.
    pub layout: Layout,
    /// Overwrite what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overwrite: Option<bool>,
}

/// `layout` of an entry of `disk_setup`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Layout {
    /// One partition over the whole device, or none.
    Whole(bool),
    /// Shares of the device in percent, each with its type where it has one.
    Shares(Vec<Share>),
}

impl Default for Layout {
    fn default() -> Self {
        Self::Whole(false)
    }
}

/// A share of a device in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Share {
    /// Of the usual type.
    Plain(i32),
    /// Of this type: a code of MBR, or a GUID of GPT.
    Typed(i32, #[serde(serialize_with = "number_or_text")] String),
}

/// An entry of `fs_setup`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Filesystem {
    /// Label.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub label: Option<String>,
    /// Type, such as `ext4`.
    #[serde(serialize_with = "template")]
    pub filesystem: String,
    /// Device.
    #[serde(serialize_with = "template")]
    pub device: String,
    /// Partition: a number, `auto`, `any` or `none`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_number")]
    pub partition: Option<String>,
    /// Overwrite what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overwrite: Option<bool>,
    /// Replace a file system of this type only.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_template")]
    pub replace_fs: Option<String>,
    /// Further options of mkfs.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "templates")]
    pub extra_opts: Vec<String>,
}

impl CloudConfig {
    /// A cloud-config that joins with `join_configuration` (YAML, a secret); `verbosity` becomes kubeadm's `--v`.
    /// Fill in the user's wishes afterwards; their files go in front of ours.
    pub fn join(join_configuration: &str, verbosity: Option<i32>) -> Self {
        Self::around("join", JOIN_CONFIGURATION, &format!("---\n{join_configuration}"), verbosity)
    }

    /// As [`CloudConfig::join`], for the first Node: `configuration` has all documents, with their `---`.
    pub fn init(configuration: &str, verbosity: Option<i32>) -> Self {
        Self::around("init", INIT_CONFIGURATION, configuration, verbosity)
    }

    fn around(command: &str, path: &str, configuration: &str, verbosity: Option<i32>) -> Self {
        let verbosity = verbosity.map(|level| format!(" --v {level}")).unwrap_or_default();
        // What it prints is on the machine's console, which more people read than may join.
        let silence = if command == "init" { " --skip-token-print" } else { "" };
        Self {
            files: vec![
                system_file(path, configuration),
                // Makes the sentinel's directory: write_files creates parents, a command would need a shell per OS.
                system_file("/run/cluster-api/placeholder", "This file exists so that its directory does.\n"),
            ],
            kubeadm_command: format!("kubeadm {command} --config {path}{silence}{verbosity}"),
            ..Self::default()
        }
    }

    /// Puts the user's files in front of those that are there.
    pub fn with_user_files(mut self, files: Vec<File>) -> Self {
        self.files.splice(0..0, files);
        self
    }

    /// The text for cloud-init. Holds secrets.
    pub fn render(&self) -> Result<String, YamlError> {
        let kubeadm = format!("{} && echo success > {SENTINEL}", self.kubeadm_command);
        let document = Document {
            write_files: &self.files,
            bootcmd: commands(&self.boot_commands),
            runcmd: [
                commands(&self.pre_kubeadm_commands),
                vec![Template(&kubeadm)],
                commands(&self.post_kubeadm_commands),
            ]
            .concat(),
            ntp: self.ntp.as_ref(),
            users: &self.users,
            disk_setup: &self.disk_setup,
            fs_setup: &self.fs_setup,
            mounts: self.mounts.iter().map(|fields| commands(fields)).collect(),
        };
        Ok(format!("{HEADER}{}", to_yaml(&document)?))
    }
}

fn system_file(path: &str, content: &str) -> File {
    File {
        path: path.to_owned(),
        owner: Some("root:root".to_owned()),
        permissions: Some("0640".to_owned()),
        content: content.to_owned(),
        ..File::default()
    }
}

fn commands(texts: &[String]) -> Vec<Template<'_>> {
    texts.iter().map(|text| Template(text)).collect()
}

fn template<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    Template(text).serialize(serializer)
}

#[allow(clippy::ref_option)] // the signature is serde's
fn maybe_template<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().map(Template).serialize(serializer)
}

/// cloud-init's schema wants a number where it is one.
fn number_or_text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match text.parse::<u32>() {
        Ok(number) => number.serialize(serializer),
        Err(_) => Template(text).serialize(serializer),
    }
}

#[allow(clippy::ref_option)] // the signature is serde's
fn maybe_number<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => number_or_text(text, serializer),
        None => serializer.serialize_none(),
    }
}

fn templates<S: Serializer>(texts: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(texts.iter().map(|text| Template(text)))
}

#[derive(Serialize)]
struct Document<'a> {
    write_files: &'a [File],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bootcmd: Vec<Template<'a>>,
    runcmd: Vec<Template<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ntp: Option<&'a Ntp>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    users: &'a [User],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    disk_setup: &'a BTreeMap<String, Partition>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    fs_setup: &'a [Filesystem],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<Vec<Template<'a>>>,
}

impl fmt::Debug for CloudConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudConfig").field("files", &self.files).finish_non_exhaustive()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}
