//! What a message that the store takes may not contain: NUL, a bare CR, a bare LF (RFC 5322 2.3, RFC 5321 4.1.1.4).
//!
//! IMAP and POP3 hand messages out as lines; a message with anything else could not be handed out as it is. Who
//! imports substitutes and counts (`securanet import` does); this only looks, across the borders of frames.

/// What is wrong with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// A NUL octet.
    Nul,
    /// A CR without LF.
    BareCr,
    /// An LF without CR.
    BareLf,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nul => "the message has a NUL octet",
            Self::BareCr => "the message has a CR without LF",
            Self::BareLf => "the message has an LF without CR",
        })
    }
}

/// Looks at a message that comes in pieces.
#[derive(Default)]
pub(crate) struct LineEndings {
    after_cr: bool,
}

impl LineEndings {
    /// Looks at the next piece.
    pub(crate) fn look(&mut self, piece: &[u8]) -> Result<(), Fault> {
        for &octet in piece {
            match (self.after_cr, octet) {
                (true, b'\n') | (false, 1..=9 | 11..=12 | 14..) => self.after_cr = false,
                (false, b'\r') => self.after_cr = true,
                (true, _) => return Err(Fault::BareCr),
                (false, b'\n') => return Err(Fault::BareLf),
                (false, 0) => return Err(Fault::Nul),
            }
        }
        Ok(())
    }

    /// The message ends here.
    pub(crate) const fn end(&self) -> Result<(), Fault> {
        if self.after_cr { Err(Fault::BareCr) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(message: &[u8], piece_octets: usize) -> Result<(), Fault> {
        let mut endings = LineEndings::default();
        message.chunks(piece_octets).try_for_each(|piece| endings.look(piece))?;
        endings.end()
    }

    #[test]
    fn a_message_is_lines_however_it_is_cut() {
        let cases: [(&[u8], Result<(), Fault>); 10] = [
            (b"", Ok(())),
            (b"a\r\n\r\nb\r\n", Ok(())),
            (b"no end of line", Ok(())),
            (b"\xff\x01\t\x0b\x0c\x7f", Ok(())),
            (b"a\nb", Err(Fault::BareLf)),
            (b"a\r\n\nb", Err(Fault::BareLf)),
            (b"a\rb", Err(Fault::BareCr)),
            (b"a\r\r\n", Err(Fault::BareCr)),
            (b"a\r", Err(Fault::BareCr)),
            (b"a\0b", Err(Fault::Nul)),
        ];
        for (message, expected) in cases {
            for piece_octets in 1..=message.len().max(1) {
                assert_eq!(whole(message, piece_octets), expected, "{message:?} in pieces of {piece_octets}");
            }
        }
    }
}
