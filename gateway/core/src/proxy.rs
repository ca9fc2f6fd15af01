//! The PROXY protocol, versions 1 and 2 (HAProxy's specification), as grammar: octets in, addresses out.
//!
//! Whether a peer may send such a header at all is not decided here. Only stream transports make sense for us.
//! TLVs are checked to be well formed, and their CRC32c to be right where there is one; what they say is not
//! used.
//!
//! Bounds: a version 1 header has at most 107 octets (2.1), a version 2 header here at most 16 + 4096: the
//! addresses need 36, known proxies add a few hundred octets of TLVs.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

const V1_START: &[u8] = b"PROXY ";
const V1_OCTETS_MAX: usize = 107;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEADER_OCTETS: usize = 16;
const V2_BODY_OCTETS_MAX: usize = 4096;
const TLV_CRC32C: u8 = 0x03;

/// Where a connection comes from, by its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// From this client, which connected to that address of the proxy.
    Client {
        /// The client.
        peer: SocketAddr,
        /// What it connected to.
        local: SocketAddr,
    },
    /// From the proxy itself (LOCAL: a health check), or it does not know (UNKNOWN): the transport's own
    /// addresses are to be used.
    Transport,
}

/// A whole header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Where the connection comes from.
    pub source: Source,
    /// How many octets the header has; what follows is the client's.
    pub octets: usize,
}

/// Why a header is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProxyError {
    /// The first octets are no header of either version.
    #[error("the connection does not begin with a PROXY header")]
    NoHeader,
    /// A version 1 line that is too long, or has wrong fields.
    #[error("PROXY version 1 header is malformed: {0}")]
    Version1(&'static str),
    /// A version 2 header with wrong fields.
    #[error("PROXY version 2 header is malformed: {0}")]
    Version2(&'static str),
}

/// Whether octets, perhaps only the first few of them, may be the start of a header.
#[must_use]
pub fn may_begin(bytes: &[u8]) -> bool {
    let starts = |start: &[u8]| bytes.iter().zip(start).all(|(a, b)| a == b);
    starts(V1_START) || starts(V2_SIGNATURE)
}

/// Whether octets surely begin with a header: what a client that is no proxy never sends.
#[must_use]
pub fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(V1_START) || bytes.starts_with(V2_SIGNATURE)
}

/// Reads a header from the first octets of a connection; `None`: more octets are needed.
///
/// # Errors
/// [`ProxyError`], as soon as it is certain.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    if !may_begin(bytes) {
        return Err(ProxyError::NoHeader);
    }
    if bytes.starts_with(V1_START) {
        parse_version1(bytes)
    } else if bytes.len() >= V2_HEADER_OCTETS {
        parse_version2(bytes)
    } else {
        Ok(None)
    }
}

