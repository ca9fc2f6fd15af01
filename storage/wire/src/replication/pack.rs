//! Frames of a stream under one zstd context: what a frame has in common with those before it is not sent again.
//!
//! All that a stream packs is one zstd frame without an end, flushed behind each message, so that each can be read when it
//! has come. Rows are given another form on the way, and their own back, by whoever calls: a row that is compressed by
//! itself has nothing in common with others. What is small goes as it is and past the context: heartbeats of idle groups
//! are a few octets each already, and took more when they were packed (measured: 6 %).
//!
//! The receiver begins: it says what it takes ([`Packing`]), and until then, and where it says nothing, frames go as they are.
//!
//! Bounds: the context remembers 1 MiB ([`WINDOW_LOG`]); a peer that wants more memory, or sends what unpacks to more than a
//! message may have, is refused.

use std::io;

use prost::{Message, bytes::Bytes};
use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use super::{MESSAGE_BYTES_MAX, proto};
use crate::WireError;

/// How streams are packed.
const VERSION: u32 = 1;
/// Of the context.
const LEVEL: i32 = 1;
/// 1 MiB is remembered: some hundreds of letters.
const WINDOW_LOG: u32 = 20;
/// A frame of at most so many octets goes as it is.
const PLAIN_BYTES_MAX: usize = 512;
/// What is moved at a time.
const STEP_BYTES: usize = 16 * 1024;

/// What a receiver gives rows their own form back with. A sender that would not make the same rows does not pack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packing {
    /// The number of zstd's version.
    pub zstd: u32,
    /// Its level.
    pub level: i32,
}

/// The first answer on a stream: what is taken there.
#[must_use]
pub fn packing_to_wire(packing: Packing) -> proto::ReplyFrame {
    let Packing { zstd, level } = packing;
    proto::ReplyFrame { packing: Some(proto::Packing { version: VERSION, zstd, level }), ..Default::default() }
}

/// What an answer says is taken; none of the others, and of a way that this release does not know.
#[must_use]
pub fn packing_from_wire(frame: &proto::ReplyFrame) -> Option<Packing> {
    let packing = frame.packing.filter(|packing| packing.version == VERSION);
    packing.map(|proto::Packing { zstd, level, .. }| Packing { zstd, level })
}

/// Packs the frames of a stream, in order.
pub struct Packer(Encoder<'static>);

impl Packer {
    /// For a new stream.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new() -> io::Result<Self> {
        let mut context = Encoder::new(LEVEL)?;
        context.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        Ok(Self(context))
    }

    /// The next frame, whose rows travel in the form that `open` gives them.
    ///
    /// # Errors
    /// There is no memory for it; the stream is over then.
    pub fn pack(
        &mut self,
        mut frame: proto::AppendFrame,
        mut open: impl FnMut(&Bytes) -> Bytes,
    ) -> io::Result<proto::AppendFrame> {
        if frame.encoded_len() <= PLAIN_BYTES_MAX {
            return Ok(frame);
        }
        let hello = frame.hello.take();
        for append in &mut frame.appends {
            append.entries.iter_mut().for_each(|entry| *entry = open(entry));
        }
        let packed = self.shrink(&frame.encode_to_vec())?.into();
        Ok(proto::AppendFrame { hello, packed, ..Default::default() })
    }

    fn shrink(&mut self, frame: &[u8]) -> io::Result<Vec<u8>> {
        let (mut packed, mut step) = (Vec::with_capacity(frame.len() / 2 + 64), [0; STEP_BYTES]);
        let mut input = InBuffer::around(frame);
        while input.pos() < frame.len() {
            let mut output = OutBuffer::around(&mut step[..]);
            self.0.run(&mut input, &mut output)?;
            packed.extend_from_slice(output.as_slice());
        }
        loop {
            let mut output = OutBuffer::around(&mut step[..]);
            let left = self.0.flush(&mut output)?;
            packed.extend_from_slice(output.as_slice());
            if left == 0 {
                return Ok(packed);
            }
        }
    }
}

