//! Dialogues and properties.
