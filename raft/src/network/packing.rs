//! Whether a stream of appends is packed, and by whom.
//!
//! The receiver says what it takes, when the stream begins; the sender packs from then on, if it would make the same rows
//! and the other node is far: inside a site octets cost less than the time to compress them. Who was sent a row that does
//! not come back as it was takes nothing packed any more, until it is started again: its streams begin anew without.
//! What rows look like on the way is in [`super::rows`], and what need not be sent at all in [`super::passed`].

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use securanet_blob::frame;
use securanet_wire::replication::{Packer, Packing, Unpacker, packing_from_wire, proto};

use super::{
    Network,
    passed::Passed,
    rows::{NotClosed, Opener, ROOM_BYTES, close, name},
};

/// What a node packs and takes, for all of its streams.
#[derive(Default)]
pub(super) struct Packs {
    opener: Opener,
    pub(super) passed: Passed,
    takes_none: AtomicBool,
}

fn packing() -> Packing {
    let frame::Maker { zstd, level } = frame::maker();
    Packing { zstd, level }
}

impl Packs {
    /// What is taken here.
    pub(super) fn taken(&self) -> Option<Packing> {
        (!self.takes_none.load(Ordering::Relaxed)).then(packing)
    }

    fn take_no_more(&self, why: &NotClosed) {
        if !self.takes_none.swap(true, Ordering::Relaxed) {
            tracing::error!(%why, "appends are taken as they are from now on, which costs octets between sites: report this");
        }
    }
}

/// The frames of a stream that goes out.
pub(super) struct Outgoing {
    network: Network,
    to: String,
    taken: Taken,
    packer: Option<Packer>,
}

/// Whether the other side takes what is packed here. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Taken(Arc<AtomicBool>);

impl Taken {
    /// Looks at what an answer says of it.
    pub(super) fn hear(&self, frame: &proto::ReplyFrame) {
        if packing_from_wire(frame) == Some(packing()) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Outgoing {
    /// To a node.
    pub(super) fn new(network: Network, to: String) -> Self {
        Self { network, to, taken: Taken::default(), packer: None }
    }

    /// Whether that node takes what is packed.
    pub(super) fn taken(&self) -> Taken {
        self.taken.clone()
    }

    /// A frame as it goes out.
    ///
    /// # Errors
    /// There is no memory for it; the stream is over then.
    pub(super) fn frame(&mut self, frame: proto::AppendFrame) -> io::Result<proto::AppendFrame> {
        if self.packer.is_none() && self.taken.0.load(Ordering::Relaxed) && self.network.is_far(&self.to) {
            self.packer = Some(Packer::new()?);
            self.network.packs().passed.forget(&self.to);
        }
        let Some(packer) = &mut self.packer else { return Ok(frame) };
        let Packs { opener, passed, .. } = self.network.packs();
        let (mut room, knows_any) = (ROOM_BYTES, passed.remembers_any(&self.to));
        packer.pack(frame, |row| {
            let named = knows_any.then(|| name(row, &mut room, |digest| passed.remembers(&self.to, digest))).flatten();
            named.unwrap_or_else(|| opener.open(row, &mut room))
        })
    }
}

/// The frames of a stream that comes in.
pub(super) struct Incoming {
    network: Network,
    unpacker: Option<Unpacker>,
}

impl Incoming {
    pub(super) fn new(network: Network) -> Self {
        Self { network, unpacker: None }
    }

    /// A frame as it was before it was packed.
    ///
    /// # Errors
    /// [`NotClosed`]; the stream is over then.
    pub(super) fn frame(&mut self, frame: proto::AppendFrame) -> Result<proto::AppendFrame, NotClosed> {
        if frame.packed.is_empty() {
            return Ok(frame);
        }
        let unpacker = match self.unpacker.take() {
            Some(unpacker) => unpacker,
            None => Unpacker::new().map_err(|_| NotClosed::Memory)?,
        };
        let unpacked = self
            .unpacker
            .insert(unpacker)
            .unpack(frame, |form| close(form, |digest| self.network.packs().passed.kept(digest)));
        unpacked.inspect_err(|why| {
            if *why == NotClosed::Different {
                self.network.packs().take_no_more(why);
            }
        })
    }
}
