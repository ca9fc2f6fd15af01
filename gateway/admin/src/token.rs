//! The bearer token: one secret for operators, compared in constant time.

use subtle::ConstantTimeEq;

/// The secret. No `Debug`.
pub struct Token(String);

impl Token {
    /// Fewest characters of a secret.
    pub const CHARACTERS_MIN: usize = 16;

    /// Wraps a secret of at least [`Self::CHARACTERS_MIN`] characters.
    #[must_use]
    pub fn new(secret: &str) -> Option<Self> {
        (secret.len() >= Self::CHARACTERS_MIN).then(|| Self(secret.to_owned()))
    }

    /// Compares in a time that tells nothing but the length.
    pub(crate) fn matches(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}
