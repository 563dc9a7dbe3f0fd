//! Settings that only the host can judge, and their places in the file: addresses, socket files, the audit file.

use std::path::Path;

use crate::address::Bind;
use crate::message::Message;
use crate::problem::{Position, Problem};
use crate::scope::Scope;
use crate::value::socket::Local;

/// Places of the settings that the host must allow.
#[derive(Clone, Debug)]
pub struct Places {
    start: Position,
    binds: Vec<(Local, Position)>,
    audit: Option<Position>,
}

impl Places {
    /// Takes the places that the validation noted.
    pub(super) fn of(scope: &mut Scope) -> Self {
        let binds = std::mem::take(&mut scope.binds);
        Self { start: Position::start_of(&scope.file), binds, audit: scope.audit.take() }
    }

    /// The place of the audit output, if the file names one.
    pub(super) fn of_audit(&self) -> Option<&Position> {
        self.audit.as_ref()
    }

    /// The paths of the sockets to listen on.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &Path> {
        self.binds.iter().filter_map(|(bind, _)| match bind {
            Local::Unix(file) => Some(file.path()),
            Local::Tcp(_) => None,
        })
    }

    /// Makes the error of an address of a listener, or of the admin endpoint, that cannot be used on this host.
    pub fn bind(&self, bind: &Bind, fault: Message, hint: Message) -> Problem {
        let is_meant = |local: &Local| match (local, bind) {
            (Local::Tcp(local), Bind::Tcp { addr, .. }) => local == addr,
            (Local::Unix(local), Bind::Unix(file)) => local == file,
            _ => false,
        };
        let place = self.binds.iter().find(|(local, _)| is_meant(local)).map(|(_, place)| place);
        Problem::of_host(place.unwrap_or(&self.start), fault, hint)
    }

    /// Makes the error of the audit output.
    pub fn audit(&self, fault: Message, hint: Message) -> Problem {
        Problem::of_host(self.audit.as_ref().unwrap_or(&self.start), fault, hint)
    }

    /// Makes an error that no setting is the place of.
    pub fn process(&self, fault: Message, hint: Message) -> Problem {
        Problem::of_host(&self.start, fault, hint)
    }
}
