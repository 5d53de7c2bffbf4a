//! Whether what must be secret is.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::{Kubectl, processes};

/// A shorter line may be a word that stands elsewhere for a good reason.
const TELLING: usize = 24;

/// What nobody may read elsewhere: every line of a private key and every token in the cluster's Secrets, with
/// the Secret that holds it.
///
/// # Errors
/// When they cannot be listed.
pub fn of(cluster: &Kubectl) -> Result<BTreeMap<String, String>> {
    let list = cluster.json(&["secrets", "--all-namespaces"])?;
    let mut lines = BTreeMap::new();
    for secret in list["items"].as_array().context("a list")? {
        let name = secret["metadata"]["name"].as_str().unwrap_or_default();
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            let bytes = STANDARD.decode(value.as_str().unwrap_or_default())?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            for line in private_lines(&text) {
                lines.insert(line, format!("{name}/{key}"));
            }
        }
    }
    Ok(lines)
}

/// The lines between the marks of a private key, kubeconfigs' encoded keys, and tokens.
fn private_lines(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.contains("-----BEGIN") {
            inside = line.contains("PRIVATE KEY");
        } else if line.contains("-----END") {
            inside = false;
        } else {
            let value = ["client-key-data:", "token:"].iter().find_map(|key| line.strip_prefix(key));
            let line = if inside { Some(line) } else { value.map(str::trim) };
            lines.extend(line.filter(|line| line.len() >= TELLING).map(str::to_owned));
        }
    }
    lines
}

/// Fails when one of the secrets stands in the text; names the Secret, not what it holds.
///
/// # Errors
/// When it does.
pub fn are_not_in(secrets: &BTreeMap<String, String>, place: &str, text: &str) -> Result<()> {
    for (line, secret) in secrets {
        ensure!(!text.contains(line.as_str()), "what Secret {secret} holds stands in {place}");
    }
    Ok(())
}

/// Looks at all places that the people of a cluster read: logs, events, every object that is no Secret, and the
/// arguments of all processes.
///
/// # Errors
/// When a secret stands there.
pub fn are_kept(cluster: &Kubectl) -> Result<()> {
    let secrets = of(cluster)?;
    ensure!(!secrets.is_empty(), "no Secret holds anything: the check is wrong");
    let pods = cluster.json(&["pods", "--all-namespaces"])?;
    for pod in pods["items"].as_array().context("a list")? {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let log = cluster.run(&["logs", "--all-containers", "--namespace", &namespace, &name]);
        // One that is starting or going has no log.
        are_not_in(&secrets, &format!("the log of Pod {name}"), &log.unwrap_or_default())?;
    }
    let kinds = cluster.run(&["api-resources", "--verbs=list,create", "--output=name"])?;
    let kinds: Vec<_> = kinds.lines().filter(|kind| *kind != "secrets").collect();
    let objects: Value = cluster.json(&["--all-namespaces", &kinds.join(",")])?;
    are_not_in(&secrets, "an object that is no Secret", &objects.to_string())?;
    for (_, command) in processes::all() {
        are_not_in(&secrets, "the arguments of a process", &command)?;
    }
    Ok(())
}
