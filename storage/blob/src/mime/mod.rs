//! Finding the structure of a message: where its parts begin and end, and what their headers say.
//!
//! Our own scanner instead of a mail library, for three reasons: it works on offsets and copies no body, so a
//! message of 50 MiB costs no second 50 MiB; it never refuses (a broken message is mail too, and is kept as it
//! came); and all of it is linear in the size of the message, whatever a stranger sends.
//!
//! Bounds, so that a hostile message cannot make a summary larger than it is worth:
//! [`structure::DEPTH_MAX`] levels, [`structure::PARTS_MAX`] parts, [`header::FIELD_SIZE_BYTES_MAX`] of one field
//! are looked at, and [`allowance::Allowance`] limits what a summary copies out of a message.
//!
//! It does not decode: transfer encodings, charsets and RFC 2047 words stay as they are.

pub(crate) mod address;
pub(crate) mod allowance;
pub(crate) mod base64;
pub(crate) mod boundary;
pub(crate) mod cursor;
pub(crate) mod header;
pub(crate) mod message_id;
pub(crate) mod parameters;
pub(crate) mod structure;
