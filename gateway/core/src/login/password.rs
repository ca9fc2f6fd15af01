//! Passwords: how they are prepared, made, and turned into what is kept of them.
//!
//! What is kept is argon2id in PHC string format, and beside it, where policy allows, the SCRAM-SHA-256 keys of
//! RFC 5803 (a weaker verifier: one PBKDF2 guess costs an attacker far less than one of argon2id).
//!
//! Cost. argon2id with 19 MiB, two passes, one lane: the second of the parameter sets that OWASP names as equal
//! in strength, and the one with one lane that an attacker's GPU likes least for the time it takes us: 20 to
//! 50 ms of one core. One lane, because parallel lanes would only take from the next login what they give to
//! this one; not more memory, because a gateway computes as many at once as it has cores, beside the mail.
//!
//! Every text is brought through SASLprep (RFC 4013) first, by SCRAM's rule (RFC 5802 2.2) and for all
//! mechanisms alike, so that the same password typed on two systems is the same.

use argon2::{
    Argon2, Params, PasswordHash,
    password_hash::phc::{Output, ParamsString, Salt},
};
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use securanet_model::directory::{ScramVerifier, Verifiers};
use zeroize::Zeroizing;

/// Longest password in octets, after SASLprep; longer ones only cost time.
pub const PASSWORD_OCTETS_MAX: usize = 1024;
/// PBKDF2 iterations of new SCRAM verifiers; RFC 7677 wants at least 4,096, our design at least 15,000. A
/// phone needs some 20 ms for these, once a connection.
pub const SCRAM_ITERATIONS: u32 = 32_768;
/// Octets of new salts.
pub(crate) const SALT_OCTETS: usize = 16;

const ARGON2_MEMORY_KIB: u32 = 19 * 1024;
const ARGON2_PASSES: u32 = 2;
const ARGON2_LANES: u32 = 1;
const ARGON2_OUTPUT_OCTETS: usize = 32;

/// Five bits a letter, without those that are taken for each other.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const GROUP_LETTERS: usize = 4;
/// 100 bits.
const PASSWORD_LETTERS: usize = 20;
/// The first four letters of an app password say which one it is; the other twenty are its secret.
const SELECTOR_LETTERS: usize = 4;
const APP_PASSWORD_LETTERS: usize = SELECTOR_LETTERS + PASSWORD_LETTERS;

/// Why a password cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PasswordError {
    /// Nothing is left of it after SASLprep.
    #[error("a password has at least one character")]
    Empty,
    /// Longer than [`PASSWORD_OCTETS_MAX`].
    #[error("a password has at most {PASSWORD_OCTETS_MAX} octets")]
    TooLong,
    /// SASLprep refuses it.
    #[error(
        "the password has a control character, an emoji or another character that mail programs do not agree upon: use others"
    )]
    Character,
    /// The system gives no random octets, or the computation failed: a fault of ours.
    #[error("the password cannot be computed: {0}")]
    Computation(&'static str),
}

/// A password in the clear, prepared. It has no `Debug` and is wiped when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Prepares what a person typed.
    ///
    /// # Errors
    /// [`PasswordError`] says what is wrong with it.
    pub fn prepare(text: &str) -> Result<Self, PasswordError> {
        // Before SASLprep too, so that its work is bounded; it may grow a text, by less than this.
        if text.len() > PASSWORD_OCTETS_MAX {
            return Err(PasswordError::TooLong);
        }
        let prepared = stringprep::saslprep(text).map_err(|_| PasswordError::Character)?;
        match prepared.len() {
            0 => Err(PasswordError::Empty),
            length if length > PASSWORD_OCTETS_MAX => Err(PasswordError::TooLong),
            _ => Ok(Self(Zeroizing::new(prepared.into_owned()))),
        }
    }

    /// Makes a password of 100 random bits, easy to read out: `k7qm-2xpd-0r4w-9h3t-vbne`.
    ///
    /// # Errors
    /// [`PasswordError::Computation`] when the system gives no random octets.
    pub fn generate() -> Result<Self, PasswordError> {
        Ok(Self(Zeroizing::new(grouped(&random_letters(PASSWORD_LETTERS)?))))
    }

    /// The text, to be shown to its owner once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Makes what is kept of a password. Computes for some 40 ms: not on a thread of the runtime.
///
/// # Errors
/// [`PasswordError`]
pub fn make_verifiers(password: &str, with_scram: bool) -> Result<Verifiers, PasswordError> {
    let password = Password::prepare(password)?;
    let scram = if with_scram { Some(scram_verifier(&password)?) } else { None };
    Ok(Verifiers { argon2id: hash(password.expose(), &random::<SALT_OCTETS>()?)?, scram })
}

/// A new app password and what is kept of it.
pub struct NewAppPassword {
    /// The text, to be shown to its owner once.
    pub password: Password,
    /// For the directory.
    pub verifiers: Verifiers,
}

