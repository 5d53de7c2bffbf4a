//! Bootstrap data for Ignition (Flatcar), version 2.3.0 of its specification: files and users in the first boot's
//! ramdisk, and a unit `kubeadm.service` that runs kubeadm once. Jinja has no meaning here: texts stay as they are. Pure.

mod clc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use scute_api::bootstrap::{Filesystem, KubeadmConfigSpec};
use scute_kubeadm::cloud_config::{CloudConfig, File, SENTINEL};
use serde_json::{Map, Value, json};

use super::RenderError;

/// Where kubeadm's configuration lies until kubeadm has succeeded.
const CONFIGURATION: &str = "/etc/kubeadm.yml";
/// What `kubeadm.service` runs.
const SCRIPT: &str = "/etc/kubeadm.sh";

const UNIT: &str = "\
[Unit]
Description=kubeadm
# Once: after it has succeeded the file is gone.
ConditionPathExists=/etc/kubeadm.yml
After=network.target
[Service]
Type=oneshot
ExecStart=/bin/bash /etc/kubeadm.sh
[Install]
WantedBy=multi-user.target
";

/// The text for Ignition. Holds secrets.
///
/// # Errors
/// When Ignition has no word for what is asked for.
pub fn render(config: &CloudConfig, spec: &KubeadmConfigSpec) -> Result<String, RenderError> {
    // The last two are kubeadm's configuration and the file that makes the sentinel's folder.
    let (user_files, configuration) = match config.files.split_last_chunk::<2>() {
        Some((files, [configuration, _])) => (files, configuration.content.as_str()),
        None => (config.files.as_slice(), ""),
    };
    let mut files = Vec::new();
    for user in &config.users {
        if let Some(rule) = &user.sudo {
            files.push(plain(
                &format!("/etc/sudoers.d/{}", user.name),
                0o600,
                &format!("{} {rule}\n", user.name),
            ));
        }
    }
    let by_password: Vec<_> = config
        .users
        .iter()
        .filter(|user| user.lock_passwd == Some(false))
        .map(|user| user.name.as_str())
        .collect();
    if !by_password.is_empty() {
        files.push(plain("/etc/ssh/sshd_config", 0o600, &sshd(&by_password.join(","))));
    }
    for (at, given) in user_files.iter().enumerate() {
        files.push(
            file(given)
                .map_err(|why| RenderError::Ignition { path: format!("files[{at}] {}", given.path), why })?,
        );
    }
    files.push(plain(SCRIPT, 0o700, &script(config)));
    files.push(plain(CONFIGURATION, 0o600, configuration));
    let mut units = vec![json!({"name": "kubeadm.service", "enabled": true, "contents": UNIT})];
    if let Some(ntp) = config.ntp.as_ref().filter(|ntp| ntp.enabled == Some(true)) {
        units.push(json!({"name": "ntpd.service", "enabled": true}));
        if !ntp.servers.is_empty() {
            files.push(plain("/etc/ntp.conf", 0o644, &ntp_conf(&ntp.servers)));
        }
    }
    let disks = spec.disk_setup.clone().unwrap_or_default();
    for fields in &config.mounts {
        units.push(mount(fields, &disks.filesystems)?);
    }
    let mut document = json!({
        "ignition": {"version": "2.3.0"},
        "storage": {"files": files},
        "systemd": {"units": units},
    });
    put(&mut document, "/storage", "disks", disks.partitions.iter().map(partition).collect());
    put(&mut document, "/storage", "filesystems", disks.filesystems.iter().map(filesystem).collect());
    let users: Vec<_> = config.users.iter().map(user).collect();
    if !users.is_empty() {
        document["passwd"] = json!({"users": users});
    }
    let additional = spec.ignition.as_ref().and_then(|ignition| ignition.container_linux_config.as_ref());
    if let Some(text) = additional.and_then(|config| config.additional_config.as_deref()) {
        let path = "ignition.containerLinuxConfig.additionalConfig";
        let given = clc::convert(text)
            .map_err(|(at, why)| RenderError::Ignition { path: format!("{path}{at}"), why })?;
        merge(&mut document, given);
    }
    Ok(document.to_string())
}

