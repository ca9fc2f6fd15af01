//! securanet-wire.
