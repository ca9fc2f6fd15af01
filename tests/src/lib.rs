//! What crosses rooms: the harness that starts real servers, and the parts that its tests share.
