//! The TCP connection to one of a host's addresses.
//!
//! Addresses are tried in their order; one that does not answer soon is tried on while the next one begins (RFC
//! 8305 in small). A failure is sorted by whose it is: a network that we cannot reach at all is our fault.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

/// How to connect.
pub(super) struct Dialer<'a> {
    pub(super) source_addresses: &'a [IpAddr],
    pub(super) timeout: Duration,
    pub(super) next_address: Duration,
}

/// No address could be connected to.
#[derive(Debug)]
pub(super) struct NotConnected {
    /// Each address with what happened.
    pub(super) errors: Vec<(SocketAddr, io::Error)>,
}

/// Whose fault a failed connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Theirs,
    Ours,
    /// We have no IPv6, they have nothing else: says nothing of our uplink.
    Unknown,
}

impl Dialer<'_> {
    /// Connects to the first address that takes us. What was tried in vain, and the one that answered, are taken out
    /// of `addresses`.
    pub(super) async fn connect(
        &self,
        addresses: &mut Vec<SocketAddr>,
    ) -> Result<(TcpStream, SocketAddr), NotConnected> {
        let all = addresses.clone();
        let mut waiting = all.iter().copied();
        let mut racing = FuturesUnordered::new();
        let mut errors = Vec::new();
        let mut turn = Box::pin(sleep(self.next_address));
        loop {
            if racing.is_empty() {
                let Some(address) = waiting.next() else { return Err(NotConnected { errors }) };
                racing.push(self.connect_to(address));
                again(&mut turn, self.next_address);
            }
            tokio::select! {
                Some((address, connected)) = racing.next() => match connected {
                    Ok(tcp) => {
                        addresses.retain(|other| *other != address && errors.iter().all(|(failed, _)| failed != other));
                        return Ok((tcp, address));
                    }
                    Err(error) => errors.push((address, error)),
                },
                () = &mut turn => {
                    if let Some(address) = waiting.next() {
                        racing.push(self.connect_to(address));
                    }
                    again(&mut turn, self.next_address);
                }
            }
        }
    }

    /// Connects to this address.
    pub(super) async fn connect_to(&self, address: SocketAddr) -> (SocketAddr, io::Result<TcpStream>) {
        let connecting = async {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let Some(source) = self.source_addresses.iter().find(|source| source.is_ipv4() == address.is_ipv4()) {
                socket.bind(SocketAddr::new(*source, 0))?;
            }
            let tcp = socket.connect(address).await?;
            tcp.set_nodelay(true)?;
            Ok(tcp)
        };
        let took_too_long = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        (address, timeout(self.timeout, connecting).await.map_err(took_too_long).and_then(|connected| connected))
    }
}

fn again(turn: &mut Pin<Box<tokio::time::Sleep>>, after: Duration) {
    turn.as_mut().reset(Instant::now() + after);
}

impl NotConnected {
    /// Whether it says nothing about the destination.
    pub(super) fn is_ours(&self) -> bool {
        let fault = |(address, error): &(SocketAddr, io::Error)| fault(*address, error);
        self.errors.iter().all(|failed| fault(failed) != Fault::Theirs)
            && self.errors.iter().any(|failed| fault(failed) == Fault::Ours)
    }

    /// What happened, in words.
    pub(super) fn text(&self) -> String {
        let one = |(address, error): &(SocketAddr, io::Error)| format!("{address}: {error}");
        let all: Vec<_> = self.errors.iter().map(one).collect();
        format!("could not connect ({})", all.join("; "))
    }
}

fn fault(address: SocketAddr, error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable if address.is_ipv6() => Fault::Unknown,
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::AddrInUse => Fault::Ours,
        // An IPv6 source address that is not there says as little.
        io::ErrorKind::AddrNotAvailable if address.is_ipv6() => Fault::Unknown,
        io::ErrorKind::AddrNotAvailable => Fault::Ours,
        _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => Fault::Ours,
        _ => Fault::Theirs,
    }
}

/// Too many open files, in this process and in the system: the same numbers on every Unix.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(errors: &[(&str, io::ErrorKind)]) -> NotConnected {
        let errors = errors.iter().map(|(address, kind)| (address.parse().unwrap(), io::Error::from(*kind)));
        NotConnected { errors: errors.collect() }
    }

    #[test]
    fn a_dead_uplink_is_our_fault_and_a_dead_host_is_not() {
        use io::ErrorKind::{ConnectionRefused, NetworkUnreachable, TimedOut};
        let cases = [
            (vec![("192.0.2.1:25", NetworkUnreachable)], true),
            (vec![("[2001:db8::1]:25", NetworkUnreachable), ("192.0.2.1:25", NetworkUnreachable)], true),
            (vec![("[2001:db8::1]:25", NetworkUnreachable), ("192.0.2.1:25", ConnectionRefused)], false),
            (vec![("[2001:db8::1]:25", NetworkUnreachable)], false),
            (vec![("192.0.2.1:25", TimedOut)], false),
        ];
        for (errors, ours) in cases {
            assert_eq!(failed(&errors).is_ours(), ours, "{errors:?}");
        }
    }
}
