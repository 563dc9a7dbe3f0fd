//! Proof that an `allow` list may have entries: every directive that may decide which clients get in was understood.
//!
//! The draft takes addresses for `allow` and for the trusted senders of the PROXY protocol only as [`Granted`], and
//! only [`Review::grant`] makes one with entries. A review sees each directive of the parts that govern a listener, and
//! its classifier must return a class for each. So a directive that a module does not know empties the lists.

use portcullis_config::message::Message;

use super::at::At;
use super::express::Entry;
use super::notes::{Notes, What};

/// The effect that one directive has on which clients get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A directive that the module has carried over. If the module left out a part of it, it has added a note.
    Understood,
    /// A directive without a counterpart that does not affect which clients get in. The text is the reason in the note.
    Harmless(&'static str),
    /// A directive that may refuse clients. The text is the reason why it is not carried over.
    Doubtful(Message),
}

impl Class {
    /// Returns the class of a directive that is on no list of the module.
    pub(super) fn unknown() -> Self {
        Self::Doubtful("it has no counterpart, and may decide which clients get in".into())
    }

    /// Returns the class of a directive that is in doubt for this reason.
    pub(super) fn doubtful(why: impl Into<Message>) -> Self {
        Self::Doubtful(why.into())
    }
}

/// The result of a review of all directives that govern a listener.
#[derive(Clone, Debug)]
#[must_use]
pub(super) struct Review {
    /// The place of the first directive that is in doubt. `None` if every directive was understood or harmless.
    doubt: Option<At>,
}

impl Review {
    /// Classifies every directive, and adds a note for each one that is not carried over.
    pub(super) fn of<D: Copy + What>(
        directives: impl IntoIterator<Item = (At, D)>,
        notes: &mut Notes,
        mut classify: impl FnMut(D, &mut Notes) -> Class,
    ) -> Self {
        let mut review = Self { doubt: None };
        for (at, directive) in directives {
            match classify(directive, notes) {
                Class::Understood => {}
                Class::Harmless(why) => notes.left_out(at, directive, why),
                Class::Doubtful(why) => {
                    notes.left_out(&at, directive, why);
                    review.doubt.get_or_insert(at);
                }
            }
        }
        review
    }

    /// Combines this review with the review of another part that governs the same listener.
    pub(super) fn and(self, other: Self) -> Self {
        Self { doubt: self.doubt.or(other.doubt) }
    }

    /// Adds a doubt at this place, for a reason that is not a single directive. `None` adds no doubt.
    pub(super) fn or_doubt_at(self, at: Option<At>) -> Self {
        Self { doubt: self.doubt.or(at) }
    }

    /// Returns the place of the first doubt. `None` if there is no doubt.
    pub(super) fn doubt(&self) -> Option<&At> {
        self.doubt.as_ref()
    }

    /// Grants all entries. Grants no entry if a directive is in doubt.
    pub(super) fn grant(&self, entries: Vec<Entry>) -> Granted {
        match self.doubt {
            None => Granted(entries),
            Some(_) => Granted::default(),
        }
    }
}

/// Entries that may be admitted or trusted, because no directive was in doubt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Granted(Vec<Entry>);

impl Granted {
    /// Returns the entries.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Returns the entries that cover only sources in `to`. If some must be split, the new ones have no comment and no
    /// group.
    pub(super) fn narrowed(&self, to: &super::sources::Sources) -> Self {
        use super::sources::Sources;
        let covered: Sources = self.0.iter().map(|entry| entry.net).collect();
        if covered.is_within(to) {
            return self.clone();
        }
        let nets = covered.and(to).nets().into_iter();
        Self(nets.map(|net| Entry { net, origin: "".into(), group: None }).collect())
    }
}