fn parse_version1(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let window = &bytes[..bytes.len().min(V1_OCTETS_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        let full = window.len() == V1_OCTETS_MAX;
        return if full { Err(ProxyError::Version1("longer than 107 octets")) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&window[V1_START.len()..end]).map_err(|_| ProxyError::Version1("not ASCII"))?;
    let octets = end + 2;
    let mut fields = line.split(' ');
    let source = match fields.next() {
        // 2.1: what follows UNKNOWN must be ignored.
        Some("UNKNOWN") => return Ok(Some(Header { source: Source::Transport, octets })),
        Some("TCP4") => addresses_version1::<Ipv4Addr>(&mut fields)?,
        Some("TCP6") => addresses_version1::<Ipv6Addr>(&mut fields)?,
        _ => return Err(ProxyError::Version1("unknown protocol")),
    };
    if fields.next().is_some() {
        return Err(ProxyError::Version1("too many fields"));
    }
    Ok(Some(Header { source, octets }))
}

fn addresses_version1<'a, A>(fields: &mut impl Iterator<Item = &'a str>) -> Result<Source, ProxyError>
where
    A: FromStr + Into<IpAddr>,
{
    let mut next = || fields.next().ok_or(ProxyError::Version1("too few fields"));
    let (peer, local, peer_port, local_port) = (next()?, next()?, next()?, next()?);
    let address = |text: &str| text.parse::<A>().map(Into::into).map_err(|_| ProxyError::Version1("bad address"));
    let port = |text: &str| {
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        let number = if plain { text.parse::<u16>().ok() } else { None };
        number.ok_or(ProxyError::Version1("bad port"))
    };
    Ok(Source::Client {
        peer: SocketAddr::new(address(peer)?.to_canonical(), port(peer_port)?),
        local: SocketAddr::new(address(local)?.to_canonical(), port(local_port)?),
    })
}

fn parse_version2(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let (version_command, family) = (bytes[12], bytes[13]);
    let body_octets = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if version_command >> 4 != 2 {
        return Err(ProxyError::Version2("unknown version"));
    }
    if body_octets > V2_BODY_OCTETS_MAX {
        return Err(ProxyError::Version2("longer than 4112 octets"));
    }
    let octets = V2_HEADER_OCTETS + body_octets;
    let Some(header) = bytes.get(..octets) else { return Ok(None) };
    let body = &header[V2_HEADER_OCTETS..];
    let source = match version_command & 0x0f {
        // 2.2: a receiver of LOCAL discards the addresses, whatever the family says.
        0 => return Ok(Some(Header { source: Source::Transport, octets })),
        1 => addresses_version2(family, body)?,
        _ => return Err(ProxyError::Version2("unknown command")),
    };
    let address_octets = match family {
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Ok(Some(Header { source, octets })),
    };
    check_tlvs(header, V2_HEADER_OCTETS + address_octets)?;
    Ok(Some(Header { source, octets }))
}

fn addresses_version2(family: u8, body: &[u8]) -> Result<Source, ProxyError> {
    let short = ProxyError::Version2("too short for its addresses");
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    match family {
        0x11 if body.len() < 12 => Err(short),
        0x11 => {
            let address = |at: usize| IpAddr::from([body[at], body[at + 1], body[at + 2], body[at + 3]]);
            Ok(Source::Client {
                peer: SocketAddr::new(address(0), port(8)),
                local: SocketAddr::new(address(4), port(10)),
            })
        }
        0x21 if body.len() < 36 => Err(short),
        0x21 => {
            let address = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&body[at..at + 16]);
                IpAddr::from(octets).to_canonical()
            };
            Ok(Source::Client {
                peer: SocketAddr::new(address(0), port(32)),
                local: SocketAddr::new(address(16), port(34)),
            })
        }
        // A UNIX stream has no address that we could use; UNSPEC says that there is none.
        0x31 if body.len() < 216 => Err(short),
        0x31 | 0x00 => Ok(Source::Transport),
        _ => Err(ProxyError::Version2("not a stream of a known family")),
    }
}

fn check_tlvs(header: &[u8], start: usize) -> Result<(), ProxyError> {
    let mut at = start;
    while at < header.len() {
        let cut = ProxyError::Version2("a TLV is cut off");
        let [kind, high, low] = *header.get(at..at + 3).and_then(|head| <&[u8; 3]>::try_from(head).ok()).ok_or(cut)?;
        let value = at + 3;
        let end = value + usize::from(u16::from_be_bytes([high, low]));
        let bytes = header.get(value..end).ok_or(cut)?;
        if kind == TLV_CRC32C {
            let told = <[u8; 4]>::try_from(bytes).map_err(|_| ProxyError::Version2("checksum has not 4 octets"))?;
            // 2.2.3: the checksum is taken with its own field as zeros.
            let zeroed = [&header[..value], &[0; 4], &header[end..]].concat();
            if u32::from_be_bytes(told) != crc32c(&zeroed) {
                return Err(ProxyError::Version2("checksum is wrong"));
            }
        }
        at = end;
    }
    Ok(())
}

/// CRC32c (RFC 3720 B.4), bit by bit: a header is short and comes once a connection.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1)))
    })
}

/// Writes a version 1 header, as a proxy does; `None` for addresses of two families.
#[must_use]
pub fn write_version1(peer: SocketAddr, local: SocketAddr) -> Option<String> {
    let family = match (peer, local) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return None,
    };
    let (from, to) = (peer.ip(), local.ip());
    Some(format!("PROXY {family} {from} {to} {} {}\r\n", peer.port(), local.port()))
}

