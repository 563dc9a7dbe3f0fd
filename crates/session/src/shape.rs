//! The shape of the reply to one command.

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::encode;

/// The form of a command's reply, as far as the link needs it to count replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One reply of any kind.
    One,
    /// One small reply that the session needs in one piece.
    Whole,
    /// One reply that the session needs in one piece, up to 1 MiB.
    Listed,
    /// `n` confirmations of this verb, or one error, or one `+QUEUED`.
    Confirm {
        /// The command's own verb, which each confirmation repeats.
        verb: Verb,
        /// The number of confirmations, one for each channel.
        n: u64,
    },
    /// The confirmations of UNSUBSCRIBE or a variant without arguments: one for each subscription that the client then
    /// has, and at least one.
    ConfirmAll(Verb),
    /// `+OK`, after which command lines arrive.
    Monitor,
    /// `+OK`, after which scripts run in the debugger or no longer do so.
    Debug {
        /// Whether scripts run in the debugger.
        on: bool,
    },
    /// A replication stream in place of a reply. All later bytes belong to it, and no other reply is pending.
    Raw,
    /// A map or a flat array. Its form shows which RESP version applies from then on.
    Hello,
    /// A reply to HELLO, like [`Shape::Hello`], that the session needs in one piece.
    WholeHello,
    /// `+RESET`, after which the connection has no subscriptions and no MONITOR, and uses RESP2.
    Reset,
    /// An array with one element for each queued command, a null, or an error.
    Exec(QueuedConfirmations),
}

/// The six commands that get confirmations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// SUBSCRIBE
    Subscribe,
    /// UNSUBSCRIBE
    Unsubscribe,
    /// PSUBSCRIBE
    Psubscribe,
    /// PUNSUBSCRIBE
    Punsubscribe,
    /// SSUBSCRIBE
    Ssubscribe,
    /// SUNSUBSCRIBE
    Sunsubscribe,
}

impl Verb {
    const ALL: [(Self, CommandId, &'static [u8]); 6] = [
        (Self::Subscribe, id::SUBSCRIBE, b"subscribe"),
        (Self::Unsubscribe, id::UNSUBSCRIBE, b"unsubscribe"),
        (Self::Psubscribe, id::PSUBSCRIBE, b"psubscribe"),
        (Self::Punsubscribe, id::PUNSUBSCRIBE, b"punsubscribe"),
        (Self::Ssubscribe, id::SSUBSCRIBE, b"ssubscribe"),
        (Self::Sunsubscribe, id::SUNSUBSCRIBE, b"sunsubscribe"),
    ];

    /// Returns the verb of a command. `None` if the command gets no confirmations.
    pub fn of(command: CommandId) -> Option<Self> {
        Self::ALL.iter().find(|(_, id, _)| *id == command).map(|(verb, _, _)| *verb)
    }

    /// Returns the verbs that subscribe, with their commands.
    pub(crate) fn subscribing() -> impl Iterator<Item = (Self, CommandId)> {
        Self::ALL.iter().map(|(verb, command, _)| (*verb, *command)).filter(|(verb, _)| !verb.gives_up())
    }

    /// Returns the first element of a confirmation.
    fn word(self) -> &'static [u8] {
        Self::ALL.iter().find(|(verb, ..)| *verb == self).map_or(&[], |(_, _, word)| word)
    }

    /// Returns the verb in the first element of a confirmation. `None` if the word is not such a verb.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(_, _, text)| *text == word).map(|(verb, _, _)| *verb)
    }

    /// Appends a confirmation. `count` is the number of subscriptions that the client has then.
    pub(crate) fn confirm(self, out: &mut Vec<u8>, name: Option<&[u8]>, count: u64, resp3: bool) {
        encode::push(out, 3, resp3);
        encode::bulk(out, self.word());
        match name {
            Some(name) => encode::bulk(out, name),
            None => encode::null(out, resp3),
        }
        encode::integer(out, i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Returns whether the command ends subscriptions. It is then valid without arguments.
    pub const fn gives_up(self) -> bool {
        matches!(self, Self::Unsubscribe | Self::Punsubscribe | Self::Sunsubscribe)
    }
}

/// The elements of EXEC's array that are confirmations, with their verbs. Their indexes are in rising order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueuedConfirmations {
    elements: u64,
    places: Vec<(u64, Verb)>,
}

impl QueuedConfirmations {
    /// Adds the confirmation of a command with this verb, which has this index in the transaction.
    pub(crate) fn push(&mut self, place: u64, verb: Verb) {
        self.places.push((place, verb));
    }

    /// Returns the number of confirmations.
    pub(crate) const fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns the verbs, in the order of their indexes.
    pub(crate) fn verbs(&self) -> impl Iterator<Item = Verb> + '_ {
        self.places.iter().map(|(_, verb)| *verb)
    }

    /// Sets the number of queued commands, including those with confirmations.
    #[must_use]
    pub(crate) fn among(self, elements: u64) -> Self {
        Self { elements, ..self }
    }

    /// Returns whether an array with this number of elements may be the reply. The number must be right only if the
    /// transaction has confirmations.
    pub(crate) const fn fits(&self, elements: u64) -> bool {
        self.places.is_empty() || self.elements == elements
    }

    /// Returns the verb of the confirmation at this index. `None` if the element is not a confirmation.
    pub(crate) fn verb_at(&self, index: u64) -> Option<Verb> {
        let place = self.places.binary_search_by_key(&index, |(place, _)| *place).ok()?;
        self.places.get(place).map(|(_, verb)| *verb)
    }
}
