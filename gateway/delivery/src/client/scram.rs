//! SCRAM-SHA-256, the client's side (RFC 5802, RFC 7677), without channel binding: texts in, texts out.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::{Engine, prelude::BASE64_STANDARD};

/// RFC 7677 4: fewer than this protect nothing.
const ITERATIONS_MIN: u32 = 4096;
/// More than this is a server that wants us to work (some seconds of one core).
const ITERATIONS_MAX: u32 = 1_000_000;
/// Octets of a server's message.
const MESSAGE_OCTETS_MAX: usize = 4096;

/// Why the exchange failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ScramError {
    /// The server breaks the grammar.
    #[error("the server's SCRAM message is malformed: {0}")]
    Malformed(&'static str),
    /// The server does not know the password: it is not who it says.
    #[error("the server could not prove that it knows the password")]
    Impostor,
}

/// The exchange after our first message.
pub(crate) struct ExpectFirst {
    password: zeroize::Zeroizing<String>,
    nonce: String,
    bare: String,
}

/// The exchange after our proof.
#[derive(Debug)]
pub(crate) struct ExpectFinal {
    server_signature: hmac::Tag,
}

/// Our first message; `nonce` is printable and has no comma.
pub(crate) fn begin(user: &str, password: &str, nonce: &str) -> (String, ExpectFirst) {
    let user = prepared(user).replace('=', "=3D").replace(',', "=2C");
    let bare = format!("n={user},r={nonce}");
    let password = prepared(password).into();
    (format!("n,,{bare}"), ExpectFirst { password, nonce: nonce.to_owned(), bare })
}

/// RFC 5802 2.2: SASLprep; what it forbids is taken as it is.
fn prepared(text: &str) -> String {
    stringprep::saslprep(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

impl ExpectFirst {
    /// Reads the server's first message; our proof. Takes as long as the server's iterations do.
    pub(crate) fn answer(self, server_first: &str) -> Result<(String, ExpectFinal), ScramError> {
        use ScramError::Malformed;
        if server_first.len() > MESSAGE_OCTETS_MAX {
            return Err(Malformed("it is too long"));
        }
        let mut attributes = server_first.split(',');
        let mut attribute = |name: &str| attributes.next().and_then(|field| field.strip_prefix(name));
        let nonce = attribute("r=").ok_or(Malformed("it has no nonce"))?;
        let salt = attribute("s=").ok_or(Malformed("it has no salt"))?;
        let iterations = attribute("i=").ok_or(Malformed("it has no iteration count"))?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(Malformed("its nonce does not continue ours"));
        }
        let salt = BASE64_STANDARD.decode(salt).map_err(|_| Malformed("its salt is no base64"))?;
        let iterations: u32 = iterations.parse().map_err(|_| Malformed("its iteration count is no number"))?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(Malformed("its iteration count is not within 4,096 to 1,000,000"));
        }
        let iterations = NonZeroU32::new(iterations).ok_or(Malformed("no iterations"))?;
        let mut salted = zeroize::Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, self.password.as_bytes(), &mut *salted);
        let client_key = sign(&*salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        // "biws" is "n,,": no channel binding.
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{server_first},{without_proof}", self.bare);
        let signature = sign(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = sign(&*salted, b"Server Key");
        let waiting = ExpectFinal { server_signature: sign(server_key.as_ref(), signed.as_bytes()) };
        Ok((format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)), waiting))
    }
}

impl ExpectFinal {
    /// Checks the server's last message.
    pub(crate) fn finish(self, server_final: &str) -> Result<(), ScramError> {
        let verifier = server_final.split(',').next().and_then(|field| field.strip_prefix("v="));
        let verifier = verifier.ok_or(ScramError::Malformed("it has no verifier"))?;
        let verifier =
            BASE64_STANDARD.decode(verifier).map_err(|_| ScramError::Malformed("its verifier is no base64"))?;
        constant_time::verify_slices_are_equal(&verifier, self.server_signature.as_ref())
            .map_err(|_| ScramError::Impostor)
    }
}

fn sign(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn rfc_7677_3_the_example_exchange() {
        let (first, waiting) = begin("user", "pencil", NONCE);
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (proof, waiting) = waiting.answer(SERVER_FIRST).unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(proof, expected);
        assert_eq!(waiting.finish("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }

    #[test]
    fn rfc_5802_9_a_server_that_does_not_know_the_password_is_found_out() {
        let (_, waiting) = begin("user", "pencil", NONCE);
        let (_, waiting) = waiting.answer(SERVER_FIRST).unwrap();
        assert_eq!(waiting.finish("v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Err(ScramError::Impostor));
        let cases = [
            "r=other,s=AA==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=AA==,i=4096",
            "s=AA==",
            "",
            "r=rOprNGfwEbeRWgbNEkqOx,s=AA==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=AA==,i=4000000000",
            "r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096",
            "e=other-error",
        ];
        for case in cases {
            let (_, waiting) = begin("user", "pencil", NONCE);
            assert!(waiting.answer(case).is_err(), "{case}");
        }
    }

    #[test]
    fn rfc_5802_5_1_commas_and_equals_signs_of_a_name_are_escaped() {
        assert_eq!(begin("a=b,c", "x", "n").0, "n,,n=a=3Db=2Cc,r=n");
    }
}
