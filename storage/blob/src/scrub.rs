//! Scrub: looks whether every blob is there and whole.
