//! What the schema of KubeadmConfigs cannot check. Pure.

use super::{Encoding, Format, KubeadmConfig, KubeadmConfigSpec, KubeadmConfigTemplate, TableType};
use crate::Invalid;

/// The rules of a KubeadmConfig.
#[must_use]
pub fn validate_kubeadm_config(config: &KubeadmConfig) -> Vec<Invalid> {
    validate_kubeadm_config_spec(&config.spec, "spec")
}

/// The rules of a KubeadmConfigTemplate.
#[must_use]
pub fn validate_kubeadm_config_template(template: &KubeadmConfigTemplate) -> Vec<Invalid> {
    let spec = template.spec.spec.as_ref().and_then(|spec| spec.template.as_ref()?.spec.as_ref());
    spec.map(|spec| validate_kubeadm_config_spec(spec, "spec.template.spec")).unwrap_or_default()
}

/// The rules of a configuration that stands at a path.
#[must_use]
pub fn validate_kubeadm_config_spec(spec: &KubeadmConfigSpec, path: &str) -> Vec<Invalid> {
    let mut bad = Vec::new();
    if spec.format.unwrap_or_default() == Format::Ignition {
        bad.extend(not_for_ignition(spec, path));
    } else if spec.ignition.is_some() {
        let detail = "must be \"ignition\" if ignition is set";
        bad.push(Invalid::new(format!("{path}.format"), "cloud-config", detail));
    }
    let disks = spec.disk_setup.iter().flat_map(|disks| &disks.partitions).enumerate();
    for (at, partition) in disks {
        let whole: i64 = partition.disk_layout.iter().map(|share| i64::from(share.percentage)).sum();
        if whole > 100 {
            let field = format!("{path}.diskSetup.partitions[{at}].diskLayout");
            bad.push(Invalid::new(field, whole, "the percentages must not be more than 100 together"));
        }
    }
    let discovery = spec.join_configuration.as_ref().and_then(|join| join.discovery.as_ref());
    let user = discovery
        .and_then(|discovery| discovery.file.as_ref()?.kube_config.as_ref())
        .map(|config| &config.user);
    if user.is_some_and(|user| user.auth_provider.is_some() && user.exec.is_some()) {
        let field = format!("{path}.joinConfiguration.discovery.file.kubeConfig.user");
        bad.push(Invalid::new(field, "authProvider, exec", "only one of authProvider and exec may be set"));
    }
    bad
}

/// What Ignition has no word for.
fn not_for_ignition(spec: &KubeadmConfigSpec, path: &str) -> Vec<Invalid> {
    let mut bad = Vec::new();
    let mut refuse = |field: String, value: &str| {
        let detail = "is not supported with format \"ignition\"";
        bad.push(Invalid::new(format!("{path}.{field}"), value, detail));
    };
    for (at, _) in spec.users.iter().enumerate().filter(|(_, user)| user.inactive == Some(true)) {
        refuse(format!("users[{at}].inactive"), "true");
    }
    for (at, file) in spec.files.iter().enumerate() {
        match file.encoding {
            Some(Encoding::Gzip) => refuse(format!("files[{at}].encoding"), "gzip"),
            Some(Encoding::GzipBase64) => refuse(format!("files[{at}].encoding"), "gzip+base64"),
            Some(Encoding::Base64) | None => {}
        }
    }
    if !spec.boot_commands.is_empty() {
        refuse("bootCommands".to_owned(), "a list");
    }
    let Some(disks) = &spec.disk_setup else { return bad };
    for (at, partition) in disks.partitions.iter().enumerate() {
        if partition.table_type == Some(TableType::Mbr) {
            refuse(format!("diskSetup.partitions[{at}].tableType"), "mbr");
        }
        if !partition.disk_layout.is_empty() {
            refuse(format!("diskSetup.partitions[{at}].diskLayout"), "a list");
        }
    }
    for (at, filesystem) in disks.filesystems.iter().enumerate() {
        if let Some(kind) = &filesystem.replace_fs {
            refuse(format!("diskSetup.filesystems[{at}].replaceFS"), kind);
        }
        if let Some(partition) = &filesystem.partition {
            refuse(format!("diskSetup.filesystems[{at}].partition"), partition);
        }
    }
    bad
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bad(spec: Value) -> Vec<String> {
        let spec = serde_json::from_value(spec).expect("a spec");
        validate_kubeadm_config_spec(&spec, "spec").into_iter().map(|bad| bad.path).collect()
    }

    #[test]
    fn what_ignition_cannot_say_is_refused_by_its_path() {
        let spec = json!({"format": "ignition", "bootCommands": ["x"], "users": [{"name": "u", "inactive": true}],
            "files": [{"path": "/a", "content": "x"}, {"path": "/b", "content": "x", "encoding": "gzip"}],
            "diskSetup": {"partitions": [{"device": "d", "layout": true, "tableType": "mbr"}, {"device": "e", "diskLayout": [{"percentage": 1}]}],
                "filesystems": [{"device": "d", "filesystem": "ext4", "partition": "1", "replaceFS": "ntfs"}]}});
        assert_eq!(
            bad(spec.clone()),
            [
                "spec.users[0].inactive",
                "spec.files[1].encoding",
                "spec.bootCommands",
                "spec.diskSetup.partitions[0].tableType",
                "spec.diskSetup.partitions[1].diskLayout",
                "spec.diskSetup.filesystems[0].replaceFS",
                "spec.diskSetup.filesystems[0].partition",
            ]
        );
        let mut cloud_config = spec;
        cloud_config["format"] = json!("cloud-config");
        assert!(bad(cloud_config).is_empty());
        assert_eq!(bad(json!({"ignition": {"containerLinuxConfig": {"strict": true}}})), ["spec.format"]);
    }

    #[test]
    fn a_disk_has_a_hundred_percent_and_a_user_one_credential() {
        let layout = |one: i32| json!({"diskSetup": {"partitions": [{"device": "d", "diskLayout": [{"percentage": one}, {"percentage": 50}]}]}});
        assert!(bad(layout(50)).is_empty());
        assert_eq!(bad(layout(51)), ["spec.diskSetup.partitions[0].diskLayout"]);
        let user = json!({"authProvider": {"name": "a"}, "exec": {"command": "b"}});
        let spec = json!({"joinConfiguration": {"discovery": {"file": {"kubeConfigPath": "/x", "kubeConfig": {"user": user}}}}});
        assert_eq!(bad(spec), ["spec.joinConfiguration.discovery.file.kubeConfig.user"]);
    }
}
