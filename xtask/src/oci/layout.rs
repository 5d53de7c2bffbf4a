//! The layout: blobs by digest, one manifest per image, one index that names them for containerd.
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::layer::{Layer, Owner, header};
use crate::cache::{FileDigest, Key};

/// The annotation that containerd's import takes an image's name from.
const IMAGE_NAME: &str = "io.containerd.image.name";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container of the image starts with.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// `uid:gid`, root when empty.
    pub user: String,
}

/// One image: its layers are shared with others of the same tar when they are the same `Layer`.
pub struct Image<'a> {
    /// Full name with tag.
    pub name: String,
    /// From the bottom up.
    pub layers: Vec<&'a Layer>,
    /// How it starts.
    pub config: Config,
}

/// The key of several images in one tar.
pub fn key(images: &[Image], mut key: Key) -> Result<Key> {
    for image in images {
        key = key.text("image", &image.name).text("user", &image.config.user);
        key = key.text("entrypoint", &image.config.entrypoint.join("\0"));
        for layer in &image.layers {
            key = layer.key(key.text("layer", ""))?;
        }
    }
    Ok(key)
}

/// Writes all images into one tar.
pub fn write(images: &[Image], out: &Path) -> Result<()> {
    let layers = digests(images)?;
    let mut blobs = BTreeMap::new();
    let mut manifests = Vec::new();
    for image in images {
        let used: Vec<_> = image.layers.iter().map(|layer| &layers[&address(layer)].1).collect();
        let config = put(&mut blobs, &config_of(image, &used));
        let manifest = put(&mut blobs, &manifest_of(&config, &used));
        manifests.push(entry_of(&image.name, &manifest)?);
    }
    let file = File::create(out).with_context(|| format!("create {}", out.display()))?;
    let mut tar = Layout(BufWriter::with_capacity(1 << 20, file));
    tar.bytes("oci-layout", &serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?)?;
    tar.bytes("index.json", &serde_json::to_vec(&index_of(manifests))?)?;
    for (hex, bytes) in &blobs {
        tar.bytes(&format!("blobs/sha256/{hex}"), bytes)?;
    }
    let by_digest: BTreeMap<_, _> =
        layers.values().map(|(layer, digest)| (&digest.hex, (layer, digest))).collect();
    for (layer, digest) in by_digest.values() {
        tar.layer(layer, digest)?;
    }
    tar.finish()
}

/// Layers are told apart by where they are: hashing one of 160 MB per image would be waste.
fn address(layer: &Layer) -> usize {
    std::ptr::from_ref(layer) as usize
}

fn digests<'a>(images: &[Image<'a>]) -> Result<BTreeMap<usize, (&'a Layer, FileDigest)>> {
    let mut found = BTreeMap::new();
    for layer in images.iter().flat_map(|image| &image.layers) {
        if let std::collections::btree_map::Entry::Vacant(slot) = found.entry(address(layer)) {
            slot.insert((*layer, layer.digest()?));
        }
    }
    Ok(found)
}

fn put(blobs: &mut BTreeMap<String, Vec<u8>>, value: &Value) -> FileDigest {
    let bytes = value.to_string().into_bytes();
    let digest = FileDigest { hex: hex::encode(Sha256::digest(&bytes)), size: bytes.len() as u64 };
    blobs.insert(digest.hex.clone(), bytes);
    digest
}

fn config_of(image: &Image, layers: &[&FileDigest]) -> Value {
    let Config { entrypoint, user } = &image.config;
    let mut config = json!({"Env": [PATH], "WorkingDir": "/"});
    if !entrypoint.is_empty() {
        config["Entrypoint"] = json!(entrypoint);
    }
    if !user.is_empty() {
        config["User"] = json!(user);
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", layer.hex)).collect();
    json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

fn descriptor(media_type: &str, digest: &FileDigest) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", digest.hex), "size": digest.size})
}

fn manifest_of(config: &FileDigest, layers: &[&FileDigest]) -> Value {
    let layer = |digest: &&FileDigest| descriptor("application/vnd.oci.image.layer.v1.tar", digest);
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

fn entry_of(name: &str, manifest: &FileDigest) -> Result<Value> {
    let Some((_, tag)) = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) else {
        bail!("an image's name needs a tag: {name}");
    };
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", manifest);
    entry["platform"] = json!({"architecture": "amd64", "os": "linux"});
    entry["annotations"] = json!({IMAGE_NAME: name, "org.opencontainers.image.ref.name": tag});
    Ok(entry)
}

fn index_of(manifests: Vec<Value>) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    })
}

