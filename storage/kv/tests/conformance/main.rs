//! One suite for both adapters: whoever passes it may stand behind the port.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the failure")]

mod disk;
mod durable;
mod model;
mod rows;
mod subject;
