//! The TXT record with which a domain asks for reports (RFC 8460 3): `v=TLSRPTv1; rua=mailto:tls@example.org`.

use securanet_gateway::model::{Address, DomainName, tls_report::TLS_TEXT_OCTETS_MAX};

/// Endpoints of one domain that are served.
const ENDPOINTS_MAX: usize = 4;

/// Where a report goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// A `mailto:` of this address.
    Mail(Address),
    /// An `https:` address.
    Https {
        /// The host's name, A-labels.
        host: String,
        /// Its port.
        port: u16,
        /// Path and query, with the slash.
        path: String,
    },
}

/// The endpoints that a domain's TXT records at `_smtp._tls` name, as written and as read, in order; none unless exactly
/// one record asks for reports (RFC 8460 3).
#[must_use]
pub fn endpoints(records: &[Vec<u8>]) -> Vec<(String, Endpoint)> {
    let mut asking = records.iter().filter_map(|record| rua(record));
    let (Some(rua), None) = (asking.next(), asking.next()) else { return Vec::new() };
    let read = rua.split(',').filter_map(|uri| {
        let uri = uri.trim();
        (uri.len() <= TLS_TEXT_OCTETS_MAX).then(|| Some((uri.to_owned(), endpoint(uri)?))).flatten()
    });
    read.take(ENDPOINTS_MAX).collect()
}

/// The value of `rua` of a record of this version.
fn rua(record: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(record).ok()?;
    let mut fields = text.split(';').map(str::trim);
    if fields.next() != Some("v=TLSRPTv1") {
        return None;
    }
    let value = fields.filter_map(|field| field.split_once('=')).find(|(name, _)| name.trim() == "rua");
    Some(value.map_or("", |(_, value)| value.trim()))
}

fn endpoint(uri: &str) -> Option<Endpoint> {
    let (scheme, rest) = uri.split_once(':')?;
    if scheme.eq_ignore_ascii_case("mailto") {
        let address = rest.split('?').next().unwrap_or_default();
        return Address::parse(&decoded(address)?).ok().map(Endpoint::Mail);
    }
    if !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let rest = rest.strip_prefix("//")?.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|&port| port != 0)?),
        None => (authority, 443),
    };
    let host = DomainName::parse(host).ok()?.as_str().to_owned();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let is_clean = path.bytes().all(|byte| byte.is_ascii_graphic());
    is_clean.then_some(Endpoint::Https { host, port, path })
}

/// Percent-decoding (RFC 3986 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            octets.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            octets.push(octet);
        }
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(records: &[&str]) -> Vec<String> {
        let records: Vec<_> = records.iter().map(|record| record.as_bytes().to_vec()).collect();
        let show = |(_, endpoint)| match endpoint {
            Endpoint::Mail(address) => address.to_string(),
            Endpoint::Https { host, port, path } => format!("{host} {port} {path}"),
        };
        endpoints(&records).into_iter().map(show).collect()
    }

    #[test]
    fn rfc_8460_3_1_the_examples_are_read() {
        assert_eq!(read(&["v=TLSRPTv1;rua=mailto:reports@example.com"]), ["reports@example.com"]);
        assert_eq!(
            read(&["v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt"]),
            ["reporting.example.com 443 /v1/tlsrpt"]
        );
    }

    #[test]
    fn several_endpoints_are_read_and_strange_ones_are_left_out() {
        let record = "v=TLSRPTv1; x=y; rua=mailto:a%2Bb@example.com?subject=x , ftp://x.example/, \
                      https://h.example:8443?q=1, mailto:no, https://user@h.example/";
        assert_eq!(read(&["v=spf1 -all", record]), ["a+b@example.com", "h.example 8443 /?q=1"]);
    }

    #[test]
    fn rfc_8460_3_exactly_one_record_asks() {
        for none in [
            &[][..],
            &["v=TLSRPTv1; rua=mailto:a@example.com", "v=TLSRPTv1; rua=mailto:b@example.com"],
            &["rua=mailto:a@example.com; v=TLSRPTv1"],
            &["v=TLSRPTv2; rua=mailto:a@example.com"],
            &["v=TLSRPTv1"],
            &["v=TLSRPTv1; rua=mailto:%f@example.com"],
            &["v=TLSRPTv1; rua=https://h.example:0/"],
        ] {
            assert_eq!(read(none), Vec::<String>::new(), "{none:?}");
        }
    }
}
