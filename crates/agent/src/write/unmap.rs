//! A qcow2 file that comes from the first byte to the last, written to where its clusters belong on the disk.
//!
//! The tables are read before, by ranges: clusters lie in any order, and nothing else would say where they go. When the same
//! bytes come by again in the file whose digest is made, they must be the same.

use std::io::Read;

use bytes::Bytes;
use scute_image::qcow2::{Clusters, Extent};

use super::WriteError;
use super::decode::Feed;
use super::fetch::Source;
use super::target::Target;

/// What the tables say.
pub struct Map {
    clusters: Clusters,
    /// By their place in the file.
    extents: Vec<Extent>,
    /// By their place in the file.
    tables: Vec<(u64, Bytes)>,
}

/// A file of a megabyte holds the header and whatever follows it.
const START: u64 = 1 << 20;

impl Map {
    /// Reads the tables of the file.
    pub async fn read(source: &Source) -> Result<Self, WriteError> {
        let start = source.part(0..source.length.unwrap_or(START).min(START)).await?;
        let clusters = Clusters::read(&start)?;
        let l1 = source.part(clusters.l1.clone()).await?;
        let second = clusters.l2(&l1)?;
        let mut tables = vec![(0, start.slice(..start.len().min(104))), (clusters.l1.start, l1)];
        let mut extents = Vec::new();
        for (first, range) in second {
            let table = source.part(range.clone()).await?;
            clusters.extents(first, &table, &mut extents)?;
            tables.push((range.start, table));
        }
        extents.sort_unstable();
        tables.sort_by_key(|(at, _)| *at);
        Ok(Map { clusters, extents, tables })
    }

    /// The first bytes of the disk, as `source` has them.
    pub async fn head(&self, source: &Source, length: u64) -> Result<Vec<u8>, WriteError> {
        let mut head = vec![0; length.min(self.clusters.size) as usize];
        let mut scratch = Scratch::new(&self.clusters)?;
        let last = length.div_ceil(self.clusters.cluster);
        let of_it: Vec<_> = self.extents.iter().filter(|extent| u64::from(extent.guest) < last).collect();
        for together in of_it.chunk_by(|a, b| b.host <= a.host + u64::from(a.length)) {
            let (Some(first), Some(end)) = (together.first(), together.last()) else { continue };
            let end = (end.host + u64::from(end.length)).min(source.length.unwrap_or(u64::MAX));
            let bytes = source.part(first.host..end.max(first.host + 1)).await?;
            let window = Window { start: first.host, bytes: bytes.to_vec() };
            for extent in together {
                let plain = scratch.plain(extent, window.upto(extent.host, extent.length as usize))?;
                let at = u64::from(extent.guest) * self.clusters.cluster;
                let place = head.get_mut(at as usize..).unwrap_or_default();
                let length = plain.len().min(place.len());
                place[..length].copy_from_slice(&plain[..length]);
            }
        }
        Ok(head)
    }

    /// Bytes of the disk that the file holds.
    pub fn size(&self) -> u64 {
        self.clusters.size
    }

    /// Lets everything read as zeros that the file does not hold.
    pub fn holes(&self, target: &mut Target<'_>) -> Result<(), WriteError> {
        let mut guests: Vec<u32> = self.extents.iter().map(|extent| extent.guest).collect();
        guests.sort_unstable();
        let mut at = 0;
        for guest in guests {
            let start = u64::from(guest) * self.clusters.cluster;
            target.zeros(at..start.max(at))?;
            at = start + self.clusters.cluster;
        }
        Ok(target.zeros(at.min(self.clusters.size)..self.clusters.size)?)
    }

    /// Writes the clusters as the file comes.
    pub fn write(&self, mut feed: Feed, target: &mut Target<'_>) -> Result<(), WriteError> {
        let mut window = Window { start: 0, bytes: Vec::new() };
        let (mut extents, mut tables) = (self.extents.iter().peekable(), self.tables.iter().peekable());
        let mut scratch = Scratch::new(&self.clusters)?;
        loop {
            let piece = feed.next()?;
            let ended = piece.is_none();
            window.bytes.extend_from_slice(&piece.unwrap_or_default());
            while let Some((at, table)) = tables.next_if(|(at, table)| window.holds(*at, table.len())) {
                if window.get(*at, table.len()) != Some(&table[..]) {
                    return Err(WriteError::Tables);
                }
            }
            while let Some(extent) =
                extents.next_if(|extent| ended || window.holds(extent.host, extent.length as usize))
            {
                // The last cluster of a file may be cut short: what is not there is zero.
                let bytes = window.upto(extent.host, extent.length as usize);
                scratch.put(extent, bytes, target)?;
            }
            if ended {
                return if tables.next().is_some() { Err(WriteError::Tables) } else { Ok(()) };
            }
            let needed = [extents.peek().map(|extent| extent.host), tables.peek().map(|(at, _)| *at)];
            window.forget(needed.into_iter().flatten().min());
        }
    }
}

/// The last bytes of the file.
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn holds(&self, at: u64, length: usize) -> bool {
        at.saturating_add(length as u64) <= self.end()
    }

    fn get(&self, at: u64, length: usize) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(length)?)
    }

    /// As much as there is.
    fn upto(&self, at: u64, length: usize) -> &[u8] {
        let length = self.end().saturating_sub(at).min(length as u64) as usize;
        self.get(at, length).unwrap_or_default()
    }

    /// Drops what lies before `needed`, or everything.
    fn forget(&mut self, needed: Option<u64>) {
        let upto = needed.unwrap_or(u64::MAX).clamp(self.start, self.end());
        self.bytes.drain(..(upto - self.start) as usize);
        self.start = upto;
    }
}

/// Memory for one cluster.
struct Scratch {
    cluster: u64,
    plain: Vec<u8>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Scratch {
    fn new(clusters: &Clusters) -> std::io::Result<Self> {
        let zstd = if clusters.zstd { Some(zstd::bulk::Decompressor::new()?) } else { None };
        Ok(Scratch { cluster: clusters.cluster, plain: vec![0; clusters.cluster as usize], zstd })
    }

    fn put(&mut self, extent: &Extent, bytes: &[u8], target: &mut Target<'_>) -> Result<(), WriteError> {
        let at = u64::from(extent.guest) * self.cluster;
        // A disk need not end with a cluster.
        let length = self.cluster.min(target.size().saturating_sub(at)) as usize;
        Ok(target.write(at, &self.plain(extent, bytes)?[..length])?)
    }

    /// The cluster, of whose bytes in the file these are as many as there are.
    fn plain(&mut self, extent: &Extent, bytes: &[u8]) -> Result<&[u8], WriteError> {
        if extent.compressed {
            self.unpack(bytes)?;
        } else {
            self.plain[..bytes.len()].copy_from_slice(bytes);
            self.plain[bytes.len()..].fill(0);
        }
        Ok(&self.plain)
    }

    /// The bytes behind the compressed ones belong to the next cluster.
    fn unpack(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let damaged = WriteError::Cluster;
        if self.zstd.is_some() {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(bytes).map_err(damaged)?.single_frame();
            return decoder.read_exact(&mut self.plain).map_err(damaged);
        }
        flate2::bufread::DeflateDecoder::new(bytes).read_exact(&mut self.plain).map_err(damaged)
    }
}