/// Unpacks the frames of a stream, in order.
pub struct Unpacker(Decoder<'static>);

impl Unpacker {
    /// For a new stream.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new() -> io::Result<Self> {
        let mut context = Decoder::new()?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self(context))
    }

    /// The next frame, whose rows `close` gives their own form back; one that is not packed as it is.
    ///
    /// # Errors
    /// What `close` says, or [`WireError`]; the stream is over then.
    pub fn unpack<E: From<WireError>>(
        &mut self,
        frame: proto::AppendFrame,
        mut close: impl FnMut(&Bytes) -> Result<Bytes, E>,
    ) -> Result<proto::AppendFrame, E> {
        if frame.packed.is_empty() {
            return Ok(frame);
        }
        let unpacked = self.expand(&frame.packed)?;
        let mut inner = proto::AppendFrame::decode(Bytes::from(unpacked))
            .map_err(|_| WireError::Field("packed: what is in it does not decode"))?;
        if !frame.appends.is_empty() || inner.hello.is_some() || !inner.packed.is_empty() {
            return Err(WireError::Field("packed: appends are in it, and nothing else").into());
        }
        for append in &mut inner.appends {
            for entry in &mut append.entries {
                *entry = close(entry)?;
            }
        }
        Ok(proto::AppendFrame { hello: frame.hello, ..inner })
    }

    fn expand(&mut self, packed: &[u8]) -> Result<Vec<u8>, WireError> {
        let (mut unpacked, mut step) = (Vec::new(), [0; STEP_BYTES]);
        let mut input = InBuffer::around(packed);
        loop {
            let (before, mut output) = (input.pos(), OutBuffer::around(&mut step[..]));
            let ran = self.0.run(&mut input, &mut output);
            ran.map_err(|_| WireError::Field("packed: it does not unpack"))?;
            let got = output.as_slice();
            if unpacked.len() + got.len() > MESSAGE_BYTES_MAX {
                return Err(WireError::Field("packed: there is more in it than a message may have"));
            }
            unpacked.extend_from_slice(got);
            let is_full = got.len() == STEP_BYTES;
            if input.pos() == packed.len() && !is_full {
                return Ok(unpacked);
            }
            if input.pos() == before && got.is_empty() {
                return Err(WireError::Field("packed: it does not unpack"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64, entries: Vec<Bytes>) -> proto::AppendFrame {
        let append = proto::Append { session: number, group: 3, targets: vec![2], entries, ..Default::default() };
        proto::AppendFrame { appends: vec![append], ..Default::default() }
    }

    fn unpack(unpacker: &mut Unpacker, frame: proto::AppendFrame) -> Result<proto::AppendFrame, WireError> {
        unpacker.unpack(frame, |row| Ok(row.clone()))
    }

    fn pack(packer: &mut Packer, frame: proto::AppendFrame) -> proto::AppendFrame {
        packer.pack(frame, Bytes::clone).unwrap()
    }

    /// Octets that do not shrink by themselves.
    fn noise(seed: u64, count: usize) -> Vec<u8> {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random.to_le_bytes()[3]
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    #[test]
    fn frames_come_out_one_by_one_as_they_went_in_and_what_was_said_before_is_small() {
        let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new().unwrap());
        for number in 0..500_u64 {
            let size = [0, 1, 700, 20_000, 400_000][(number % 5) as usize];
            let sent = frame(number, vec![noise(number % 5, size).into()]);
            let packed = pack(&mut packer, sent.clone());
            assert_eq!(packed.packed.is_empty(), size < 500, "{size}");
            assert_eq!(unpack(&mut unpacker, packed), Ok(sent), "frame {number}");
        }
        let mail = noise(9, 5000);
        let first = pack(&mut packer, frame(1, vec![mail.clone().into()])).packed.len();
        let again = pack(&mut packer, frame(2, vec![mail.into()])).packed.len();
        assert!(first > 5000 && again < 100, "{first} {again}");
    }

    #[test]
    fn who_sends_stays_outside_and_rows_travel_in_another_form() {
        let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new().unwrap());
        let hello = Some(proto::Hello { version: 1, node: "a".to_owned() });
        let sent =
            proto::AppendFrame { hello: hello.clone(), ..frame(1, vec![noise(1, 900).into(), noise(2, 9).into()]) };
        let turned = |row: &Bytes| Bytes::from(row.iter().rev().copied().collect::<Vec<u8>>());
        let packed = packer.pack(sent.clone(), turned).unwrap();
        assert!(packed.hello == hello && packed.appends.is_empty());
        let came = unpacker.unpack(packed, |form| Ok::<_, WireError>(turned(form)));
        assert_eq!(came, Ok(sent));
        let packed = pack(&mut packer, frame(2, vec![noise(3, 900).into()]));
        let refused = unpacker.unpack(packed, |_| Err(WireError::Field("a row")));
        assert_eq!(refused, Err(WireError::Field("a row")));
    }

    #[test]
    fn what_unpacks_to_too_much_or_wants_too_much_memory_is_refused() {
        let zeros = vec![0; MESSAGE_BYTES_MAX + 1];
        let bomb = |level: i32, window: u32| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
            encoder.set_parameter(CParameter::WindowLog(window)).unwrap();
            io::Write::write_all(&mut encoder, &zeros).unwrap();
            proto::AppendFrame { packed: encoder.finish().unwrap().into(), ..Default::default() }
        };
        let refused = |frame| unpack(&mut Unpacker::new().unwrap(), frame).unwrap_err().to_string();
        let much = bomb(3, WINDOW_LOG);
        assert!(much.packed.len() < 10_000, "{}", much.packed.len());
        assert!(refused(much).contains("more in it"));
        assert!(refused(bomb(3, WINDOW_LOG + 3)).contains("does not unpack"));
    }

    #[test]
    fn what_is_cut_changed_or_packed_twice_is_refused_or_read_and_never_panics() {
        let mut packer = Packer::new().unwrap();
        let sent: Vec<_> = (0..4).map(|n| pack(&mut packer, frame(n, vec![noise(n, 600).into()]))).collect();
        for at in 0..sent[0].packed.len() {
            for change in [None, Some(1), Some(0x80)] {
                let mut damaged = sent[0].packed.to_vec();
                match change {
                    None => damaged.truncate(at),
                    Some(bit) => damaged[at] ^= bit,
                }
                let mut unpacker = Unpacker::new().unwrap();
                // Some changes give other content; those behind it go on with what there is.
                drop(unpack(&mut unpacker, proto::AppendFrame { packed: damaged.into(), ..Default::default() }));
                drop(unpack(&mut unpacker, sent[1].clone()));
            }
        }
        let twice = pack(
            &mut Packer::new().unwrap(),
            proto::AppendFrame { packed: noise(1, 600).into(), ..Default::default() },
        );
        let refused = unpack(&mut Unpacker::new().unwrap(), twice).unwrap_err();
        assert!(refused.to_string().contains("nothing else"), "{refused}");
    }

    #[test]
    fn a_receiver_says_what_it_takes_and_a_newer_way_is_not_known() {
        let packing = Packing { zstd: 10_507, level: -1 };
        let mut said = packing_to_wire(packing);
        assert_eq!(packing_from_wire(&said), Some(packing));
        said.packing.as_mut().unwrap().version = 2;
        assert_eq!(packing_from_wire(&said), None);
        assert_eq!(packing_from_wire(&proto::ReplyFrame::default()), None);
    }
}
