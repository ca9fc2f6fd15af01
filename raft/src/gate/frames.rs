//! A blob that arrives, piece by piece, for a thread that reads.

use std::io::{self, Read};

use bytes::Bytes;
use securanet_model::BlobId;
use tokio::sync::mpsc::{self, error::TryRecvError};

use crate::network::checksum;

/// Part of a blob that arrives.
pub(super) enum Piece {
    Bytes(Bytes),
    /// All of it, which must have this checksum.
    End(u32),
}

/// What arrives, for a thread that reads. Reading to the end fails unless the checksum came and fits.
pub(super) struct Frames {
    receiver: mpsc::Receiver<Piece>,
    rest: Bytes,
    checksum: crc32fast::Hasher,
    is_whole: bool,
}

impl Frames {
    /// Of a blob of which nothing has come yet.
    pub(super) fn new(blob: BlobId, receiver: mpsc::Receiver<Piece>) -> Self {
        Self { receiver, rest: Bytes::new(), checksum: checksum(blob), is_whole: false }
    }
}

impl Read for Frames {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.is_whole {
            let next = match self.receiver.try_recv() {
                Err(TryRecvError::Empty) => self.receiver.blocking_recv(),
                next => next.ok(),
            };
            match next {
                Some(Piece::Bytes(bytes)) => {
                    self.checksum.update(&bytes);
                    self.rest = bytes;
                }
                Some(Piece::End(expected)) if expected == self.checksum.clone().finalize() => self.is_whole = true,
                Some(Piece::End(_)) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum does not fit its content"));
                }
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = out.len().min(self.rest.len());
        out[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use securanet_model::TenantId;

    use super::*;

    const BLOB: BlobId = BlobId { tenant: TenantId::new(7), hash: [9; 32] };

    /// What a reader makes of these pieces.
    fn read(pieces: Vec<Piece>) -> Result<Vec<u8>, io::ErrorKind> {
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        pieces.into_iter().for_each(|piece| assert!(sender.try_send(piece).is_ok()));
        drop(sender);
        let mut frames = Frames::new(BLOB, receiver);
        let mut content = Vec::new();
        frames.read_to_end(&mut content).map_err(|error| error.kind())?;
        Ok(content)
    }

    #[test]
    fn content_is_there_only_when_its_checksum_came_and_fits() {
        let sum = |content: &[u8]| {
            let mut sum = checksum(BLOB);
            sum.update(content);
            Piece::End(sum.finalize())
        };
        let bytes = |bytes: &'static [u8]| Piece::Bytes(Bytes::from_static(bytes));
        assert_eq!(read(vec![bytes(b"abc"), bytes(b""), bytes(b"def"), sum(b"abcdef")]), Ok(b"abcdef".to_vec()));
        assert_eq!(read(vec![sum(b"")]), Ok(Vec::new()));
        assert_eq!(read(vec![bytes(b"abc"), bytes(b"dxf"), sum(b"abcdef")]), Err(io::ErrorKind::InvalidData));
        assert_eq!(read(vec![bytes(b"abc")]), Err(io::ErrorKind::UnexpectedEof), "it was cut off");
        let mut other = checksum(BlobId { hash: [8; 32], ..BLOB });
        other.update(b"abc");
        let other = Piece::End(other.finalize());
        assert_eq!(read(vec![bytes(b"abc"), other]), Err(io::ErrorKind::InvalidData), "another blob's");
    }
}
