//! A server of images and of files with their digests, which can stop in the middle of one.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt;
use futures::stream::{once, unfold};
use tokio::sync::watch;

type Files = Arc<Mutex<HashMap<String, File>>>;

struct File {
    content: Bytes,
    /// Where an answer stops, and until what is said.
    stall: Option<(usize, watch::Receiver<Gate>)>,
    fetched: usize,
}

/// What becomes of an answer that has stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Held,
    Open,
    Cut,
}

/// What is served on loopback.
#[derive(Clone)]
pub struct Images {
    files: Files,
    pub url: String,
}

impl Images {
    pub async fn open() -> Self {
        let files = Files::default();
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
        self.files.lock().unwrap().insert(name.to_owned(), File { content, stall: None, fetched: 0 });
        (format!("{}/{name}", self.url), hex::encode(digest))
    }

    /// From now on answers stop at this byte of the file.
    pub fn stall(&self, name: &str, at: usize) -> Stall {
        let (gate, held) = watch::channel(Gate::Held);
        self.files.lock().unwrap().get_mut(name).unwrap().stall = Some((at, held));
        Stall(gate)
    }

    /// The file is not served any more.
    pub fn remove(&self, name: &str) {
        self.files.lock().unwrap().remove(name);
    }

    /// How often the file was asked for.
    pub fn fetched(&self, name: &str) -> usize {
        self.files.lock().unwrap().get(name).map_or(0, |file| file.fetched)
    }
}

/// Answers that have stopped.
pub struct Stall(watch::Sender<Gate>);

impl Stall {
    /// They go on.
    pub fn go_on(&self) {
        self.0.send_replace(Gate::Open);
    }

    /// Their connections break.
    pub fn cut(&self) {
        self.0.send_replace(Gate::Cut);
    }
}

async fn serve(State(files): State<Files>, Path(name): Path<String>) -> Response {
    let (content, stall) = {
        let mut files = files.lock().unwrap();
        let Some(file) = files.get_mut(&name) else { return StatusCode::NOT_FOUND.into_response() };
        file.fetched += 1;
        (file.content.clone(), file.stall.clone())
    };
    let length = [(header::CONTENT_LENGTH, content.len().to_string())];
    let Some((at, gate)) = stall else { return (length, content).into_response() };
    let first = once(std::future::ready(Ok::<_, io::Error>(content.slice(..at))));
    let rest = unfold(Some((content.slice(at..), gate)), |left| async move {
        let (rest, mut gate) = left?;
        let said = gate.wait_for(|gate| *gate != Gate::Held).await.map(|gate| *gate);
        let goes_on = matches!(said, Ok(Gate::Open));
        let rest = if goes_on { Ok(rest) } else { Err(io::ErrorKind::BrokenPipe.into()) };
        Some((rest, None))
    });
    (length, Body::from_stream(first.chain(rest))).into_response()
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