/// Makes an app password: 24 letters in groups of four, which may be typed without the dashes and in any case.
/// Computes for some 30 ms: not on a thread of the runtime.
///
/// Its first letters stand in its salt too, so that a login knows which of an account's app passwords is meant
/// and never computes more than one hash. An app password that was made otherwise is never recognised.
///
/// # Errors
/// [`PasswordError::Computation`]
pub fn make_app_password() -> Result<NewAppPassword, PasswordError> {
    let letters = random_letters(APP_PASSWORD_LETTERS)?;
    let mut salt = random::<SALT_OCTETS>()?;
    let selector = selector_of_letters(&letters);
    // Twenty bits of the salt are the selector; the other 108 stay random.
    [salt[0], salt[1]] = [octet(selector >> 12), octet(selector >> 4)];
    salt[2] = (octet(selector) << 4) | (salt[2] & 0x0f);
    let verifiers = Verifiers { argon2id: hash(&letters, &salt)?, scram: None };
    Ok(NewAppPassword { password: Password(Zeroizing::new(grouped(&letters))), verifiers })
}

/// A text that has the form of an app password.
pub(crate) struct AppPasswordText {
    /// Its letters, as they were hashed.
    pub(crate) letters: Zeroizing<String>,
    selector: u32,
}

impl AppPasswordText {
    /// Reads one as typed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let letters = text.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_ascii_lowercase());
        let letters: Zeroizing<String> = Zeroizing::new(letters.take(APP_PASSWORD_LETTERS + 1).collect());
        let fits = letters.len() == APP_PASSWORD_LETTERS && letters.bytes().all(|b| ALPHABET.contains(&b));
        fits.then(|| Self { selector: selector_of_letters(&letters), letters })
    }

    /// Whether it may be the one whose verifier this is.
    pub(crate) fn selects(&self, verifiers: &Verifiers) -> bool {
        let salt = PasswordHash::new(&verifiers.argon2id).ok().and_then(|hash| hash.salt);
        salt.is_some_and(|salt| {
            let [a, b, c] = [salt[0], salt[1], salt[2]].map(u32::from);
            (a << 12) | (b << 4) | (c >> 4) == self.selector
        })
    }
}

/// argon2id as a PHC string.
fn hash(password: &str, salt: &[u8]) -> Result<String, PasswordError> {
    let failed = |_| PasswordError::Computation("argon2id failed");
    let params = params()?;
    let argon2 = Argon2::from(&params);
    let mut output = Zeroizing::new([0; ARGON2_OUTPUT_OCTETS]);
    argon2.hash_password_into(password.as_bytes(), salt, output.as_mut()).map_err(failed)?;
    phc(&params, salt, output.as_ref())
}

/// A PHC string of our cost that no password fits: computing against it takes as long as against a real one.
pub(crate) fn unmatchable() -> Result<String, PasswordError> {
    phc(&params()?, &random::<SALT_OCTETS>()?, &random::<ARGON2_OUTPUT_OCTETS>()?)
}

fn params() -> Result<Params, PasswordError> {
    let failed = |_| PasswordError::Computation("argon2id refuses its parameters");
    Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, Some(ARGON2_OUTPUT_OCTETS)).map_err(failed)
}

fn phc(params: &Params, salt: &[u8], output: &[u8]) -> Result<String, PasswordError> {
    let failed = |_| PasswordError::Computation("no PHC string");
    let params = ParamsString::try_from(params).map_err(|_| PasswordError::Computation("no PHC string"))?;
    let hash = PasswordHash {
        algorithm: argon2::ARGON2ID_IDENT,
        version: Some(argon2::Version::V0x13.into()),
        params,
        salt: Some(Salt::new(salt).map_err(failed)?),
        hash: Some(Output::new(output).map_err(failed)?),
    };
    Ok(hash.to_string())
}

/// RFC 5802 3: SaltedPassword, ClientKey, StoredKey, ServerKey.
fn scram_verifier(password: &Password) -> Result<ScramVerifier, PasswordError> {
    let salt = random::<SALT_OCTETS>()?;
    let (stored_key, server_key) = scram_keys(password.expose(), &salt, SCRAM_ITERATIONS)?;
    Ok(ScramVerifier { salt: salt.to_vec(), iterations: SCRAM_ITERATIONS, stored_key, server_key })
}

/// StoredKey and ServerKey of a prepared password.
pub(crate) fn scram_keys(password: &str, salt: &[u8], iterations: u32) -> Result<([u8; 32], [u8; 32]), PasswordError> {
    let iterations = std::num::NonZeroU32::new(iterations).ok_or(PasswordError::Computation("no SCRAM iterations"))?;
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), salted.as_mut());
    let key = hmac::Key::new(hmac::HMAC_SHA256, salted.as_ref());
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    let sized = |bytes: &[u8]| bytes.try_into().map_err(|_| PasswordError::Computation("SHA-256 has 32 octets"));
    Ok((sized(stored_key.as_ref())?, sized(server_key.as_ref())?))
}

