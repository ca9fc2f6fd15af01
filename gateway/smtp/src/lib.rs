//! securanet-smtp.
