//! The blob side as its callers see it: keeping, reading, collecting, scrubbing.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the failure")]

mod collecting;
mod keeping;
mod reading;
mod scrubbing;
mod support;
