//! COMPRESS DEFLATE (RFC 4978).

use crate::{
    response::{Code, Tagged},
    session::{
        Session,
        state::{Done, State, Then},
    },
};

/// Answers; compression begins behind the answer.
pub(crate) fn run(session: &Session, state: State) -> Done {
    if session.wire.is_compressed() {
        return state.answer(Tagged::no("Compression is on already").code(Code::COMPRESSION_ACTIVE));
    }
    Done { then: Then::Compress, ..state.answer(Tagged::ok("Compression begins")) }
}
