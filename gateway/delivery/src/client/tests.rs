//! Dialogues with servers of every kind.
