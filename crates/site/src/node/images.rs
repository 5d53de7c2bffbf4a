//! Brings the bundle's images into containerd. In: parts of a bundle. Out: images with their upstream names.
//! What is there already, by the digest of its part, is not imported again.

use crate::Layout;
use futures::{StreamExt, TryStreamExt, stream};
use scute_bundle::{Bundle, BundleError, Checked, Part, PartKind};
use scute_processes::{
    files,
    keep::{OnceError, once},
    reaper::Reaper,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
    process::Command,
    sync::Arc,
};
use tokio::sync::Mutex;

/// Parts whose digests are computed before they are needed.
const AHEAD: usize = 2;

/// Why an image is not there.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// containerd refused.
    #[error("the image {name} could not be imported: {source}")]
    Import {
        /// The part.
        name: String,
        /// Why.
        source: OnceError,
    },
    /// containerd did not list its images.
    #[error("containerd's images cannot be listed: {0}")]
    List(#[source] OnceError),
    /// Not in the bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The record of what was imported could not be written.
    #[error("{path} cannot be written")]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Imports images one after the other; a part is a single tar, however many names it carries.
pub struct Importer {
    layout: Layout,
    reaper: Arc<Reaper>,
    /// Digest of the part that each image name came from.
    imported: Mutex<BTreeMap<String, String>>,
}

impl Importer {
    /// Compares the record of earlier imports with what containerd has.
    pub async fn open(layout: Layout, reaper: Arc<Reaper>) -> Result<Self, ImageError> {
        let mut imported: BTreeMap<String, String> = fs::read(record(&layout))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let mut importer = Self { layout, reaper, imported: Mutex::default() };
        let listed = importer.ctr(&["images", "list", "--quiet"]).await.map_err(ImageError::List)?;
        let there: BTreeSet<_> = listed.lines().map(str::trim).collect();
        imported.retain(|name, _| there.contains(name.as_str()));
        importer.imported = Mutex::new(imported);
        Ok(importer)
    }

    /// Brings in the parts that carry these names.
    pub async fn import_named(&self, bundle: &Bundle, names: &[String]) -> Result<usize, ImageError> {
        let mut parts: Vec<&Part> = Vec::new();
        for name in names {
            let part = bundle.image(name)?;
            if !parts.iter().any(|known| known.name == part.name) {
                parts.push(part);
            }
        }
        self.import(bundle, parts).await
    }

    /// Brings in every image of the bundle; gives how many were new.
    pub async fn import_all(&self, bundle: &Bundle) -> Result<usize, ImageError> {
        self.import(bundle, bundle.parts(PartKind::Image).collect()).await
    }

    async fn import(&self, bundle: &Bundle, parts: Vec<&Part>) -> Result<usize, ImageError> {
        let mut imported = self.imported.lock().await;
        let is_new = |part: &&Part| !part.refs.iter().all(|name| imported.get(name) == Some(&part.digest));
        let missing: Vec<_> = parts.into_iter().filter(is_new).collect();
        let new = missing.len();
        // The next is read while one is imported, and each is imported only after its digest was found right: under
        // the names that it brings, running Pods may be started anew.
        let mut checked = stream::iter(missing).map(|part| check(bundle, part)).buffered(AHEAD);
        while let Some(part) = checked.try_next().await? {
            self.bring_in(bundle, part).await?;
            imported.extend(part.refs.iter().map(|name| (name.clone(), part.digest.clone())));
            let text = serde_json::to_vec_pretty(&*imported).unwrap_or_default();
            let path = record(&self.layout);
            files::write(&path, &text, 0o644).map_err(|source| ImageError::Record { path, source })?;
        }
        Ok(new)
    }

    async fn bring_in(&self, bundle: &Bundle, part: &Part) -> Result<(), ImageError> {
        let file = bundle.path(part).display().to_string();
        let args = ["images", "import", "--snapshotter", "overlayfs", &file];
        let failed = |source| ImageError::Import { name: part.name.clone(), source };
        self.ctr(&args).await.map(drop).map_err(failed)
    }

    async fn ctr(&self, args: &[&str]) -> Result<String, OnceError> {
        let mut command = Command::new(self.layout.bin("ctr"));
        command
            .arg("--address")
            .arg(self.layout.containerd_socket())
            .args(["--namespace", "k8s.io"])
            .args(args);
        once(&self.reaper, &mut command).await
    }
}

/// Compares a part with its digest, off the threads that wait for events; begins before it is waited for.
fn check<'a>(
    bundle: &Bundle,
    part: &'a Part,
) -> impl Future<Output = Result<&'a Part, ImageError>> + use<'a> {
    let (bundle, its) = (bundle.clone(), part.clone());
    let check = tokio::task::spawn_blocking(move || bundle.verify([&its], &mut Checked::default()));
    async move {
        check.await.map_err(|_| BundleError::Lacks(format!("a readable image {}", part.name)))??;
        Ok(part)
    }
}

