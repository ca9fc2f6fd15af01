//! securanet-imap.
