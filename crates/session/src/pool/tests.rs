//! What a shared connection makes of what its upstream says.
