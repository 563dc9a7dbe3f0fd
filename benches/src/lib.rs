//! Input builders shared by the benches.
