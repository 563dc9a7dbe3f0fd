//! The policy for the clients of one listener, or of one of its users. It is compiled once for all of them.

use std::sync::Arc;

use portcullis_acl::{CommandPlan, Judgement};
use portcullis_resp::command::{CommandId, Flags, id, keys};
use portcullis_resp::limits::RequestLimits;
use portcullis_resp::scan::Span;

use crate::face::Face;
use crate::link::Preamble;
use crate::pooling::Pin;
use crate::shape::Verb;

/// The policy that the sessions of one listener, or of one of its users, share.
#[derive(Debug)]
pub struct Plan {
    auth: Auth,
    user: Option<Box<str>>,
    preamble: Option<Preamble>,
    upstream: String,
    limits: RequestLimits,
    held_command: usize,
    rules: Arc<CommandPlan>,
    care: Box<[Care]>,
    shared: bool,
    face: Option<Arc<Face>>,
    carries: bool,
    asks_role: bool,
}

/// The care that a command needs in the session, judged only by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// A command with one reply that is always allowed.
    None,
    /// A command with one reply that the rules must judge.
    Rules,
    /// A command that the session must judge by itself.
    Own,
}

/// The party that checks the client's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Redis. The gate forwards AUTH and HELLO.
    Passthrough,
    /// No party: the allowlist takes the place of credentials. The gate logs in upstream with its own credentials.
    Trust,
    /// The gate. It logs in upstream with the user's upstream credentials. A client that is not logged in cannot reach
    /// the upstream.
    Users,
}

impl Plan {
    /// Compiles the plan. `preamble` is not used under [`Auth::Passthrough`]. `held_command` is the maximum size in
    /// bytes of a frame that must be complete before it is judged.
    pub fn new(
        auth: Auth,
        preamble: Option<Preamble>,
        upstream: &str,
        limits: RequestLimits,
        held_command: usize,
    ) -> Self {
        let preamble = preamble.filter(|_| auth != Auth::Passthrough);
        let rules = Arc::new(CommandPlan::new(None, None));
        let care = care(&rules, false, None, false);
        let upstream = upstream.to_owned();
        Self {
            auth,
            user: None,
            preamble,
            upstream,
            limits,
            held_command,
            rules,
            care,
            shared: false,
            face: None,
            carries: false,
            asks_role: false,
        }
    }

    /// Returns the plan with shared upstream connections. Has no effect under [`Auth::Passthrough`], where each
    /// client's login belongs to its own connection.
    #[must_use]
    pub fn shared(self) -> Self {
        let shared = self.auth != Auth::Passthrough;
        Self { care: care(&self.rules, shared, self.face.as_deref(), self.carries), shared, ..self }
    }

    /// Returns the plan for a listener with this face, whose clients must not see the address of the upstream.
    #[must_use]
    pub fn presented_as(self, face: Arc<Face>) -> Self {
        Self { care: care(&self.rules, self.shared, Some(&face), self.carries), face: Some(face), ..self }
    }

    /// Returns the plan with sessions that may outlive their upstream connection. Has no effect under
    /// [`Auth::Passthrough`], where the gate cannot log in again.
    #[must_use]
    pub fn carried(self) -> Self {
        let carries = self.auth != Auth::Passthrough;
        Self { care: care(&self.rules, self.shared, self.face.as_deref(), carries), carries, ..self }
    }

    /// Returns the plan for clients that are logged in as `user`. Under [`Auth::Users`], a plan without a user is for
    /// clients that are not logged in.
    #[must_use]
    pub fn for_user(self, user: &str) -> Self {
        Self { user: Some(user.into()), ..self }
    }

    /// Returns the plan under command rules. If two plans share the same rules, they certainly allow the same commands.
    /// So a reload that does not change the rules should keep them.
    #[must_use]
    pub fn with_rules(self, rules: Arc<CommandPlan>) -> Self {
        Self { care: care(&rules, self.shared, self.face.as_deref(), self.carries), rules, ..self }
    }

    /// Returns this plan for an upstream connection that was made under `made_by`. The gate logs in there with the
    /// credentials of `made_by`, and sends the upstream no other credentials.
    #[must_use]
    pub fn keyed_as(&self, made_by: &Self) -> Self {
        Self {
            auth: self.auth,
            user: self.user.clone(),
            preamble: made_by.preamble.clone(),
            upstream: made_by.upstream.clone(),
            limits: self.limits,
            held_command: self.held_command,
            rules: Arc::clone(&self.rules),
            care: self.care.clone(),
            shared: self.shared,
            face: self.face.clone(),
            carries: self.carries,
            asks_role: made_by.asks_role,
        }
    }

    /// Returns the party that checks the client's credentials.
    pub const fn auth(&self) -> Auth {
        self.auth
    }

    /// Returns the user of the plan. `None` if the plan names no user.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the gate's login on a new upstream connection. `None` if the gate does not log in.
    pub const fn preamble(&self) -> Option<&Preamble> {
        self.preamble.as_ref()
    }

    /// Returns whether upstream connections are shared.
    pub const fn is_shared(&self) -> bool {
        self.shared
    }

    /// Returns the plan with connections whose server must say that it is a master before it gets a command. Has no
    /// effect under [`Auth::Passthrough`], where the gate cannot ask before the client has logged in.
    #[must_use]
    pub fn asking_role(self) -> Self {
        let asks_role = self.auth != Auth::Passthrough;
        Self { asks_role, ..self }
    }

