//! securanet-admin.
