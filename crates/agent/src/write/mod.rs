//! An image from a server to a disk: one pass, network -> digest -> decompression -> disk, in little memory.

pub mod boot;
mod decode;
mod digest;
mod fetch;
mod finish;
mod progress;
mod target;
mod unmap;

use std::io::{self, Read};
use std::sync::Arc;

use hyper::body::Incoming;
use tokio::sync::mpsc::channel;
use tokio::task::{JoinError, spawn_blocking};
use tokio_util::sync::CancellationToken;

pub use finish::{FinishError, Finished};
pub use progress::Progress;
pub use target::{Device, TargetError};

use crate::http::{self, Client, TrustError, Url, UrlError};
use crate::protocol::{Format, Write};
use decode::Feed;
use digest::{Digest, Mismatch};
use fetch::{FetchError, Source};
use target::Target;
use unmap::Map;

/// Pieces between the network and the disk: of 64 KiB at most, so 4 MiB.
const PIECES: usize = 64;
const BUFFER: usize = 1 << 20;

/// Why an image is not on the disk.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The URL.
    #[error("{0}")]
    Url(#[from] UrlError),
    /// The authorities.
    #[error("{0}")]
    Trust(#[from] TrustError),
    /// The server.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// Another image.
    #[error("{0}")]
    Digest(#[from] Mismatch),
    /// The content.
    #[error("the image cannot be unpacked: {0}")]
    Decode(#[from] io::Error),
    /// The content.
    #[error("{0}")]
    Clusters(#[from] scute_image::qcow2::ClustersError),
    /// The content.
    #[error("a compressed cluster of the image is damaged: {0}")]
    Cluster(#[source] io::Error),
    /// The server gave one thing for ranges and another for the whole.
    #[error("the qcow2 tables in the image are not those that the server gave before")]
    Tables,
    /// The disk.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// What comes after.
    #[error("{0}")]
    Finish(#[from] FinishError),
    /// The content.
    #[error("the image is empty")]
    Empty,
    /// By the metal room.
    #[error("the image is not wanted any more")]
    Cancelled,
    /// A fault of ours.
    #[error("the writer broke down: {0}")]
    Broken(#[from] JoinError),
}

/// Writes an image to a disk of `size` bytes. Whenever this ends without success nothing boots from the disk. It must not
/// be dropped before its end, which comes soon after `stop`: until then the disk is written.
pub async fn write(
    write: &Write,
    device: Arc<dyn Device>,
    size: u64,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Finished, WriteError> {
    let (source, first, map) = stop.run_until_cancelled(open(write)).await.ok_or(WriteError::Cancelled)??;
    progress.expect(source.length.unwrap_or_default());
    if map.as_ref().is_some_and(|map| map.size() > size) {
        return Err(TargetError::Large(size).into());
    }
    let (sender, pieces) = channel(PIECES);
    let disk = device.clone();
    let writer = spawn_blocking(move || fill(map, Feed::new(pieces), &*disk, size));
    let mut digest = Digest::new(write.checksum.algorithm);
    let pumped = stop.run_until_cancelled(source.pump(first, &sender, &mut digest, progress)).await;
    drop(sender);
    let filled = writer.await?;
    // A download that broke off is the reason for what the writer says then.
    pumped.ok_or(WriteError::Cancelled)??;
    let (head, tail) = filled?;
    digest.verify(&write.checksum)?;
    let drive = write.config_drive.clone();
    spawn_blocking(move || finish::finish(&*device, size, (head, tail), drive.as_deref()))
        .await?
        .map_err(Into::into)
}

/// What the server says of the image, and its first bytes on their way.
async fn open(write: &Write) -> Result<(Source, Incoming, Option<Map>), WriteError> {
    let client = Client::new(http::trusting(write.ca.as_deref())?);
    let (source, first) = Source::open(client, Url::parse(&write.url)?).await?;
    let map = match write.format {
        Format::Raw => None,
        Format::Qcow2 => Some(Map::read(&source).await?),
    };
    Ok((source, first, map))
}

/// Makes the disk one that nothing boots from, after all.
pub fn retract(device: &dyn Device, size: u64) -> Result<(), TargetError> {
    Target::begin(device, size).map(drop)
}

/// Everything but the two ends, which it gives back.
fn fill(
    map: Option<Map>,
    feed: Feed,
    device: &dyn Device,
    size: u64,
) -> Result<(Vec<u8>, Vec<u8>), WriteError> {
    let mut target = Target::begin(device, size)?;
    match map {
        Some(map) => {
            map.holes(&mut target)?;
            map.write(feed, &mut target)?;
        }
        None => copy(&mut *decode::raw(feed)?, &mut target)?,
    }
    target.settle()?;
    Ok((target.head, target.tail))
}

fn copy(image: &mut dyn Read, target: &mut Target<'_>) -> Result<(), WriteError> {
    let (mut buffer, mut at) = (vec![0; BUFFER], 0);
    loop {
        let mut length = 0;
        while length < BUFFER {
            match image.read(&mut buffer[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        target.write(at, &buffer[..length])?;
        at += length as u64;
        if length < BUFFER {
            return if at == 0 { Err(WriteError::Empty) } else { Ok(()) };
        }
    }
}

/// A URL without what may be secret in it.
pub fn shown(url: &str) -> String {
    Url::parse(url).map_or_else(|error| error.to_string(), |url| url.to_string())
}
