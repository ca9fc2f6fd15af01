//! securanet-tests.
