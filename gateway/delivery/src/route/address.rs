//! Which addresses mail may be carried to.
//!
//! A stranger's DNS decides where we connect. It must not be able to point us at ourselves, at our neighbours on
//! the link or, unless the operator says so, into our private networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is to a mail server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// Anywhere in the world.
    World,
    /// Inside somebody's network: RFC 1918, RFC 6598, RFC 4193.
    Private,
    /// Loopback, unspecified, link-local, multicast, reserved: never somebody's mail host.
    Never,
}

/// Sorts an address. One that carries an IPv4 address inside is sorted by it too.
pub(super) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_of_v4(address),
        IpAddr::V6(address) => embedded(address).map_or_else(|| reach_of_v6(address), reach_of_v4),
    }
}

/// The address without the IPv6 coat of an IPv4 one, so that the same host has one form.
pub(super) fn bare(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn reach_of_v4(address: Ipv4Addr) -> Reach {
    let [a, b, ..] = address.octets();
    match (a, b) {
        (0 | 127 | 224..=255, _) | (169, 254) => Reach::Never,
        (10, _) | (172, 16..=31) | (192, 168) | (100, 64..=127) => Reach::Private,
        _ => Reach::World,
    }
}

fn reach_of_v6(address: Ipv6Addr) -> Reach {
    let first = address.segments()[0];
    if address.is_unspecified() || address.is_loopback() || first & 0xff00 == 0xff00 || first & 0xffc0 == 0xfe80 {
        return Reach::Never;
    }
    // RFC 4193, and the site-local addresses before it (RFC 3879).
    if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 { Reach::Private } else { Reach::World }
}

/// The IPv4 address in a mapped or compatible address (RFC 4291 2.5.5), behind NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] if (high, low) > (0, 1) => Some(of(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sorted_by_whom_they_reach() {
        let cases = [
            ("192.0.2.1", Reach::World),
            ("127.0.0.1", Reach::Never),
            ("127.9.9.9", Reach::Never),
            ("0.0.0.0", Reach::Never),
            ("0.1.2.3", Reach::Never),
            ("169.254.1.1", Reach::Never),
            ("224.0.0.5", Reach::Never),
            ("240.0.0.1", Reach::Never),
            ("255.255.255.255", Reach::Never),
            ("10.1.2.3", Reach::Private),
            ("172.15.0.1", Reach::World),
            ("172.16.0.1", Reach::Private),
            ("172.31.255.1", Reach::Private),
            ("172.32.0.1", Reach::World),
            ("192.168.7.7", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("100.128.0.1", Reach::World),
            ("::", Reach::Never),
            ("::1", Reach::Never),
            ("fe80::1", Reach::Never),
            ("febf::1", Reach::Never),
            ("ff02::1", Reach::Never),
            ("fec0::1", Reach::Private),
            ("fd00::1", Reach::Private),
            ("2001:db8::1", Reach::World),
            ("::ffff:127.0.0.1", Reach::Never),
            ("::ffff:10.0.0.1", Reach::Private),
            ("::ffff:192.0.2.1", Reach::World),
            ("::127.0.0.1", Reach::Never),
            ("64:ff9b::10.0.0.1", Reach::Private),
            ("2002:7f00:1::", Reach::Never),
        ];
        for (address, expected) in cases {
            assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
        }
    }
}