fn put(document: &mut Value, place: &str, name: &str, items: Vec<Value>) {
    if let Some(place) = document.pointer_mut(place).filter(|_| !items.is_empty()) {
        place[name] = Value::Array(items);
    }
}

/// Lists one behind the other, as Ignition appends a configuration; of anything else the later wins.
fn merge(into: &mut Value, given: Value) {
    match (into, given) {
        (Value::Object(into), Value::Object(given)) => {
            for (name, value) in given {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(given)) => into.extend(given),
        (into, given) => *into = given,
    }
}

fn script(config: &CloudConfig) -> String {
    let command = match config.kubeadm_command.split_once(" --config ") {
        Some((kubeadm, rest)) => {
            let flags = rest.split_once(' ').map(|(_, flags)| format!(" {flags}")).unwrap_or_default();
            format!("{kubeadm} --config {CONFIGURATION}{flags}")
        }
        None => config.kubeadm_command.clone(),
    };
    let mut lines = vec!["#!/bin/bash".to_owned(), "set -e".to_owned()];
    lines.extend(config.pre_kubeadm_commands.iter().cloned());
    lines.push(command);
    lines.push(format!("mkdir -p /run/cluster-api && echo success > {SENTINEL}"));
    lines.push(format!("mv {CONFIGURATION} /tmp/"));
    lines.extend(config.post_kubeadm_commands.iter().cloned());
    lines.join("\n") + "\n"
}

fn sshd(users: &str) -> String {
    format!(
        "Subsystem sftp internal-sftp\nClientAliveInterval 180\nUseDNS no\nUsePAM yes\nPrintLastLog no\nPrintMotd no\n\nMatch User {users}\n  PasswordAuthentication yes\n"
    )
}

fn ntp_conf(servers: &[String]) -> String {
    let servers: String = servers.iter().map(|server| format!("server {server}\n")).collect();
    format!(
        "{servers}# Others may ask for the time, and nothing else.\nrestrict default nomodify nopeer noquery notrap limited kod\nrestrict 127.0.0.1\nrestrict [::1]\n"
    )
}

fn user(user: &scute_kubeadm::cloud_config::User) -> Value {
    let mut fields = Map::new();
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    let groups = |groups: &String| {
        json!(groups.split(',').map(str::trim).filter(|group| !group.is_empty()).collect::<Vec<_>>())
    };
    say("name", Some(json!(user.name)));
    say("gecos", user.gecos.as_ref().map(|text| json!(text)));
    say("groups", user.groups.as_ref().map(groups));
    say("homeDir", user.homedir.as_ref().map(|text| json!(text)));
    say("shell", user.shell.as_ref().map(|text| json!(text)));
    say("passwordHash", user.passwd.as_ref().map(|text| json!(text)));
    say("primaryGroup", user.primary_group.as_ref().map(|text| json!(text)));
    say("sshAuthorizedKeys", (!user.ssh_authorized_keys.is_empty()).then(|| json!(user.ssh_authorized_keys)));
    Value::Object(fields)
}

fn plain(path: &str, mode: u32, content: &str) -> Value {
    json!({"filesystem": "root", "path": path, "mode": mode, "contents": {"source": source(content.as_bytes())}})
}

/// Any bytes in a URL: no letter of a user has a meaning in it.
pub(super) fn source(content: &[u8]) -> String {
    format!("data:;base64,{}", STANDARD.encode(content))
}

fn file(given: &File) -> Result<Value, String> {
    let content = match given.encoding.as_deref() {
        None => given.content.clone().into_bytes(),
        Some("base64") => {
            let text: String = given.content.split_whitespace().collect();
            STANDARD.decode(text).map_err(|_| "the content is not base64".to_owned())?
        }
        Some(other) => return Err(format!("encoding {other} is not supported with the format ignition")),
    };
    let mut file =
        json!({"filesystem": "root", "path": given.path, "contents": {"source": source(&content)}});
    if let Some(permissions) = &given.permissions {
        let digits = permissions.strip_prefix("0o").unwrap_or(permissions);
        let mode = u32::from_str_radix(digits, 8)
            .map_err(|_| format!("{permissions:?} is not an octal mode such as 0644"))?;
        file["mode"] = json!(mode);
    }
    if let Some(owner) = &given.owner {
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        for (field, name) in [("user", user.trim()), ("group", group.trim())] {
            if !name.is_empty() {
                file[field] = json!({"name": name});
            }
        }
    }
    if given.append {
        file["append"] = json!(true);
    }
    Ok(file)
}

fn partition(given: &scute_api::bootstrap::Partition) -> Value {
    let mut disk = json!({"device": given.device});
    if given.overwrite == Some(true) {
        disk["wipeTable"] = json!(true);
    }
    if given.layout == Some(true) {
        disk["partitions"] = json!([{}]);
    }
    disk
}

fn filesystem(given: &Filesystem) -> Value {
    let mut mount = json!({"device": given.device, "format": given.filesystem});
    if given.overwrite == Some(true) {
        mount["wipeFilesystem"] = json!(true);
    }
    if let Some(label) = &given.label {
        mount["label"] = json!(label);
    }
    if !given.extra_opts.is_empty() {
        mount["options"] = json!(given.extra_opts);
    }
    json!({"name": given.label.clone().unwrap_or_else(|| given.device.clone()), "mount": mount})
}

/// A mount: the label of a file system (or a device), where it goes, options.
fn mount(fields: &[String], filesystems: &[Filesystem]) -> Result<Value, RenderError> {
    let (Some(label), Some(place)) = (fields.first(), fields.get(1)) else {
        let why = "a mount has a file system's label and a mount point at least".to_owned();
        return Err(RenderError::Ignition { path: "mounts".to_owned(), why });
    };
    let with_label = filesystems.iter().find(|filesystem| filesystem.label.as_ref() == Some(label));
    let device = with_label.map_or(label.as_str(), |filesystem| filesystem.device.as_str());
    if let Some(bad) = fields.iter().find(|field| field.contains(['\n', '\r'])) {
        let why = format!("{bad:?} has more than one line");
        return Err(RenderError::Ignition { path: "mounts".to_owned(), why });
    }
    let options = fields[2..].join(",");
    let options = if options.is_empty() { String::new() } else { format!("Options={options}\n") };
    let contents = format!(
        "[Unit]\nDescription=Mount {label}\n\n[Mount]\nWhat={device}\nWhere={place}\n{options}\n[Install]\nWantedBy=multi-user.target\n"
    );
    Ok(json!({"name": format!("{}.mount", unit_name(place)), "enabled": true, "contents": contents}))
}

/// The name of a mount's unit is that of its path, as systemd-escape has it.
fn unit_name(path: &str) -> String {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut name = String::new();
    for (at, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at > 0 => name.push('.'),
            b'_' | b':' => name.push(char::from(byte)),
            letter if letter.is_ascii_alphanumeric() => name.push(char::from(letter)),
            other => name.push_str(&format!("\\x{other:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, What, Wish, data};
    use super::*;

    fn rendered(spec: Value) -> Result<Value, String> {
        let mut spec: KubeadmConfigSpec = serde_json::from_value(spec).expect("a spec");
        spec.format = Some(scute_api::bootstrap::Format::Ignition);
        let documents = [json!({"kind": "ClusterConfiguration"}), json!({"kind": "InitConfiguration"})];
        let wish = Wish {
            spec: &spec,
            what: What::Init(&documents),
            version: Some("v1.35.4"),
            certificates: Vec::new(),
            sources: &Sources::new(),
            control_plane_version: None,
        };
        let text = data(&wish).map_err(|error| error.to_string())?;
        Ok(serde_json::from_str(&text).expect("JSON"))
    }

    fn content(document: &Value, path: &str) -> String {
        let files = document["storage"]["files"].as_array().expect("files");
        let file = files.iter().find(|file| file["path"] == path).unwrap_or_else(|| panic!("no {path}"));
        let source = file["contents"]["source"].as_str().expect("a source");
        let encoded = source.strip_prefix("data:;base64,").expect("base64");
        String::from_utf8(STANDARD.decode(encoded).expect("base64")).expect("text")
    }

    #[test]
    fn kubeadm_runs_once_between_the_users_commands() {
        let document = rendered(json!({"preKubeadmCommands": ["echo before"], "postKubeadmCommands": ["echo after"],
            "verbosity": 5, "files": [{"path": "/etc/x", "content": "{{ as it is }}\n'\"", "permissions": "0640", "owner": "a:b"}]}))
        .expect("rendered");
        assert_eq!(document["ignition"]["version"], "2.3.0");
        assert_eq!(
            content(&document, SCRIPT),
            "#!/bin/bash\nset -e\necho before\nkubeadm init --config /etc/kubeadm.yml --skip-token-print --v 5\nmkdir -p /run/cluster-api && echo success > /run/cluster-api/bootstrap-success.complete\nmv /etc/kubeadm.yml /tmp/\necho after\n"
        );
        assert_eq!(
            content(&document, CONFIGURATION),
            "---\nkind: ClusterConfiguration\n---\nkind: InitConfiguration\n"
        );
        assert_eq!(content(&document, "/etc/x"), "{{ as it is }}\n'\"");
        let file = &document["storage"]["files"][0];
        assert_eq!(
            (&file["mode"], &file["user"]["name"], &file["group"]["name"]),
            (&json!(0o640), &json!("a"), &json!("b"))
        );
        assert_eq!(document["systemd"]["units"][0]["name"], "kubeadm.service");
    }

    #[test]
    fn users_time_disks_and_mounts_are_said_in_ignitions_words() {
        let document = rendered(json!({
            "users": [{"name": "ops", "sudo": "ALL=(ALL) NOPASSWD:ALL", "groups": "a, b", "lockPassword": false, "sshAuthorizedKeys": ["k"]}],
            "ntp": {"enabled": true, "servers": ["t"]},
            "diskSetup": {"partitions": [{"device": "/dev/vdb", "layout": true, "overwrite": true}],
                "filesystems": [{"device": "/dev/vdb1", "filesystem": "ext4", "label": "data", "extraOpts": ["-F"]}]},
            "mounts": [["data", "/var/lib/my-data", "defaults"]]}))
        .expect("rendered");
        assert_eq!(document["passwd"]["users"][0]["groups"], json!(["a", "b"]));
        assert_eq!(content(&document, "/etc/sudoers.d/ops"), "ops ALL=(ALL) NOPASSWD:ALL\n");
        assert!(content(&document, "/etc/ssh/sshd_config").contains("Match User ops\n"));
        assert!(content(&document, "/etc/ntp.conf").starts_with("server t\n"));
        assert_eq!(
            document["storage"]["disks"][0],
            json!({"device": "/dev/vdb", "wipeTable": true, "partitions": [{}]})
        );
        assert_eq!(document["storage"]["filesystems"][0]["mount"]["options"], json!(["-F"]));
        let unit = &document["systemd"]["units"][2];
        assert_eq!(unit["name"], r"var-lib-my\x2ddata.mount");
        assert!(
            unit["contents"]
                .as_str()
                .expect("text")
                .contains("What=/dev/vdb1\nWhere=/var/lib/my-data\nOptions=defaults\n")
        );
    }

    #[test]
    fn additional_configuration_is_merged_or_refused_with_words() {
        let with =
            |text: &str| rendered(json!({"ignition": {"containerLinuxConfig": {"additionalConfig": text}}}));
        let document = with("systemd:\n  units:\n  - name: kubeadm.service\n    dropins:\n    - {name: 10-a.conf, contents: '[Unit]'}\nstorage:\n  files:\n  - path: /opt/x\n    mode: 0755\n    contents: {inline: hi}\n").expect("merged");
        assert_eq!(document["systemd"]["units"][1]["dropins"][0]["name"], "10-a.conf");
        assert_eq!(content(&document, "/opt/x"), "hi");
        let error = with("etcd:\n  version: 3\n").expect_err("refused");
        assert!(error.starts_with("ignition.containerLinuxConfig.additionalConfig.etcd: "), "{error}");
        assert!(with("- a\n").is_err() && with("a: [").is_err());
    }

    #[test]
    fn what_ignition_cannot_do_is_told() {
        let error = rendered(json!({"files": [{"path": "/x", "content": "a", "permissions": "rw"}]}))
            .expect_err("refused");
        assert_eq!(error, "files[0] /x: \"rw\" is not an octal mode such as 0644");
        assert!(rendered(json!({"files": [{"path": "/x", "content": "a", "encoding": "gzip"}]})).is_err());
    }
}
