//! One session: its states ([`state`]), its conversation ([`conversation`]), and taking messages in ([`reception`]).

pub(crate) mod conversation;
mod reception;
pub(crate) mod state;
