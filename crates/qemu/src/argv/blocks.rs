//! Block nodes: the files behind drives.

use std::path::Path;

use scute_image::qcow2::Format;
use serde_json::{Value, json};

use super::path;
use crate::config::{Drive, Medium};

const NODE: &str = "drive-";
/// How much is read at once over the network.
const READ_AHEAD: u32 = 1 << 20;

/// Name of a drive's block node. It has a number, as QEMU takes no more than 31 characters.
pub fn node_of(index: usize) -> String {
    format!("{NODE}{index}")
}

/// The drive that a block node belongs to.
pub fn drive_of(node: &str) -> Option<usize> {
    node.strip_prefix(NODE)?.parse().ok()
}

/// The node of a medium for a CD-ROM drive; none for an overlay, which is several.
pub fn of_medium(node: &str, medium: &Medium) -> Option<Value> {
    let how = Use { readonly: true, flushed: true };
    match medium {
        Medium::File { path, format: Format::Raw } => Some(raw(node, path, &how)),
        Medium::File { path, format: Format::Qcow2 } => Some(qcow2(node, path, Value::Null, &how)),
        Medium::Url(url) => Some(remote(node, url)),
        Medium::Overlay { .. } => None,
    }
}

/// A flash device of firmware.
pub fn flash(node: &str, image: &Path, readonly: bool) -> Value {
    raw(node, image, &Use { readonly, flushed: true })
}

/// The nodes behind a drive, leaf first; none for an empty one.
pub fn of_drive(index: usize, drive: &Drive) -> Vec<Value> {
    let node = node_of(index);
    let readonly = drive.readonly || drive.cdrom;
    let how = Use { readonly, flushed: drive.persistent || readonly };
    match &drive.medium {
        None => vec![],
        Some(Medium::File { path, format: Format::Raw }) => vec![raw(&node, path, &how)],
        Some(Medium::File { path, format: Format::Qcow2 }) => vec![qcow2(&node, path, Value::Null, &how)],
        Some(Medium::Url(url)) => vec![remote(&node, url)],
        Some(Medium::Overlay { top, base, base_format }) => {
            let base_node = format!("base-{index}");
            let only_read = Use { readonly: true, flushed: true };
            let base = match base_format {
                Format::Raw => raw(&base_node, base, &only_read),
                Format::Qcow2 => qcow2(&base_node, base, Value::Null, &only_read),
            };
            vec![base, qcow2(&node, top, json!(base_node), &how)]
        }
    }
}

/// How a file is used.
struct Use {
    readonly: bool,
    /// A flush of the guest reaches the medium. Of files that go with the machine none has to, and guests flush a lot.
    flushed: bool,
}

impl Use {
    fn add_to(&self, mut node: Value) -> Value {
        if !self.readonly {
            node["discard"] = json!("unmap");
            node["cache"] = json!({"direct": false, "no-flush": !self.flushed});
        }
        node
    }
}

fn raw(node: &str, image: &Path, how: &Use) -> Value {
    how.add_to(
        json!({"driver": "raw", "node-name": node, "read-only": how.readonly, "file": file(image, how)}),
    )
}

/// `backing` null: whatever the image says, QEMU opens no further file for it.
fn qcow2(node: &str, image: &Path, backing: Value, how: &Use) -> Value {
    how.add_to(json!({"driver": "qcow2", "node-name": node, "read-only": how.readonly, "backing": backing,
                      "file": file(image, how)}))
}

/// Large reads: each is a request.
fn remote(node: &str, url: &str) -> Value {
    let secure = url.starts_with("https://");
    let mut file = json!({"driver": if secure { "https" } else { "http" }, "url": url, "readahead": READ_AHEAD, "read-only": true});
    if secure {
        file["sslverify"] = json!(false);
    }
    json!({"driver": "raw", "node-name": node, "read-only": true, "file": file})
}

fn file(image: &Path, how: &Use) -> Value {
    json!({"driver": "file", "filename": path(image), "read-only": how.readonly, "discard": "unmap"})
}