/// Writes a version 2 header with a checksum, as a proxy does; `None` for addresses of two families.
#[must_use]
pub fn write_version2(peer: SocketAddr, local: SocketAddr) -> Option<Vec<u8>> {
    let (family, addresses) = match (peer.ip(), local.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (0x11, [from.octets(), to.octets()].concat()),
        (IpAddr::V6(from), IpAddr::V6(to)) => (0x21, [from.octets(), to.octets()].concat()),
        _ => return None,
    };
    let checksum = [TLV_CRC32C, 0, 4, 0, 0, 0, 0];
    let body_octets = u16::try_from(addresses.len() + 4 + checksum.len()).ok()?;
    let ports = [peer.port().to_be_bytes(), local.port().to_be_bytes()].concat();
    let start = [0x21, family];
    let mut header = [V2_SIGNATURE, &start, &body_octets.to_be_bytes(), &addresses, &ports, &checksum].concat();
    let crc = crc32c(&header).to_be_bytes();
    let at = header.len() - crc.len();
    header[at..].copy_from_slice(&crc);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, local: &str) -> Source {
        Source::Client { peer: peer.parse().unwrap(), local: local.parse().unwrap() }
    }

    #[test]
    fn version_1_names_the_client() {
        let text = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\nEHLO x\r\n";
        let header = parse(text).unwrap().unwrap();
        assert_eq!(header.source, client("192.0.2.7:56324", "198.51.100.1:25"));
        assert_eq!(&text[header.octets..], b"EHLO x\r\n");
        let text = b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n";
        assert_eq!(parse(text).unwrap().unwrap().source, client("[2001:db8::7]:1", "[2001:db8::1]:65535"));
    }

    #[test]
    fn version_1_unknown_leaves_the_transports_addresses() {
        for text in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 whatever 65535 \r\n"] {
            assert_eq!(parse(text.as_bytes()), Ok(Some(Header { source: Source::Transport, octets: text.len() })));
        }
    }

    #[test]
    fn malformed_version_1_is_refused() {
        for text in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 25 1\r\n",
            "PROXY TCP4 2001:db8::7 198.51.100.1 56324 25\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +6324 25\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 056 25\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
            "PROXY TCP4  192.0.2.7 198.51.100.1 1 25\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 1 25\r\n",
            "PROXY tcp4 192.0.2.7 198.51.100.1 1 25\r\n",
        ] {
            assert!(matches!(parse(text.as_bytes()), Err(ProxyError::Version1(_))), "{text}");
        }
        let endless = [V1_START, &[b'x'; 200]].concat();
        assert_eq!(parse(&endless), Err(ProxyError::Version1("longer than 107 octets")));
        assert_eq!(parse(&endless[..106]), Ok(None));
    }

    #[test]
    fn version_2_names_the_client_and_every_cut_of_it_asks_for_more() {
        for (peer, local) in [("192.0.2.7:5", "198.51.100.1:25"), ("[2001:db8::7]:5", "[2001:db8::1]:25")] {
            let header = write_version2(peer.parse().unwrap(), local.parse().unwrap()).unwrap();
            let expected = Header { source: client(peer, local), octets: header.len() };
            assert_eq!(parse(&[&header[..], b"A1 NOOP"].concat()), Ok(Some(expected)));
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Ok(None), "{cut}");
            }
        }
    }

    #[test]
    fn version_2_local_is_the_proxy_itself() {
        let header = [V2_SIGNATURE, &[0x20, 0x11, 0, 12], &[0xff; 12]].concat();
        assert_eq!(parse(&header), Ok(Some(Header { source: Source::Transport, octets: 28 })));
    }

    #[test]
    fn malformed_version_2_is_refused() {
        let with = |fixed: [u8; 4], body: &[u8]| parse(&[V2_SIGNATURE, &fixed, body].concat());
        assert_eq!(with([0x31, 0x11, 0, 12], &[0; 12]), Err(ProxyError::Version2("unknown version")));
        assert_eq!(with([0x22, 0x11, 0, 12], &[0; 12]), Err(ProxyError::Version2("unknown command")));
        assert_eq!(with([0x21, 0x12, 0, 12], &[0; 12]), Err(ProxyError::Version2("not a stream of a known family")));
        assert_eq!(with([0x21, 0x11, 0, 11], &[0; 11]), Err(ProxyError::Version2("too short for its addresses")));
        assert_eq!(with([0x21, 0x11, 0, 14], &[0; 14]), Err(ProxyError::Version2("a TLV is cut off")));
        assert_eq!(with([0x21, 0x11, 0xff, 0xff], &[]), Err(ProxyError::Version2("longer than 4112 octets")));
    }

    #[test]
    fn a_wrong_checksum_is_noticed() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let mut header = write_version2("192.0.2.7:5".parse().unwrap(), "192.0.2.8:25".parse().unwrap()).unwrap();
        header[20] ^= 1;
        assert_eq!(parse(&header), Err(ProxyError::Version2("checksum is wrong")));
    }

    #[test]
    fn what_a_client_says_is_no_header() {
        for bytes in [&b"EHLO x\r\n"[..], b"P1 LOGIN a b\r\n", b"\x16\x03\x01", b"\r\nQUIT"] {
            assert_eq!(parse(bytes), Err(ProxyError::NoHeader));
            assert!(!begins(bytes));
        }
    }
}
