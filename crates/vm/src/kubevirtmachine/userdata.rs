//! The user data of a guest: the bootstrap data, with the SSH user of the Cluster added to a cloud-config.
//!
//! The text is changed by inserting lines only: a jinja header, jinja expressions and the spelling of numbers
//! stay as they are, which parsing and writing YAML would not promise.

use serde_json::{Value, json};

/// The user whose key the Cluster has.
pub const USER: &str = "capk";

/// Why bootstrap data cannot be used. Never repeats any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserDataError {
    /// The marker of a cloud-config is there, and what follows is not one.
    #[error("the bootstrap data is marked as #cloud-config and is not a YAML mapping")]
    NotYaml,
    /// `users` is neither a list in block style nor one on a single line.
    #[error("the list of users in the cloud-config is written in a way that no user can be added to")]
    Users,
    /// The user of that name is written in a way that no key can be added to.
    #[error("the cloud-config has a user {USER} of its own, written in a way that no key can be added to")]
    Key,
}

/// What the guest gets, and whether the user can log in to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserData {
    /// The bytes for the Secret.
    pub bytes: Vec<u8>,
    /// The SSH user is in it.
    pub has_user: bool,
}

/// User data from bootstrap data. Anything but a cloud-config (ignition, Talos) is passed on byte by byte.
pub fn user_data(bootstrap: &[u8], public_key: Option<&str>) -> Result<UserData, UserDataError> {
    let text = std::str::from_utf8(bootstrap).ok().filter(|text| is_cloud_config(text));
    let Some(text) = text else { return Ok(UserData { bytes: bootstrap.to_vec(), has_user: false }) };
    let parsed: Value = serde_saphyr::from_str(text).map_err(|_| UserDataError::NotYaml)?;
    let Value::Object(parsed) = parsed else { return Err(UserDataError::NotYaml) };
    let Some(key) = public_key else { return Ok(UserData { bytes: bootstrap.to_vec(), has_user: false }) };
    let user = user(key);
    let text = match parsed.get("users") {
        None => with_list(text, &user),
        Some(users) if named(users).next().is_some() => {
            with_key(text, key.trim()).filter(|text| is_added(text, key.trim())).ok_or(UserDataError::Key)?
        }
        Some(_) => with_item(text, &user).ok_or(UserDataError::Users)?,
    };
    Ok(UserData { bytes: text.into_bytes(), has_user: true })
}

/// The marker may follow a jinja header and blank lines.
fn is_cloud_config(text: &str) -> bool {
    text.lines()
        .map(str::trim_end)
        .take_while(|line| line.is_empty() || line.starts_with('#'))
        .any(|line| line == "#cloud-config")
}

/// One line of JSON, which is YAML too.
fn user(key: &str) -> String {
    json!({
        "name": USER,
        "gecos": "CAPK User",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "groups": "users, admin",
        "ssh_authorized_keys": [key.trim()],
    })
    .to_string()
}

/// A list of users at the end; `default` keeps the user of the distribution.
fn with_list(text: &str, user: &str) -> String {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{end}users:\n- default\n- {user}\n")
}

/// One more item in front of the list that is there.
fn with_item(text: &str, user: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + user.len() + 8);
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("users:") else {
            out.push_str(line);
            continue;
        };
        match rest.split(" #").next().unwrap_or_default().trim() {
            "" => {
                out.push_str(line);
                let mut blank = String::new();
                while let Some(skipped) =
                    lines.next_if(|line| line.trim().is_empty() || line.trim().starts_with('#'))
                {
                    blank.push_str(skipped);
                }
                let first = lines.peek()?;
                let indent = &first[..first.len() - first.trim_start().len()];
                if !first.trim_start().starts_with('-') {
                    return None;
                }
                out.push_str(&format!("{indent}- {user}\n{blank}"));
            }
            list if list.starts_with('[') && list.ends_with(']') => {
                let inner = list[1..list.len() - 1].trim();
                let comma = if inner.is_empty() { "" } else { ", " };
                out.push_str(&format!("users: [{user}{comma}{inner}]\n"));
            }
            _ => return None,
        }
        out.extend(lines);
        return Some(out);
    }
    None
}

/// The entries of the user in a list of users.
fn named(users: &Value) -> impl Iterator<Item = &Value> {
    users.as_array().into_iter().flatten().filter(|user| user["name"] == USER)
}

/// Whether the user is in the text once, with this key.
fn is_added(text: &str, key: &str) -> bool {
    let parsed: Value = serde_saphyr::from_str(text).unwrap_or_default();
    let mut entries = named(&parsed["users"]);
    let entry = entries.next();
    let keys = entry.and_then(|user| user[KEYS].as_array());
    entries.next().is_none() && keys.is_some_and(|keys| keys.iter().any(|known| known == key))
}

/// Where a user has its keys.
const KEYS: &str = "ssh_authorized_keys";

