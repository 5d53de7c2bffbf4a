//! Block nodes: the files behind drives.

use std::path::Path;

use scute_image::qcow2::Format;
use serde_json::{Value, json};

use super::path;
use crate::config::{Bad, BadSpot, Drive, Medium};

const NODE: &str = "drive-";
/// What a place that fails is counted in.
const SECTOR: u64 = 512;
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

/// Name of the node with the file of a drive's own node.
pub fn file_of(node: &str) -> String {
    format!("{node}-file")
}

/// A node over another one, of which one place fails. The spot's sector is compared with each request as a whole.
pub fn failing(node: &str, over: &str, spot: BadSpot) -> Value {
    let (kinds, errno): (&[&str], _) = match spot.what {
        Bad::Fails => (&["read", "write", "write-zeroes", "discard"], rustix::io::Errno::IO),
        // The drives' default: what finds no room pauses the machine.
        Bad::Full => (&["write", "write-zeroes"], rustix::io::Errno::NOSPC),
    };
    let rule = |kind: &&str| {
        json!({"event": "none", "iotype": kind, "sector": spot.offset / SECTOR, "errno": errno.raw_os_error(),
               "once": false})
    };
    let rules: Vec<Value> = kinds.iter().map(rule).collect();
    json!({"driver": "blkdebug", "node-name": node, "image": over, "inject-error": rules})
}

/// A drive's own node as it was made, over another file node; none for an empty one.
pub fn over(index: usize, drive: &Drive, file: &str) -> Option<Value> {
    let mut node = nodes(index, drive).pop()?;
    node["file"] = json!(file);
    Some(node)
}

/// The nodes behind a drive, leaf first; none for an empty one.
pub fn of_drive(index: usize, drive: &Drive) -> Vec<Value> {
    let mut nodes = nodes(index, drive);
    if let (Some(spot), Some(own)) = (drive.bad, nodes.last_mut()) {
        let (file, bad) = (own["file"].take(), bad_of(index));
        let over = failing(&bad, &file_of(&node_of(index)), spot);
        own["file"] = json!(bad);
        nodes.splice(nodes.len() - 1..nodes.len() - 1, [file, over]);
    }
    nodes
}

/// Name of the node with the place that a drive's configuration says fails.
pub fn bad_of(index: usize) -> String {
    format!("bad-{index}")
}

fn nodes(index: usize, drive: &Drive) -> Vec<Value> {
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
        json!({"driver": "raw", "node-name": node, "read-only": how.readonly, "file": file(node, image, how)}),
    )
}

/// `backing` null: whatever the image says, QEMU opens no further file for it.
fn qcow2(node: &str, image: &Path, backing: Value, how: &Use) -> Value {
    how.add_to(json!({"driver": "qcow2", "node-name": node, "read-only": how.readonly, "backing": backing,
                      "file": file(node, image, how)}))
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

fn file(node: &str, image: &Path, how: &Use) -> Value {
    json!({"driver": "file", "node-name": file_of(node), "filename": path(image), "read-only": how.readonly, "discard": "unmap"})
}
