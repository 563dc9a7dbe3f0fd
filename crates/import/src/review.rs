//! The proof that an `allow` list needs: every directive that may decide which clients get in was understood.
//!
//! The draft takes addresses for `allow` and for the trusted senders of the PROXY protocol only as [`Granted`], and only
//! [`Review::grant`] makes one with entries. A review sees each directive of the parts that govern a listener, and its
//! classifier must name what each one is. So a directive that a module does not know empties the lists by construction.

use portcullis_config::message::Message;

use super::at::At;
use super::express::Entry;
use super::notes::{Notes, What};

/// Relation of one directive to the question which clients get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A directive that the module has carried over, or of which it has noted what it left out.
    Understood,
    /// A directive without a counterpart and without influence on which clients get in; the reason.
    Harmless(&'static str),
    /// A directive that may refuse clients; the reason why it is not carried over.
    Doubtful(Message),
}

impl Class {
    /// Classifies a directive that no list of the module has.
    pub(super) fn unknown() -> Self {
        Self::Doubtful("it has no counterpart, and may decide which clients get in".into())
    }

    /// Classifies a directive that is in doubt for this reason.
    pub(super) fn doubtful(why: impl Into<Message>) -> Self {
        Self::Doubtful(why.into())
    }
}

/// The directives that govern a listener, all of which were classified.
#[derive(Clone, Debug)]
#[must_use]
pub(super) struct Review {
    /// The first directive that is in doubt.
    doubt: Option<At>,
}

impl Review {
    /// Classifies every directive, and notes those that are not carried over.
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

    /// Joins it with the review of another part that governs the same listener.
    pub(super) fn and(self, other: Self) -> Self {
        Self { doubt: self.doubt.or(other.doubt) }
    }

    /// Adds a doubt that no single directive raises.
    pub(super) fn or_doubt_at(self, at: Option<At>) -> Self {
        Self { doubt: self.doubt.or(at) }
    }

    /// Returns the place of a directive that is in doubt.
    pub(super) fn doubt(&self) -> Option<&At> {
        self.doubt.as_ref()
    }

    /// Grants the entries, or none of them when a directive is in doubt.
    pub(super) fn grant(&self, entries: Vec<Entry>) -> Granted {
        match self.doubt {
            None => Granted(entries),
            Some(_) => Granted::default(),
        }
    }
}

/// Entries that may be admitted or trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Granted(Vec<Entry>);

impl Granted {
    /// Returns the entries.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Narrows the entries to a part of what they cover.
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