/// One more key of the user that is there: a second entry of its name would be merged with the first, and the keys of one
/// of them lost. Knows an entry in block style; what comes out is to be checked.
fn with_key(text: &str, key: &str) -> Option<String> {
    let key = json!(key);
    let lines: Vec<_> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '-']).len();
    let field = |line: &str| line.trim_start_matches([' ', '-']).trim_end().to_owned();
    let users = lines.iter().position(|line| line.starts_with("users:"))?;
    let is_name = |line: &str| field(line).replace(['"', '\''], "") == format!("name: {USER}");
    let name = users + 1 + lines[users + 1..].iter().position(|line| is_name(line))?;
    let depth = indent(lines[name]);
    let starts = |line: &&str| indent(line) == depth && line.trim_start().starts_with('-');
    let first = name - lines[..=name].iter().rev().position(starts)?;
    let ends = |line: &&str| indent(line) < depth || starts(line);
    let end = lines[name + 1..].iter().position(ends).map_or(lines.len(), |more| name + 1 + more);
    let keys = (first..end).find(|at| indent(lines[*at]) == depth && field(lines[*at]).starts_with(KEYS));
    let mut lines: Vec<_> = lines.into_iter().map(str::to_owned).collect();
    match keys {
        None => lines.insert(name + 1, format!("{:depth$}{KEYS}: [{key}]", "")),
        Some(at) => match lines[at].trim_end().strip_suffix(']').map(str::trim_end) {
            Some(list) if list.ends_with('[') => lines[at] = format!("{list}{key}]"),
            Some(list) => lines[at] = format!("{list}, {key}]"),
            None => {
                let item = lines.get(at + 1)?;
                let item = item[..item.find('-')?].len();
                lines.insert(at + 1, format!("{:item$}- {key}", ""));
            }
        },
    }
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ecdsa-sha2-nistp384 AAAA capk";

    fn text(bootstrap: &str) -> String {
        String::from_utf8(user_data(bootstrap.as_bytes(), Some(KEY)).unwrap().bytes).unwrap()
    }

    fn users(text: &str) -> Vec<Value> {
        serde_saphyr::from_str::<Value>(text).unwrap()["users"].as_array().unwrap().clone()
    }

    #[test]
    fn a_cloud_config_gets_the_user_and_keeps_every_line() {
        let before = "## template: jinja\n#cloud-config\n\nwrite_files:\n- path: /a\n  permissions: 0640\n  content: |\n    name: '{{ ds.meta_data.local_hostname }}'\nruncmd:\n- kubeadm join\n";
        let after = text(before);
        assert!(after.starts_with(before), "{after}");
        assert_eq!(users(&after)[0], "default");
        assert_eq!(users(&after)[1]["ssh_authorized_keys"][0], KEY);
    }

    #[test]
    fn users_that_are_there_stay() {
        for list in [
            "users:\n- name: ops\n  sudo: no\n- name: dev\n",
            "users:\n  # people\n  - name: ops\n  - name: dev\n",
            "users: [{name: ops}, {name: dev}] # people\n",
        ] {
            let after = text(&format!("#cloud-config\n{list}runcmd: []\n"));
            let names: Vec<_> = users(&after).iter().map(|user| user["name"].clone()).collect();
            assert_eq!(names, [USER, "ops", "dev"], "{after}");
        }
        assert_eq!(users(&text("#cloud-config\nusers: []\n")).len(), 1);
        assert!(text("#cloud-config\nusers:\n- name: ops\n  sudo: no\n").contains("  sudo: no\n"));
    }

    #[test]
    fn a_user_of_that_name_gets_one_more_key_and_no_second_entry() {
        for (list, keys) in [
            ("users:\n- name: capk\n  sudo: no\n- name: ops\n", json!([KEY])),
            (
                "users:\n- name: ops\n  ssh_authorized_keys:\n  - theirs\n- name: capk\n  sudo: no\n  ssh_authorized_keys:\n  - mine\n",
                json!([KEY, "mine"]),
            ),
            (
                "users:\n  - ssh_authorized_keys: [mine]\n    sudo: no\n    name: \"capk\"\n  - name: ops\n",
                json!(["mine", KEY]),
            ),
            ("users:\n- sudo: no\n  ssh_authorized_keys: []\n  name: capk\n", json!([KEY])),
        ] {
            let before = format!("#cloud-config\n{list}runcmd:\n- name: capk\n");
            let after = text(&before);
            assert!(before.lines().all(|line| line.contains('[') || after.contains(line)), "{after}");
            let all = users(&after);
            let capk: Vec<_> = all.iter().filter(|user| user["name"] == USER).collect();
            assert_eq!((capk.len(), &capk[0]["ssh_authorized_keys"]), (1, &keys), "{after}");
            assert!(all.iter().all(|user| user["name"] == USER || user["ssh_authorized_keys"][0] != KEY));
        }
        for odd in
            ["users: [{name: capk}]\n", "users:\n- {name: capk}\n", "users:\n- name: capk\n- name: capk\n"]
        {
            let odd = user_data(format!("#cloud-config\n{odd}").as_bytes(), Some(KEY));
            assert_eq!(odd, Err(UserDataError::Key));
        }
    }

    #[test]
    fn other_formats_pass_byte_by_byte() {
        for other in
            [&b"{\"ignition\":{}}"[..], b"version: v1alpha1\n", b"#!/bin/sh\nusers: no\n", b"\xff\x00"]
        {
            let passed = user_data(other, Some(KEY)).unwrap();
            assert_eq!((passed.bytes.as_slice(), passed.has_user), (other, false));
        }
    }

    #[test]
    fn nothing_is_added_without_a_key_but_the_text_is_checked() {
        let config = b"#cloud-config\nruncmd: []\n";
        assert_eq!(user_data(config, None).unwrap(), UserData { bytes: config.to_vec(), has_user: false });
        assert_eq!(user_data(b"#cloud-config\n- a: {\n", None), Err(UserDataError::NotYaml));
        assert_eq!(user_data(b"#cloud-config\n- a\n", Some(KEY)), Err(UserDataError::NotYaml));
        assert_eq!(user_data(b"#cloud-config\nusers: {name: a}\n", Some(KEY)), Err(UserDataError::Users));
    }
}
