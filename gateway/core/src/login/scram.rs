//! SCRAM-SHA-256 and -PLUS, the server's side (RFC 5802, RFC 7677, RFC 9266): octets in, octets out.
//!
//! Three states, each consumed by the message that it waits for: nothing yet → [`ClientFirst`] →
//! [`ExpectFinal`] → the server's last message. Nonces and verifiers are handed in, so that the whole exchange
//! is a function. Nothing here tells whether a verifier is real.

use aws_lc_rs::{constant_time, digest, hmac};
use base64::{Engine, prelude::BASE64_STANDARD};
use securanet_model::directory::ScramVerifier;

/// Octets of a client's message: a name, a nonce and a binding; generous, and no work for nothing.
const MESSAGE_OCTETS_MAX: usize = 4096;
/// The one channel binding that we speak: RFC 9266.
const BINDING: &str = "tls-exporter";

/// Why an exchange ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScramError {
    /// The message breaks the grammar or the order.
    Malformed(&'static str),
    /// The proof or the channel binding does not fit.
    Refused,
}

/// What the connection offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Offer<'a> {
    /// The client chose the -PLUS mechanism.
    pub(crate) plus: bool,
    /// The connection's `tls-exporter`; then -PLUS was offered.
    pub(crate) exporter: Option<&'a [u8; 32]>,
}

/// The client's first message, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClientFirst {
    /// Whom the client wants to act as, if it says.
    pub(crate) authzid: Option<String>,
    /// Who the client is, as it wrote it.
    pub(crate) user: String,
    gs2_header: String,
    bare: String,
    nonce: String,
}

/// What is known while the client computes its proof. It has no `Debug`: it holds keys.
pub(crate) struct ExpectFinal {
    /// What `c=` must be.
    binding_input: Vec<u8>,
    nonce: String,
    first_messages: String,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl ClientFirst {
    /// Reads the client's first message and checks what it says of channel binding against the offer.
    pub(crate) fn parse(message: &[u8], offer: Offer<'_>) -> Result<Self, ScramError> {
        use ScramError::Malformed;
        let message = text(message)?;
        let mut fields = message.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(Malformed("SCRAM begins with a GS2 header"));
        };
        check_binding_flag(flag, offer)?;
        let authzid = match authzid.strip_prefix("a=") {
            None if authzid.is_empty() => None,
            None => return Err(Malformed("SCRAM authzid begins with a=")),
            Some(name) => Some(name_of(name)?),
        };
        if bare.starts_with("m=") {
            return Err(Malformed("SCRAM has no mandatory extensions that we know"));
        }
        let mut attributes = bare.split(',');
        let user = attributes.next().and_then(|field| field.strip_prefix("n="));
        let nonce = attributes.next().and_then(|field| field.strip_prefix("r="));
        let (Some(user), Some(nonce)) = (user, nonce) else {
            return Err(Malformed("SCRAM needs a user name and a nonce"));
        };
        if nonce.is_empty() || !is_printable(nonce) {
            return Err(Malformed("SCRAM nonce is printable"));
        }
        Ok(Self {
            authzid,
            user: name_of(user)?,
            gs2_header: message[..message.len() - bare.len()].to_owned(),
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
        })
    }

    /// The server's first message, and what waits for the answer. `server_nonce` is printable and has no comma.
    pub(crate) fn answer(
        self,
        server_nonce: &str,
        verifier: &ScramVerifier,
        offer: Offer<'_>,
    ) -> (ExpectFinal, Vec<u8>) {
        let nonce = self.nonce + server_nonce;
        let server_first = format!("r={nonce},s={},i={}", BASE64_STANDARD.encode(&verifier.salt), verifier.iterations);
        let bound = if offer.plus { offer.exporter.map_or(&[][..], |exporter| &exporter[..]) } else { &[] };
        let waiting = ExpectFinal {
            binding_input: [self.gs2_header.as_bytes(), bound].concat(),
            nonce,
            first_messages: format!("{},{server_first}", self.bare),
            stored_key: verifier.stored_key,
            server_key: verifier.server_key,
        };
        (waiting, server_first.into_bytes())
    }
}

