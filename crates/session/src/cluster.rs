//! A Redis Cluster as the gate knows it: what its nodes say, and the map that follows from it.
//!
//! ```text
//!   CLUSTER SLOTS, NODES, INFO of a node ──► Answer ──┐
//!                        of another node ──► Answer ──┼──► Chooser ──► Map
//!                           the map in force, MOVED ──┘
//! ```

mod answer;
mod choose;
mod command_slot;
mod endpoint;
mod map;
mod redirect;
mod router;
mod server_facts;

pub use answer::{Announced, Answer, AnswerFault, Replies, Role};
pub use choose::{Choice, Chooser, Heard, Kept};
pub use command_slot::CommandSlot;
pub use endpoint::Endpoint;
pub use map::{MAX_NODES, Map, MapFault, Node, NodeIndex, Reserved};
pub use redirect::{Redirect, Target};
pub use router::{Ended, Hints, LegIndex, Received, Router, RouterSettings, Turn};
pub use server_facts::{LearnedCommand, ServerFacts};
