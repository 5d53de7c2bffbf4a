//! A server of images and of files with their digests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;

type Files = Arc<Mutex<HashMap<String, Bytes>>>;

/// What is served on loopback.
#[derive(Clone)]
pub struct Images {
    files: Files,
    pub url: String,
}

impl Images {
    pub async fn open() -> Self {
        let files = Files::default();
        let serve = |State(files): State<Files>, Path(name): Path<String>| async move {
            files.lock().unwrap().get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
        };
        let app = Router::new().route("/{name}", get(serve)).with_state(files.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { files, url }
    }

    /// Serves a file; gives its URL and SHA-256.
    pub fn put(&self, name: &str, content: impl Into<Bytes>) -> (String, String) {
        let content = content.into();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
        self.files.lock().unwrap().insert(name.to_owned(), content);
        (format!("{}/{name}", self.url), hex::encode(digest))
    }
}

/// The image of a disk with one partition, without a pattern.
pub fn content(length: usize) -> Vec<u8> {
    let mut image: Vec<u8> =
        (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let (first, sectors) = (2048_u32, (length / 512) as u32 - 2048);
    image[446..510].fill(0);
    image[446 + 4] = 0x83;
    image[446 + 8..446 + 12].copy_from_slice(&first.to_le_bytes());
    image[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}
