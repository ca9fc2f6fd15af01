//! Collection: deleting what nobody names any more.
