//! A link emulator: a TCP proxy that stands between a node that dials and the node that is dialled, and does to octets what
//! a long wire does. No kernel help and no rights are needed, so that it works wherever the tests do.
//!
//! A [`Link`] listens where the dialling node believes the other one to be. What it takes in goes over two [`Wire`]s, one
//! for each direction, and a wire may be shared by several links: when `a` dials `b` and `b` dials `a`, octets from `a` to
//! `b` take the same wire in both. Everything may be changed while connections run:
//!
//! - *latency* and *jitter*: octets arrive that much later, in order. A new connection costs a round trip before its first
//!   octet goes, as a handshake would.
//! - *rate*: a [`Pipe`], shared by all wires that are given the same one, as the nodes of a site share an uplink. Its
//!   queue holds 100 ms.
//! - *stall*: nothing passes and nothing is lost, as when TCP rides out a lossy minute; it goes on where it stood.
//! - *cut*: what is on the way is lost. Connections over the wire are dead as on a wire that was cut: neither FIN nor RST
//!   comes, what is written into them vanishes until the window is full. New ones find nobody: they are taken by this machine's
//!   kernel and then hear nothing, so whoever dials must have a deadline. With one direction cut, the other still
//!   passes what is left of a window (64 KiB), and then nothing, since nobody acknowledges it.
//! - *heal*: connections that were made before the cut end with RST at both ends, because what was lost cannot be had again
//!   here; ones that were dialled during the cut and are still waiting go on, as a repeated SYN would.
//!
//! What it does not do: lose or reorder single packets (TCP would hide that, as a stall), or delay the kernel's own
//! accepting: to a node that dials, connecting always succeeds at once.

mod connection;
mod wire;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

pub use wire::{Octets, Pipe, Wire};

use connection::Way;

/// Where a node finds another one; gone, with its connections, when dropped.
pub struct Link {
    address: SocketAddr,
    way: Arc<Way>,
}

impl Link {
    /// A link to a node that listens at `target`: octets to it go over `there`, its answers over `back`.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(target: SocketAddr, there: Arc<Wire>, back: Arc<Wire>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let way = Arc::new(Way { target, wires: [there, back], ended: AtomicBool::new(false) });
        let serving = way.clone();
        thread::Builder::new().name(format!("link to {target}")).spawn(move || {
            for stream in listener.incoming() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    connection::serve(serving.clone(), stream);
                }
            }
        })?;
        Ok(Self { address, way })
    }

    /// Where the dialling node is told that the other one is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.way.ended.store(true, Ordering::SeqCst);
        self.way.wires[0].reset_connections(&self.way);
        // Wakes the one who accepts.
        TcpStream::connect(self.address).ok();
    }
}
