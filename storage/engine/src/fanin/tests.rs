//! Keys, window and watermark.
