//! From the file as it is served to the bytes of the disk.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use tokio::sync::mpsc::Receiver;

/// A piece of the file, or its end: a channel that is closed without it was cut.
pub enum Piece {
    Data(Bytes),
    End,
}

/// The file, read where it may block.
pub struct Feed {
    pieces: Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

impl Feed {
    pub fn new(pieces: Receiver<Piece>) -> Self {
        Feed { pieces, rest: Bytes::new(), ended: false }
    }

    /// The next piece as it came; nothing at the end.
    pub fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        if self.ended {
            return Ok(None);
        }
        match self.pieces.blocking_recv() {
            Some(Piece::Data(bytes)) => Ok(Some(bytes)),
            Some(Piece::End) => {
                self.ended = true;
                Ok(None)
            }
            None => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the download was given up")),
        }
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.rest.is_empty() {
            match self.next()? {
                Some(bytes) => self.rest = bytes,
                None => break,
            }
        }
        Ok(&self.rest)
    }

    fn consume(&mut self, length: usize) {
        self.rest.advance(length);
    }
}

/// The content is not what was announced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the image's format is said to be raw, but its content is {0}")]
pub struct Foreign(&'static str);

/// First bytes of formats, where they are, and their names.
const FOREIGN: [(usize, &[u8], &str); 8] = [
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "VMDK"),
    (0, b"# Disk Descripto", "VMDK"),
    (64, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"conectix", "VHD"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"\xfd7zXZ\0", "compressed by xz, which is not supported: use zstd or gzip"),
    (0, b"BZh9", "compressed by bzip2, which is not supported: use zstd or gzip"),
];
const LOOKED_AT: usize = 512;
/// Memory for what a compressor looked back at: zstd's own limit for files that need no special reader.
const WINDOW: u32 = 27;

type Peeked<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// The bytes of the disk of an image that is raw, or compressed.
pub struct Raw {
    /// The bytes.
    pub bytes: Box<dyn Read>,
    /// They stand in the file as they are.
    pub plain: bool,
}

/// Finds out how the file is compressed.
pub fn raw(feed: Feed) -> io::Result<Raw> {
    let (start, feed) = peek(feed)?;
    let plain: Box<dyn Read> = if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(feed)?;
        decoder.window_log_max(WINDOW)?;
        Box::new(decoder)
    } else if start.starts_with(&[0x1f, 0x8b, 8]) {
        Box::new(MultiGzDecoder::new(feed))
    } else {
        check(&start)?;
        return Ok(Raw { bytes: Box::new(feed), plain: true });
    };
    let (start, plain) = peek(plain)?;
    check(&start)?;
    Ok(Raw { bytes: Box::new(plain), plain: false })
}

fn peek<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, Peeked<R>)> {
    let mut start = Vec::new();
    reader.by_ref().take(LOOKED_AT as u64).read_to_end(&mut start)?;
    Ok((start.clone(), BufReader::with_capacity(128 * 1024, Read::chain(Cursor::new(start), reader))))
}

fn check(start: &[u8]) -> io::Result<()> {
    let is =
        |(at, magic, _): &&(usize, &[u8], &str)| start.get(*at..).is_some_and(|from| from.starts_with(magic));
    match FOREIGN.iter().find(is) {
        Some((_, _, name)) => Err(io::Error::new(io::ErrorKind::InvalidData, Foreign(name))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(file: &[u8], ends: bool) -> io::Result<Vec<u8>> {
        let (sender, pieces) = tokio::sync::mpsc::channel(file.len() + 2);
        for piece in file.chunks(7) {
            let _ = sender.try_send(Piece::Data(Bytes::copy_from_slice(piece)));
        }
        if ends {
            let _ = sender.try_send(Piece::End);
        }
        drop(sender);
        let mut all = Vec::new();
        raw(Feed::new(pieces))?.bytes.read_to_end(&mut all)?;
        Ok(all)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_kind_of_file_gives_the_same_disk() {
        let disk: Vec<u8> = (0..50_000).map(|at| (at / 3) as u8).collect();
        let zstd = zstd::encode_all(&disk[..], 1).unwrap();
        for file in
            [disk.clone(), gzip(&disk), zstd.clone(), [gzip(&disk[..100]), gzip(&disk[100..])].concat()]
        {
            assert!(read(&file, true).unwrap() == disk);
            assert!(read(&file, false).is_err(), "a file that was cut is not whole");
        }
        for file in [gzip(&disk), zstd] {
            for cut in [0, 3, 20, file.len() / 2, file.len() - 1] {
                assert!(read(&file[..cut], true).ok() != Some(disk.clone()), "{cut}");
            }
        }
    }

    #[test]
    fn other_formats_are_told_by_their_content() {
        let mut vdi = vec![0; 100];
        vdi[64..68].copy_from_slice(b"\x7f\x10\xda\xbe");
        for (file, name) in
            [(b"QFI\xfb\0\0\0\x03".to_vec(), "qcow2"), (vdi, "VDI"), (b"\xfd7zXZ\0\0".to_vec(), "xz")]
        {
            for file in [file.clone(), gzip(&file)] {
                let error = read(&file, true).unwrap_err().to_string();
                assert!(error.contains(name), "{error}");
            }
        }
    }
}