/// The outer tar. Layers are streamed into it: they are too large to be kept.
struct Layout<W: Write>(W);

impl<W: Write> Layout<W> {
    fn header(&mut self, path: &str, size: u64) -> Result<()> {
        let mut header = header(tar::EntryType::Regular, 0o644, Owner(0, 0), size);
        header.set_path(path)?;
        header.set_cksum();
        Ok(self.0.write_all(header.as_bytes())?)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let short = (512 - size % 512) % 512;
        Ok(self.0.write_all(&[0; 512][..short as usize])?)
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.header(path, bytes.len() as u64)?;
        self.0.write_all(bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn layer(&mut self, layer: &Layer, digest: &FileDigest) -> Result<()> {
        self.header(&format!("blobs/sha256/{}", digest.hex), digest.size)?;
        layer.write(&mut self.0)?;
        self.pad(digest.size)
    }

    fn finish(mut self) -> Result<()> {
        // Two empty blocks end a tar.
        self.0.write_all(&[0; 1024])?;
        Ok(self.0.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Every file of a tar by path.
    fn unpack(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut tar = tar::Archive::new(bytes);
        let mut files = BTreeMap::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(path, content);
        }
        files
    }

    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let hex = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = &files[&format!("blobs/sha256/{hex}")];
        assert_eq!(hex::encode(Sha256::digest(bytes)), hex);
        assert_eq!(bytes.len() as u64, descriptor["size"].as_u64().unwrap());
        bytes
    }

    fn sample(out: &Path) -> Vec<u8> {
        let long = format!("usr/share/{}/file", "long/".repeat(40));
        let base = Layer::new().folder("tmp", 0o1777).bytes("etc/passwd", "root", 0o644);
        let top = Layer::new().bytes(&long, "deep", 0o600).link("bin", "usr/bin").owned_by(Owner(107, 107));
        let image = |name: &str, layers| Image {
            name: name.into(),
            layers,
            config: Config { entrypoint: vec!["/x".into()], user: "107:107".into() },
        };
        let images = [image("a.example/one:1", vec![&base, &top]), image("a.example/two:2", vec![&base])];
        write(&images, out).unwrap();
        std::fs::read(out).unwrap()
    }

    #[test]
    fn the_layout_parses_back_and_every_digest_is_true() {
        let out = std::env::temp_dir().join(format!("scute-oci-{}.tar", std::process::id()));
        let bytes = sample(&out);
        assert_eq!(bytes, sample(&out), "the same input gives the same bytes");
        std::fs::remove_file(&out).unwrap();

        let files = unpack(&bytes);
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let names: Vec<_> =
            index["manifests"].as_array().unwrap().iter().map(|m| &m["annotations"][IMAGE_NAME]).collect();
        assert_eq!(names, ["a.example/one:1", "a.example/two:2"]);

        let manifest: Value = serde_json::from_slice(blob(&files, &index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(blob(&files, &manifest["config"])).unwrap();
        assert_eq!(config["config"]["User"], "107:107");
        let layers = manifest["layers"].as_array().unwrap();
        for (layer, diff_id) in layers.iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap()) {
            assert_eq!(&layer["digest"], diff_id, "an uncompressed layer is its own diff id");
        }
        let base = unpack(blob(&files, &layers[0]));
        assert_eq!(base["etc/passwd"], b"root");
        let top = unpack(blob(&files, &layers[1]));
        assert!(top.values().any(|content| content == b"deep"), "long paths survive");
    }

    #[test]
    fn shared_layers_are_stored_once() {
        let out = std::env::temp_dir().join(format!("scute-oci-shared-{}.tar", std::process::id()));
        let files = unpack(&sample(&out));
        std::fs::remove_file(&out).unwrap();
        // Two layers, two manifests, two configurations.
        assert_eq!(files.keys().filter(|path| path.starts_with("blobs/")).count(), 6);
    }

    #[test]
    fn a_name_without_a_tag_and_a_path_that_climbs_are_refused() {
        let out = std::env::temp_dir().join(format!("scute-oci-bad-{}.tar", std::process::id()));
        let layer = Layer::new().bytes("a/../../b", "", 0o644);
        let image = |name: &str| Image { name: name.into(), layers: vec![&layer], config: Config::default() };
        assert!(write(&[image("a:1")], &out).is_err());
        let layer = Layer::new();
        let image = |name: &str| Image { name: name.into(), layers: vec![&layer], config: Config::default() };
        assert!(write(&[image("host:5000/a")], &out).is_err());
        let _ = std::fs::remove_file(&out);
    }
}
