//! SASL octets on the wire of SMTP, IMAP and POP3: base64 in a line.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::LoginError;

/// The initial response of an AUTH command; `=` is an empty one (RFC 4954 4, RFC 5034 4, RFC 4959 3).
///
/// # Errors
/// [`LoginError::Malformed`] when it is no base64.
pub fn decode_initial_response(text: &[u8]) -> Result<Vec<u8>, LoginError> {
    if text == b"=" { Ok(Vec::new()) } else { decode(text) }
}

/// A line that answers a challenge; `*` cancels the exchange.
///
/// # Errors
/// [`LoginError::Cancelled`]; [`LoginError::Malformed`] when it is no base64.
pub fn decode_response(line: &[u8]) -> Result<Vec<u8>, LoginError> {
    if line == b"*" { Err(LoginError::Cancelled) } else { decode(line) }
}

/// A challenge, as text for a line.
#[must_use]
pub fn encode_challenge(challenge: &[u8]) -> String {
    BASE64_STANDARD.encode(challenge)
}

fn decode(text: &[u8]) -> Result<Vec<u8>, LoginError> {
    BASE64_STANDARD.decode(text).map_err(|_| LoginError::Malformed("not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4954_section_4_responses() {
        assert_eq!(decode_initial_response(b"="), Ok(Vec::new()));
        assert_eq!(decode_initial_response(b"dGVzdAB0ZXN0ADEyMzQ="), Ok(b"test\0test\x001234".to_vec()));
        assert_eq!(decode_response(b"*"), Err(LoginError::Cancelled));
        assert_eq!(decode_response(b""), Ok(Vec::new()));
        assert_eq!(decode_response(b"="), Err(LoginError::Malformed("not base64")));
        assert_eq!(decode_response(b"dGVzdA"), Err(LoginError::Malformed("not base64")));
        assert_eq!(decode_response(b"dGVz\tdA=="), Err(LoginError::Malformed("not base64")));
    }
}
