//! The store over the network against the store in this process: the same must hold of both, and of the first one also when
//! the network breaks.

mod conformance;
mod faults;
mod protocol;
mod tries;
mod world;
