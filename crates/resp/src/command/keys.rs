//! Which arguments are keys.
