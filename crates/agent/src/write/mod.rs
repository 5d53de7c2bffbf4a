//! An image from a server to a disk: one pass, network -> digest -> decompression -> disk, in little memory.

pub mod boot;
mod decode;
mod digest;
mod fetch;
mod finish;
mod image;
mod progress;
mod room;
mod target;
mod unmap;

use std::io::{self, Read};
use std::sync::Arc;

use hyper::body::Incoming;
use tokio::sync::mpsc::channel;
use tokio::task::{JoinError, spawn_blocking};
use tokio_util::sync::CancellationToken;

use scute_image::oci::Reference;

pub use finish::{FinishError, Finished};
pub use progress::Progress;
pub use target::{Device, TargetError};

use crate::http::{self, Client, TrustError, Url};
use crate::protocol::{Checksum, Format, Write};
use decode::{Feed, Raw};
use digest::{Digest, Mismatch};
use fetch::{FetchError, Source};
use image::ImageError;
use room::NoRoom;
use target::{HELD, Target};
use unmap::Map;

/// Pieces between the network and the disk: of 64 KiB at most, so 4 MiB.
const PIECES: usize = 64;

/// Why an image is not on the disk.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Where it is.
    #[error("{0}")]
    Image(#[from] ImageError),
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
    /// The disk, for this image.
    #[error("{0}")]
    Room(#[from] NoRoom),
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

/// Writes an image to a disk of `size` bytes. Whenever this ends without success nothing boots from the disk, unless it has no
/// room for the image, or no image comes at all: then it is as it was. It must not be dropped before
/// its end, which comes soon after `stop`: until then the disk is written.
pub async fn write(
    write: &Write,
    device: Arc<dyn Device>,
    size: u64,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Finished, WriteError> {
    let drive = write.config_drive.as_deref().map(finish::decode).transpose()?;
    let space = Space { size, drive: drive.as_ref().map_or(0, |drive| drive.len() as u64) };
    let opened = stop.run_until_cancelled(open(write, &space)).await;
    let Opened { source, first, map, checksum } = opened.ok_or(WriteError::Cancelled)??;
    progress.expect(source.length.unwrap_or_default());
    let (sender, pieces) = channel(PIECES);
    let (disk, length) = (device.clone(), source.length);
    let writer = spawn_blocking(move || {
        let feed = Feed::new(pieces);
        match map {
            Some(map) => unmap(&map, feed, &*disk, size),
            None => copy(feed, length, &*disk, &space),
        }
    });
    let mut digest = Digest::new(checksum.algorithm);
    let pumped = stop.run_until_cancelled(source.pump(first, &sender, &mut digest, progress)).await;
    drop(sender);
    let filled = writer.await?;
    // A download that broke off is the reason for what the writer says then.
    pumped.ok_or(WriteError::Cancelled)??;
    let (head, tail) = filled?;
    digest.verify(&checksum)?;
    spawn_blocking(move || finish::finish(&*device, size, (head, tail), drive.as_deref()))
        .await?
        .map_err(Into::into)
}

/// What there is for an image and its config drive.
struct Space {
    size: u64,
    drive: u64,
}

impl Space {
    fn check(&self, head: &[u8], image: Option<u64>) -> Result<(), NoRoom> {
        room::check(head, image, self.size, self.drive)
    }
}

/// What the server says of the image, and its first bytes on their way.
struct Opened {
    source: Source,
    first: Incoming,
    map: Option<Map>,
    checksum: Checksum,
}

async fn open(write: &Write, space: &Space) -> Result<Opened, WriteError> {
    let client = Client::new(http::trusting(write.ca.as_deref())?);
    let (place, checksum) = image::find(&client, write).await?;
    let (source, first) = Source::open(client, place).await?;
    let map = match write.format {
        Format::Raw => None,
        Format::Qcow2 => Some(Map::read(&source).await?),
        Format::Auto if image::is_qcow2(&source).await? => Some(Map::read(&source).await?),
        Format::Auto => None,
    };
    if let Some(map) = &map {
        space.check(&map.head(&source, HELD).await?, Some(map.size()))?;
    }
    Ok(Opened { source, first, map, checksum })
}

/// Makes the disk one that nothing boots from, after all.
pub fn retract(device: &dyn Device, size: u64) -> Result<(), TargetError> {
    Target::begin(device, size).map(drop)
}

/// The two ends of the disk, which come last.
type Ends = (Vec<u8>, Vec<u8>);

/// Writes everything but the two ends of a qcow2 image.
fn unmap(map: &Map, feed: Feed, device: &dyn Device, size: u64) -> Result<Ends, WriteError> {
    let mut target = Target::begin(device, size)?;
    map.holes(&mut target)?;
    map.write(feed, &mut target)?;
    target.settle()?;
    Ok((target.head, target.tail))
}

/// Writes everything but the two ends of a raw image, whose file has so many bytes.
fn copy(feed: Feed, length: Option<u64>, device: &dyn Device, space: &Space) -> Result<Ends, WriteError> {
    let mut bytes = Vec::with_capacity(HELD as usize);
    let begun = decode::raw(feed).and_then(|mut image| next(&mut image, &mut bytes).map(|()| image));
    let mut image = match begun {
        Ok(image) if !bytes.is_empty() => image,
        other => {
            Target::begin(device, space.size)?;
            return Err(other.err().map_or(WriteError::Empty, WriteError::Decode));
        }
    };
    space.check(&bytes, length.filter(|_| image.plain))?;
    let (mut target, mut at) = (Target::begin(device, space.size)?, 0);
    while !bytes.is_empty() {
        target.write(at, &bytes)?;
        at += bytes.len() as u64;
        next(&mut image, &mut bytes)?;
    }
    target.settle()?;
    Ok((target.head, target.tail))
}

/// The next part of the image, and nothing at its end. The first has everything that [`room::check`] looks at.
fn next(image: &mut Raw, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.clear();
    image.bytes.by_ref().take(HELD).read_to_end(bytes).map(drop)
}

/// A URL without what may be secret in it.
pub fn shown(url: &str) -> String {
    if Reference::is(url) {
        // No password has a place in it.
        return url.to_owned();
    }
    Url::parse(url).map_or_else(|error| error.to_string(), |url| url.to_string())
}
