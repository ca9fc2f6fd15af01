//! The addresses of this machine: mail hosts that have one of them are ourselves, where a listener listens on all.
//!
//! Read from Linux' `/proc/net`; elsewhere there are none, and `delivery.routing.self_addresses` names them. What the world
//! sees behind an address translation is in no machine's tables: that too is for the setting.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The addresses behind what a listener listens on; none for loopback, which is never a mail host.
pub(crate) fn behind(listener: IpAddr) -> Vec<IpAddr> {
    let found = if listener.is_unspecified() { of_machine() } else { vec![listener] };
    found.into_iter().filter(|address| !address.is_loopback()).collect()
}

fn of_machine() -> Vec<IpAddr> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let four = ipv4(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4);
    four.chain(ipv6(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6)).collect()
}

/// Addresses whose next line says that they are this machine's.
fn ipv4(fib_trie: &str) -> Vec<Ipv4Addr> {
    let lines: Vec<&str> = fib_trie.lines().map(str::trim).collect();
    let mut found: Vec<Ipv4Addr> = lines
        .windows(2)
        .filter(|pair| pair[1].starts_with("/32 host LOCAL"))
        .filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse().ok())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The first column, without addresses that hold on one link only.
fn ipv6(if_inet6: &str) -> Vec<Ipv6Addr> {
    let first = |line: &str| u128::from_str_radix(line.split_whitespace().next()?, 16).ok();
    let addresses = if_inet6.lines().filter_map(first).map(Ipv6Addr::from_bits);
    addresses.filter(|address| !address.is_unicast_link_local()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 192.0.2.0/24 2 0 2\n        |-- 192.0.2.0\n           /24 link UNICAST\n        |-- 192.0.2.25\n           /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\nLocal:\n        |-- 127.0.0.1\n           /32 host LOCAL\n        |-- 192.0.2.25\n           /32 host LOCAL\n";
        assert_eq!(ipv4(trie), [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 25)]);
        let six = "00000000000000000000000000000001 01 80 10 80       lo\n20010db8000000000000000000000025 02 40 00 80     eth0\nfe800000000000000042acfffe110002 02 40 20 80     eth0\n";
        assert_eq!(ipv6(six), [Ipv6Addr::LOCALHOST, "2001:db8::25".parse::<Ipv6Addr>().unwrap()]);
        assert_eq!((ipv4("nonsense\n|-- x\n/32 host LOCAL"), ipv6("zz")), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_listener_is_reached_at_its_own_address_and_never_at_loopback() {
        let own: IpAddr = "192.0.2.25".parse().unwrap();
        assert_eq!(behind(own), [own]);
        assert_eq!(behind(IpAddr::V4(Ipv4Addr::LOCALHOST)), Vec::<IpAddr>::new());
        assert!(behind(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).iter().all(|address| !address.is_loopback()));
    }
}
