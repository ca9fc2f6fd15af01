//! How much a summary may still copy out of its message.
//!
//! A summary rides in a Raft entry and is kept in each replica's state, so a stranger must not decide its size.
//! The first texts win, in the order in which they are read; what does not fit is cut. Real messages stay
//! far below: a message to 1,000 recipients copies some 60 KiB.

use super::cursor::unfold;

/// Octets of text that one summary holds at most, all parts together.
pub(crate) const TEXT_TOTAL_BYTES_MAX: usize = 512 * 1024;
/// Octets of one text.
pub(crate) const TEXT_SIZE_BYTES_MAX: usize = 16 * 1024;
/// What each text costs beyond its octets, so that a million empty ones end too.
const TEXT_COST_BYTES: usize = 8;

/// What is left.
pub(crate) struct Allowance {
    left: usize,
}

impl Allowance {
    /// A full allowance.
    pub(crate) const fn new() -> Self {
        Self { left: TEXT_TOTAL_BYTES_MAX }
    }

    /// Nothing more can be copied.
    pub(crate) const fn is_used_up(&self) -> bool {
        self.left == 0
    }

    /// Takes octets that are needed in any case.
    pub(crate) const fn charge(&mut self, size_bytes: usize) {
        self.left = self.left.saturating_sub(size_bytes);
    }

    /// The text, trimmed and unfolded, cut to what is allowed.
    pub(crate) fn text(&mut self, raw: &[u8]) -> Vec<u8> {
        self.grant(unfold(&raw[..raw.len().min(2 * TEXT_SIZE_BYTES_MAX)]))
    }

    /// The text as it is, cut to what is allowed.
    pub(crate) fn grant(&mut self, mut text: Vec<u8>) -> Vec<u8> {
        text.truncate(TEXT_SIZE_BYTES_MAX.min(self.left));
        self.charge(text.len() + TEXT_COST_BYTES);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_when_the_allowance_ends() {
        let mut allowance = Allowance::new();
        assert_eq!(allowance.text(&vec![b'x'; 1 << 20]).len(), TEXT_SIZE_BYTES_MAX);
        let total: usize = (0..100).map(|_| allowance.grant(vec![b'x'; 1 << 14]).len()).sum();
        assert!(total < TEXT_TOTAL_BYTES_MAX && allowance.is_used_up(), "{total}");
    }
}
