//! Requests and their repeats.
