//! The protobuf of the store service, its conversions from and to the model, and how nodes reach each other ([`link`]).
//!
//! The envelope (group, request id, deadline, token) is protobuf, so that a relay can route without knowing
//! commands; what is inside are the model's versioned records. Everything that comes from a peer is checked
//! here, once: behind this border there are only valid values. Errors name the field that was wrong.

pub mod content;
mod convert;
pub mod enrolment;
pub mod fuzz;
pub mod link;
pub mod replication;
pub mod watching;

pub use convert::{
    COMMANDS_SIZE_BYTES_MAX, WireError, answer_from_wire, answer_to_wire, execute_from_wire, execute_to_wire,
    outcome_from_wire, outcome_to_wire, query_from_wire, query_to_wire,
};

pub use securanet::store::v1 as proto;

/// What the compiler made of the definitions, by their packages: one may name what stands in the other.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::expect_used)]
mod securanet {
    pub mod store {
        pub mod v1 {
            tonic::include_proto!("securanet.store.v1");
        }
    }
    pub mod cluster {
        pub mod v1 {
            tonic::include_proto!("securanet.cluster.v1");
        }
    }
    pub mod replication {
        pub mod v1 {
            tonic::include_proto!("securanet.replication.v1");
        }
    }
}