    /// Returns whether a server must say that it is a master before it gets a command.
    pub const fn asks_role(&self) -> bool {
        self.asks_role
    }

    /// Returns whether sessions may outlive their upstream connection.
    pub const fn carries(&self) -> bool {
        self.carries
    }

    /// Returns the upstream's name, for error lines.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// Returns the limits of the request grammar. They are lower for a client that is not logged in.
    pub const fn limits(&self) -> RequestLimits {
        if self.is_anonymous() { self.limits.unauthenticated() } else { self.limits }
    }

    /// Returns whether the plan may replace `old` under the same `auth`.
    pub(crate) fn replaces(&self, old: &Self, auth: Auth) -> bool {
        let same_kind = self.is_sentinel_only() == old.is_sentinel_only();
        self.auth == auth && self.user == old.user && self.shared == old.shared && same_kind
    }

    /// Returns the face of the listener. `None` if the upstream is not hidden: clients may see its address.
    pub(crate) fn face(&self) -> Option<&Arc<Face>> {
        self.face.as_ref()
    }

    /// Returns whether the gate answers every command, as a sentinel. Such a client has no upstream connection.
    pub(crate) fn is_sentinel_only(&self) -> bool {
        self.face.as_ref().is_some_and(|face| face.is_sentinel_only())
    }

    /// Returns whether the gate answers CLIENT on the client's own connection too. Redis would show all of its clients
    /// and its own address.
    pub(crate) fn answers_client(&self) -> bool {
        self.is_public() || self.face.is_some()
    }

    /// Returns whether both plans share the same rules in memory.
    pub fn shares_rules_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules)
    }

    pub(crate) fn rules(&self) -> &CommandPlan {
        &self.rules
    }

    #[cfg(test)]
    pub(crate) fn shared_rules(&self) -> Arc<CommandPlan> {
        Arc::clone(&self.rules)
    }

    /// Returns whether there are command rules.
    pub(crate) fn has_rules(&self) -> bool {
        self.rules.has_rules()
    }

    /// Returns whether the rules contain `@public`.
    pub(crate) fn is_public(&self) -> bool {
        self.rules.is_public()
    }

    /// Returns whether the plan is for a client that must log in first.
    pub(crate) const fn is_anonymous(&self) -> bool {
        matches!(self.auth, Auth::Users) && self.user.is_none()
    }

    /// Returns the most bytes of a frame that are held until it is complete.
    pub const fn held_command(&self) -> usize {
        self.held_command
    }

    /// Returns whether the rules refuse a command, or must see more of it than its name.
    pub(crate) fn cares_by_rule(&self, command: CommandId) -> bool {
        !self.rules.class(command).is_free()
    }

    /// Returns whether a whole frame of this command gets one reply and is allowed by the rules.
    #[inline]
    pub(crate) fn is_plain(&self, command: CommandId, name: Span, bytes: &[u8], arguments: u64) -> bool {
        match self.care(command) {
            Care::None => true,
            Care::Rules => {
                let args = keys::Frame::behind(name, bytes, arguments);
                bytes.len() <= self.held_command && self.rules.judge(command, &args, true) == Judgement::Allow
            }
            Care::Own => false,
        }
    }

    /// Returns whether every frame of this command gets one reply and is allowed by the rules.
    pub(crate) fn is_plain_by_name(&self, command: CommandId) -> bool {
        self.care(command) == Care::None
    }

    #[inline]
    fn care(&self, command: CommandId) -> Care {
        self.care.get(command.index()).copied().unwrap_or(Care::Own)
    }
}

fn care(rules: &CommandPlan, shared: bool, face: Option<&Face>, carries: bool) -> Box<[Care]> {
    // The gate must know the database, because its reply to CLIENT LIST shows it.
    let told = |command| (rules.is_public() || face.is_some()) && command == id::SELECT;
    let presented =
        |command| face.is_some_and(|face| face.is_sentinel_only() || PRESENTED.contains(&command));
    let listed = |command| rules.filters_channels() && command == id::PUBSUB;
    let followed = |command| matches!(command, id::SELECT | id::UNWATCH) || Pin::of(command) == Pin::Session;
    let own = |command| {
        needs_care(command)
            || told(command)
            || presented(command)
            || listed(command)
            || (shared && Pin::of(command) != Pin::Share)
            || (carries && followed(command))
    };
    let care = |command| match (own(command), rules.class(command).is_free()) {
        (true, _) => Care::Own,
        (false, false) => Care::Rules,
        (false, true) => Care::None,
    };
    CommandId::all().map(care).collect()
}

/// Commands whose replies show which server a client is connected to.
const PRESENTED: [CommandId; 8] =
    [id::CLUSTER, id::SENTINEL, id::READONLY, id::READWRITE, id::ASKING, id::INFO, id::ROLE, id::CONFIG];

fn needs_care(command: CommandId) -> bool {
    let stateful = [
        CommandId::UNKNOWN,
        id::AUTH,
        id::QUIT,
        id::RESET,
        id::MULTI,
        id::EXEC,
        id::DISCARD,
        id::WATCH,
        id::HELLO,
        id::MONITOR,
        id::CLIENT,
        id::SCRIPT,
        id::SYNC,
        id::PSYNC,
        id::REPLCONF,
    ];
    stateful.contains(&command)
        || Verb::of(command).is_some()
        || command.info().flags.contains(Flags::BLOCKING)
}
