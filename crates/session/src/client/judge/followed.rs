//! Commands of a client whose session may outlive its upstream connection: the gate follows the state that they leave.

use portcullis_resp::command::{CommandId, id};

use super::Judge;
use super::shared::lasting_mode;
use crate::client::command::CommandFrame;
use crate::client::continuity;
use crate::client::scripts::Scripts;
use crate::client::state::State;
use crate::client::verdict::Verdict;
use crate::local::client_info::ClientInfo;
use crate::observe::Host;
use crate::pending::ReplyKind;
use crate::shape::Shape;

impl<H: Host> Judge<'_, H> {
    /// Judges a command on the client's own connection.
    pub(super) fn followed(&mut self) -> Verdict {
        self.state.transaction.forget_refused(&self.state.pending);
        let exact = match self.frame.exact(self.command, self.state.plan().held_command()) {
            Ok(exact) => exact.unwrap_or(CommandId::UNKNOWN),
            Err(verdict) => return verdict,
        };
        let begun = self.state.transaction.is_begun();
        let verdict = match exact {
            _ if begun => None,
            id::SELECT => Some(self.select()),
            id::WATCH if self.frame.arguments > 1 => Some(watch(ReplyKind::Watch)),
            id::UNWATCH => Some(watch(ReplyKind::Unwatch)),
            id::CLIENT_NO_EVICT | id::CLIENT_NO_TOUCH => Some(lasting_mode(self.state, self.frame, exact)),
            id::CLIENT_SETNAME | id::CLIENT_SETINFO => named(self.state, self.frame, exact),
            _ => None,
        };
        let verdict = match verdict {
            Some(verdict) => verdict,
            None if self.state.plan().has_rules() || self.state.plan().answers_client() => self.ruled(),
            None => self.by_name(),
        };
        let verdict = loading(self.state, exact, verdict);
        let is_sent = matches!(verdict, Verdict::Send { .. } | Verdict::Rewrite { .. } | Verdict::Raw);
        if is_sent && continuity::binds(exact, begun) {
            self.state.kept.bind(exact);
        }
        verdict
    }
}

/// Adjusts the verdict on a command that loads or drops scripts, outside MULTI.
pub(super) fn loading(state: &mut State, exact: CommandId, verdict: Verdict) -> Verdict {
    if state.transaction.is_begun() || !matches!(verdict, Verdict::Send { kind: ReplyKind::Plain, .. }) {
        return verdict;
    }
    match exact {
        id::SCRIPT_LOAD => return Verdict::Send { shape: Shape::Whole, kind: ReplyKind::Loaded },
        id::SCRIPT_FLUSH => state.scripts = Scripts::default(),
        _ => {}
    }
    verdict
}

/// Judges CLIENT SETNAME and SETINFO, whose text the gate remembers if Redis accepts it. Returns `None` if the command
/// needs no care.
fn named(state: &mut State, frame: &CommandFrame<'_>, exact: CommandId) -> Option<Verdict> {
    if state.plan().answers_client() {
        return None;
    }
    if !frame.is_whole_within(state.plan().held_command()) {
        return Some(Verdict::NeedWhole);
    }
    match ClientInfo::introduction(exact, frame.after_name().get(1..).unwrap_or_default())? {
        Ok(text) => Some(Verdict::Send { shape: Shape::Whole, kind: ReplyKind::Introduced(Box::new(text)) }),
        Err(_too_long) => {
            state.kept.bind(exact);
            None
        }
    }
}

const fn watch(kind: ReplyKind) -> Verdict {
    Verdict::Send { shape: Shape::Whole, kind }
}
