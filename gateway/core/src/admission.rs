//! Who may connect: counts of open connections, in total and by address.
//!
//! A listener takes a [`Place`] before anything is read from a connection and a [`Seat`] once it knows the
//! client's address; both are given back when they are dropped, however the session ends.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::connection::Refusal;

/// Counts of one listener.
pub(crate) struct Admission {
    connections_max: usize,
    per_address_max: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    /// Only addresses with a connection are in it, so it is bounded by `connections_max`.
    by_address: HashMap<IpAddr, usize>,
}

/// One of the listener's connections.
pub(crate) struct Place(Arc<Admission>);

/// One of an address's connections.
pub(crate) struct Seat(Arc<Admission>, IpAddr);

impl Admission {
    /// Nobody is there yet.
    pub(crate) fn new(connections_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self { connections_max, per_address_max, counts: Mutex::default() })
    }

    /// Takes a place among all connections.
    pub(crate) fn place(self: &Arc<Self>) -> Result<Place, Refusal> {
        let mut counts = self.counts.lock();
        if counts.total >= self.connections_max {
            return Err(Refusal::TooManyConnections);
        }
        counts.total += 1;
        Ok(Place(self.clone()))
    }

    /// Takes a seat among the connections of an address.
    pub(crate) fn seat(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Refusal> {
        let key = network_of(address);
        let mut counts = self.counts.lock();
        let open = counts.by_address.get(&key).copied().unwrap_or(0);
        if open >= self.per_address_max {
            return Err(Refusal::TooManyFromAddress);
        }
        counts.by_address.insert(key, open + 1);
        Ok(Seat(self.clone(), key))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counts.lock().total -= 1;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.0.counts.lock();
        if let Some(open) = counts.by_address.get_mut(&self.1) {
            *open -= 1;
            if *open == 0 {
                counts.by_address.remove(&self.1);
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or the /64 that one IPv6 subscriber has at least (RFC 6177).
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_listener_full_in_total_refuses_until_somebody_leaves() {
        let admission = Admission::new(2, 10);
        let first = admission.place().unwrap();
        let _second = admission.place().unwrap();
        assert_eq!(admission.place().err(), Some(Refusal::TooManyConnections));
        drop(first);
        assert!(admission.place().is_ok());
    }

    #[test]
    fn an_address_is_one_ipv4_or_one_ipv6_subscriber() {
        let admission = Admission::new(10, 1);
        let seat = admission.seat(ip("2001:db8::1")).unwrap();
        assert_eq!(admission.seat(ip("2001:db8::2")).err(), Some(Refusal::TooManyFromAddress));
        assert!(admission.seat(ip("2001:db8:0:1::1")).is_ok());
        let _v4 = admission.seat(ip("192.0.2.1")).unwrap();
        assert_eq!(admission.seat(ip("::ffff:192.0.2.1")).err(), Some(Refusal::TooManyFromAddress));
        assert!(admission.seat(ip("192.0.2.2")).is_ok());
        drop(seat);
        assert!(admission.seat(ip("2001:db8::2")).is_ok());
        drop(_v4);
        assert!(admission.counts.lock().by_address.is_empty());
    }
}