impl ExpectFinal {
    /// Checks the client's proof; the answer is the server's last message, by which it proves itself.
    pub(crate) fn finish(self, message: &[u8]) -> Result<Vec<u8>, ScramError> {
        use ScramError::Malformed;
        let message = text(message)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Malformed("SCRAM needs a proof"))?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|field| field.strip_prefix("c="));
        let nonce = attributes.next().and_then(|field| field.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else {
            return Err(Malformed("SCRAM needs a channel binding and a nonce"));
        };
        let decode = |field: &str| BASE64_STANDARD.decode(field).map_err(|_| Malformed("SCRAM is base64 inside"));
        let binding = decode(binding)?;
        let proof: [u8; 32] = decode(proof)?.try_into().map_err(|_| Malformed("SCRAM proof has 32 octets"))?;
        if nonce != self.nonce {
            return Err(Malformed("SCRAM nonce is another one"));
        }
        let auth_message = format!("{},{without_proof}", self.first_messages);
        let key_fits = self.proof_fits(&proof, auth_message.as_bytes());
        let binding_fits = constant_time::verify_slices_are_equal(&binding, &self.binding_input).is_ok();
        if !(key_fits & binding_fits) {
            return Err(ScramError::Refused);
        }
        let signature = sign(&self.server_key, auth_message.as_bytes());
        Ok(format!("v={}", BASE64_STANDARD.encode(signature)).into_bytes())
    }

    /// RFC 5802 3: H(ClientProof XOR HMAC(StoredKey, AuthMessage)) is StoredKey.
    fn proof_fits(&self, proof: &[u8; 32], auth_message: &[u8]) -> bool {
        let signature = sign(&self.stored_key, auth_message);
        let client_key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        constant_time::verify_slices_are_equal(stored_key.as_ref(), &self.stored_key).is_ok()
    }
}

/// RFC 5802 6: what the flag means against what was offered.
fn check_binding_flag(flag: &str, offer: Offer<'_>) -> Result<(), ScramError> {
    match (flag, offer.plus) {
        ("n", false) => Ok(()),
        // The client can bind and believes that we cannot. If we said that we can, somebody in the middle
        // took -PLUS out of our list.
        ("y", false) if offer.exporter.is_none() => Ok(()),
        ("y", false) => Err(ScramError::Refused),
        ("n" | "y", true) => Err(ScramError::Malformed("SCRAM-PLUS needs a channel binding")),
        _ => match flag.strip_prefix("p=") {
            Some(BINDING) if offer.plus && offer.exporter.is_some() => Ok(()),
            Some(_) if offer.plus => Err(ScramError::Malformed("the only channel binding is tls-exporter, on TLS 1.3")),
            Some(_) => Err(ScramError::Malformed("a channel binding needs the -PLUS mechanism")),
            None => Err(ScramError::Malformed("SCRAM channel binding flag is n, y or p=")),
        },
    }
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MESSAGE_OCTETS_MAX {
        return Err(ScramError::Malformed("SCRAM message is too long"));
    }
    let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed("SCRAM is UTF-8"))?;
    if text.contains('\0') { Err(ScramError::Malformed("SCRAM has no NUL")) } else { Ok(text) }
}

/// RFC 5802 5.1 saslname: `=2C` is a comma, `=3D` an equals sign, and no other `=` is allowed.
fn name_of(saslname: &str) -> Result<String, ScramError> {
    let bad = ScramError::Malformed("SCRAM name is empty or wrongly escaped");
    let mut pieces = saslname.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (escaped, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(bad),
        };
        name.push(escaped);
        name.push_str(rest);
    }
    if name.is_empty() { Err(bad) } else { Ok(name) }
}

fn is_printable(nonce: &str) -> bool {
    nonce.bytes().all(|octet| matches!(octet, 0x21..=0x2b | 0x2d..=0x7e))
}

