//! securanet-blob.
