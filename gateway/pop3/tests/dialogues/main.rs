//! POP3 dialogues, named by RFC and section.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod endings;
mod extensions;
mod rfc_1939;
mod store;

use std::sync::Arc;

use crate::store::ScriptedStore;

const ONE: &[u8] = b"Subject: one\r\n\r\n.hidden\r\nline two\r\n";
const TWO: &[u8] = b"Subject: two\r\n\r\nno line end";

fn two_messages() -> Arc<ScriptedStore> {
    ScriptedStore::new(&[(3, 0xa, ONE), (8, 0xb, TWO)])
}