fn sign(key: &[u8; 32], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::password::scram_keys;

    const NO_BINDING: Offer<'_> = Offer { plus: false, exporter: None };
    const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CLIENT_FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn pencil() -> ScramVerifier {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let (stored_key, server_key) = scram_keys("pencil", &salt, 4096).unwrap();
        ScramVerifier { salt, iterations: 4096, stored_key, server_key }
    }

    fn waiting() -> ExpectFinal {
        ClientFirst::parse(CLIENT_FIRST, NO_BINDING).unwrap().answer(SERVER_NONCE, &pencil(), NO_BINDING).0
    }

    #[test]
    fn rfc_7677_section_3_exchange() {
        let first = ClientFirst::parse(CLIENT_FIRST, NO_BINDING).unwrap();
        assert_eq!((first.user.as_str(), first.authzid.as_deref()), ("user", None));
        let (waiting, server_first) = first.answer(SERVER_NONCE, &pencil(), NO_BINDING);
        let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(String::from_utf8(server_first).unwrap(), expected);
        let server_final = waiting.finish(CLIENT_FINAL).unwrap();
        assert_eq!(String::from_utf8(server_final).unwrap(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_proof_of_another_password_is_refused() {
        let mut last = CLIENT_FINAL.to_vec();
        let at = last.len() - 10;
        last[at] ^= 1;
        assert_eq!(waiting().finish(&last), Err(ScramError::Refused));
    }

    #[test]
    fn rfc_5802_section_5_1_names_are_unescaped_and_authzid_is_read() {
        let first = ClientFirst::parse(b"n,a=o=3Dp,n=a=2Cb=3Dc,r=x,ext=1", NO_BINDING).unwrap();
        assert_eq!((first.user.as_str(), first.authzid.as_deref()), ("a,b=c", Some("o=p")));
    }

    #[test]
    fn malformed_first_messages_are_refused() {
        for message in [
            "",
            "n",
            "n,,",
            "n,,n=user",
            "n,,r=x,n=user",
            "n,,n=,r=x",
            "n,,n=u=ser,r=x",
            "n,,n=user,r=",
            "n,,n=user,r=\u{e9}",
            "n,,m=1,n=user,r=x",
            "n,b=x,n=user,r=x",
            "n,a=,n=user,r=x",
            "q,,n=user,r=x",
            "p=tls-unique,,n=user,r=x",
            "n,,n=us\0er,r=x",
        ] {
            let parsed = ClientFirst::parse(message.as_bytes(), NO_BINDING);
            assert!(matches!(parsed, Err(ScramError::Malformed(_))), "{message}");
        }
    }

    #[test]
    fn malformed_final_messages_are_refused() {
        let nonce = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        for message in [
            String::new(),
            format!("c=biws,{nonce}"),
            format!("c=biws,{nonce},p=AAAA"),
            format!("c=*,{nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".to_owned(),
        ] {
            assert!(matches!(waiting().finish(message.as_bytes()), Err(ScramError::Malformed(_))), "{message}");
        }
    }

    #[test]
    fn rfc_5802_section_6_a_stripped_plus_is_noticed() {
        let exporter = [7; 32];
        let offered = Offer { plus: false, exporter: Some(&exporter) };
        assert_eq!(ClientFirst::parse(b"y,,n=user,r=x", offered), Err(ScramError::Refused));
        assert!(ClientFirst::parse(b"n,,n=user,r=x", offered).is_ok());
        assert!(ClientFirst::parse(b"y,,n=user,r=x", NO_BINDING).is_ok());
    }

    /// The client's side of an exchange, for the binding that it sees.
    fn finish_bound(server_sees: [u8; 32], client_sees: [u8; 32]) -> Result<Vec<u8>, ScramError> {
        let offer = Offer { plus: true, exporter: Some(&server_sees) };
        let bare = "n=user,r=abc";
        let first = ClientFirst::parse(format!("p=tls-exporter,,{bare}").as_bytes(), offer).unwrap();
        let (waiting, server_first) = first.answer("def", &pencil(), offer);
        let binding = BASE64_STANDARD.encode([&b"p=tls-exporter,,"[..], &client_sees].concat());
        let without_proof = format!("c={binding},r=abcdef");
        let auth_message = format!("{bare},{},{without_proof}", String::from_utf8(server_first).unwrap());
        let mut salted = [0; 32];
        let rounds = std::num::NonZeroU32::new(4096).unwrap();
        let algorithm = aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256;
        aws_lc_rs::pbkdf2::derive(algorithm, rounds, &pencil().salt, b"pencil", &mut salted);
        let client_key = sign(&salted, b"Client Key");
        let signature = sign(&pencil().stored_key, auth_message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        waiting.finish(format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)).as_bytes())
    }

    #[test]
    fn rfc_9266_a_proof_is_bound_to_its_tls_connection() {
        assert!(finish_bound([1; 32], [1; 32]).is_ok());
        assert_eq!(finish_bound([1; 32], [2; 32]), Err(ScramError::Refused));
    }
}