/// Random octets.
pub(crate) fn random<const OCTETS: usize>() -> Result<[u8; OCTETS], PasswordError> {
    let mut octets = [0; OCTETS];
    rand::fill(&mut octets).map_err(|_| PasswordError::Computation("the system gives no random octets"))?;
    Ok(octets)
}

fn random_letters(count: usize) -> Result<Zeroizing<String>, PasswordError> {
    let mut octets = Zeroizing::new([0; APP_PASSWORD_LETTERS]);
    rand::fill(octets.as_mut()).map_err(|_| PasswordError::Computation("the system gives no random octets"))?;
    // 256 is a multiple of 32: each letter is as likely as the others.
    Ok(Zeroizing::new(octets[..count].iter().map(|octet| char::from(ALPHABET[usize::from(octet % 32)])).collect()))
}

fn grouped(letters: &str) -> String {
    let groups: Vec<&str> =
        (0..letters.len()).step_by(GROUP_LETTERS).map(|at| &letters[at..at + GROUP_LETTERS]).collect();
    groups.join("-")
}

/// The first four letters as a number of twenty bits.
fn selector_of_letters(letters: &str) -> u32 {
    letters.bytes().take(SELECTOR_LETTERS).fold(0, |selector, letter| {
        let value = ALPHABET.iter().position(|&candidate| candidate == letter).unwrap_or(0);
        (selector << 5) | u32::try_from(value).unwrap_or(0)
    })
}

const fn octet(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use argon2::PasswordVerifier;

    use super::*;

    fn fits(verifiers: &Verifiers, password: &str) -> bool {
        let hash = PasswordHash::new(&verifiers.argon2id).unwrap();
        Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
    }

    #[test]
    fn verifiers_name_their_cost_and_fit_only_their_password() {
        let verifiers = make_verifiers("open sesame", true).unwrap();
        assert!(verifiers.argon2id.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", verifiers.argon2id);
        assert!(fits(&verifiers, "open sesame"));
        assert!(!fits(&verifiers, "open sesame "));
        let scram = verifiers.scram.unwrap();
        assert!(scram.iterations >= 15_000);
        assert_eq!(scram.salt.len(), SALT_OCTETS);
        assert!(make_verifiers("open sesame", false).unwrap().scram.is_none());
    }

    #[test]
    fn rfc_4013_section_3_examples() {
        let prepared = |text: &str| Password::prepare(text).map(|password| password.expose().to_owned());
        assert_eq!(prepared("I\u{ad}X").as_deref(), Ok("IX"));
        assert_eq!(prepared("user").as_deref(), Ok("user"));
        assert_eq!(prepared("USER").as_deref(), Ok("USER"));
        assert_eq!(prepared("\u{aa}").as_deref(), Ok("a"));
        assert_eq!(prepared("\u{2168}").as_deref(), Ok("IX"));
        assert_eq!(prepared("\u{7}"), Err(PasswordError::Character));
        assert_eq!(prepared("\u{627}1"), Err(PasswordError::Character));
        assert_eq!(prepared(""), Err(PasswordError::Empty));
        assert_eq!(prepared("\u{ad}"), Err(PasswordError::Empty));
        assert_eq!(prepared(&"x".repeat(1025)), Err(PasswordError::TooLong));
    }

    #[test]
    fn rfc_7677_section_3_keys() {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let (stored_key, server_key) = scram_keys("pencil", &salt, 4096).unwrap();
        assert_eq!(BASE64_STANDARD.encode(stored_key), "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=");
        assert_eq!(BASE64_STANDARD.encode(server_key), "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
    }

    #[test]
    fn generated_passwords_are_readable_and_differ() {
        let (one, two) = (Password::generate().unwrap(), Password::generate().unwrap());
        assert_ne!(one.expose(), two.expose());
        assert_eq!(one.expose().len(), 24);
        assert!(one.expose().split('-').all(|group| group.len() == 4));
        assert!(AppPasswordText::parse(one.expose()).is_none());
    }

    #[test]
    fn an_app_password_selects_its_own_verifier_however_it_is_typed() {
        let (one, other) = (make_app_password().unwrap(), make_app_password().unwrap());
        let typed = one.password.expose().replace('-', " ").to_uppercase();
        for text in [one.password.expose(), &typed] {
            let text = AppPasswordText::parse(text).unwrap();
            assert!(text.selects(&one.verifiers));
            assert!(fits(&one.verifiers, &text.letters));
            assert!(!fits(&other.verifiers, &text.letters));
        }
        assert!(AppPasswordText::parse("correct horse battery staple").is_none());
    }

    #[test]
    fn an_unmatchable_hash_costs_what_a_real_one_costs() {
        let cost = |phc: &str| PasswordHash::new(phc).unwrap().params.to_string();
        assert_eq!(cost(&unmatchable().unwrap()), cost(&make_verifiers("x", false).unwrap().argon2id));
    }
}
