//! Brings the bundle's images into containerd. In: parts of a bundle. Out: images with their upstream names.
//! What is there already, by the digest of its part, is not imported again.

use crate::{
    Layout,
    bundle::{Bundle, BundleError, Checked, Part, PartKind},
};
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
        let mut new = 0;
        for part in parts {
            let mut imported = self.imported.lock().await;
            if part.refs.iter().all(|name| imported.get(name) == Some(&part.digest)) {
                continue;
            }
            // Nothing uses an image before both are done, and a damaged one is not recorded.
            tokio::try_join!(check(bundle, part), self.bring_in(bundle, part))?;
            new += 1;
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

/// Compares a part with its digest, off the threads that wait for events.
async fn check(bundle: &Bundle, part: &Part) -> Result<(), ImageError> {
    let (bundle, its) = (bundle.clone(), part.clone());
    let check = tokio::task::spawn_blocking(move || bundle.verify([&its], &mut Checked::default()));
    Ok(check.await.map_err(|_| BundleError::Lacks(format!("a readable image {}", part.name)))??)
}

fn record(layout: &Layout) -> PathBuf {
    layout.at("images.json")
}