fn record(layout: &Layout) -> PathBuf {
    layout.at("images.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SiteName;
    use scute_bundle::{INDEX, Index, SCHEMA, sha256};
    use std::{os::unix::fs::PermissionsExt, path::Path};

    /// A `ctr` that writes down what it is asked for, and has no image.
    fn site(dir: &Path) -> (Layout, PathBuf) {
        let layout = Layout::new(SiteName::new("lab").unwrap(), dir.join("site"));
        let (ctr, calls) = (layout.bin("ctr"), dir.join("calls"));
        let script = format!("#!/bin/sh\necho \"$@\" | grep import >> {}; exit 0\n", calls.display());
        files::write(&ctr, script.as_bytes(), 0o755).unwrap();
        fs::set_permissions(&ctr, fs::Permissions::from_mode(0o755)).unwrap();
        (layout, calls)
    }

    fn bundle(dir: &Path, images: &[(&str, &str, &str)]) -> Bundle {
        let part = |(name, text, promised): &(&str, &str, &str)| {
            let file = Path::new("images").join(format!("{name}.tar"));
            files::write(&dir.join(&file), text.as_bytes(), 0o644).unwrap();
            Part {
                name: (*name).to_owned(),
                kind: PartKind::Image,
                version: String::new(),
                file,
                digest: sha256(promised.as_bytes()),
                size: text.len() as u64,
                mode: None,
                refs: vec![format!("example.com/{name}:1")],
            }
        };
        let parts = images.iter().map(part).collect();
        let index = Index { schema: SCHEMA, kubernetes: "v1".into(), scute: "0".into(), parts };
        files::write(&dir.join(INDEX), &serde_json::to_vec(&index).unwrap(), 0o644).unwrap();
        Bundle::open(dir, "0", "v1").unwrap()
    }

    #[tokio::test]
    async fn an_image_with_a_wrong_digest_never_reaches_containerd() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, calls) = site(dir.path());
        let bundle =
            bundle(&dir.path().join("bundle"), &[("good", "a", "a"), ("bad", "b", "x"), ("late", "c", "c")]);
        let importer = Importer::open(layout.clone(), Reaper::begin().unwrap()).await.unwrap();
        let error = importer.import_all(&bundle).await.unwrap_err();
        assert!(matches!(error, ImageError::Bundle(BundleError::Damaged { ref part, .. }) if part == "bad"));
        let calls = fs::read_to_string(calls).unwrap();
        assert!(calls.contains("good.tar") && !calls.contains("bad.tar"), "{calls}");
        let record = fs::read_to_string(record(&layout)).unwrap();
        assert!(record.contains("good") && !record.contains("bad"), "{record}");
    }

    #[tokio::test]
    async fn what_is_there_needs_no_bundle_and_what_is_missing_is_named_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, calls) = site(dir.path());
        let folder = dir.path().join("bundle");
        let bundle = bundle(&folder, &[("good", "a", "a"), ("late", "c", "c")]);
        let importer = Importer::open(layout, Reaper::begin().unwrap()).await.unwrap();
        importer.import_named(&bundle, &["example.com/good:1".to_owned()]).await.unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let bundle = Bundle::read(&folder, &serde_json::to_vec(&bundle.index).unwrap()).unwrap();
        assert_eq!(importer.import_named(&bundle, &["example.com/good:1".to_owned()]).await.unwrap(), 0);
        assert_eq!(fs::read_to_string(calls).unwrap().lines().count(), 1);
        let error = importer.import_all(&bundle).await.unwrap_err().to_string();
        assert!(error.contains("late") && error.contains("bundle/images/late.tar"), "{error}");
    }
}
