//! Files, users and disks, with what Secrets hold of them.

use k8s_openapi::ByteString;
use scute_api::bootstrap::{
    ContentFormat, DiskSetup, Encoding, File, FileSource, Partition, PartitionSpec, TableType, User,
};
use scute_kubeadm::cloud_config::{self, CloudConfig, Layout, Share};

use super::{RenderError, Sources, template};

/// A file with its content.
///
/// # Errors
/// When a Secret does not hold text where text is needed, or a template cannot be filled in.
pub fn file(
    given: &File,
    sources: &Sources,
    version: Option<&str>,
) -> Result<cloud_config::File, RenderError> {
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
    let content = match given.content_format {
        None | Some(ContentFormat::Raw) => content,
        Some(ContentFormat::Template) => template::render(&content, version)
            .map_err(|why| RenderError::Template { path: given.path.clone(), why })?,
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

pub fn user(given: &User, sources: &Sources) -> Result<cloud_config::User, RenderError> {
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

/// Partitions and file systems.
pub fn disks(disks: &DiskSetup, config: &mut CloudConfig) {
    config.disk_setup =
        disks.partitions.iter().map(|given| (given.device.clone(), partition(given))).collect();
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

fn partition(given: &Partition) -> cloud_config::Partition {
    let share = |share: &PartitionSpec| match &share.partition_type {
        None => Share::Plain(share.percentage),
        Some(kind) => Share::Typed(share.percentage, code(kind).to_owned()),
    };
    cloud_config::Partition {
        table_type: given.table_type.map(|table| match table {
            TableType::Mbr => "mbr".to_owned(),
            TableType::Gpt => "gpt".to_owned(),
        }),
        layout: match given.layout {
            Some(whole) => Layout::Whole(whole),
            None => Layout::Shares(given.disk_layout.iter().map(share).collect()),
        },
        overwrite: given.overwrite,
    }
}

/// cloud-init's code of a type; a GUID stays.
fn code(kind: &str) -> &str {
    match kind {
        "Linux" => "83",
        "LinuxSwap" => "82",
        "LinuxRAID" => "fd",
        "LVM" => "8e",
        "Fat32" => "0c",
        "NTFS" => "07",
        "LinuxExtended" => "85",
        guid => guid,
    }
}
