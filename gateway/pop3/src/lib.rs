//! securanet-pop3.
