//! One session: its states ([`state`]), its conversation ([`conversation`]), logging in ([`authentication`]), and
//! taking messages in ([`reception`]).

mod authentication;
pub(crate) mod conversation;
mod reception;
pub(crate) mod state;
