//! Helpers of the fuzz targets.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use portcullis_acl::{CommandPlan, CommandRules};
use portcullis_resp::command::CommandId;
use portcullis_resp::limits::RequestLimits;
use portcullis_session::{
    Attempt, Auth, Authenticator, Denial, Face, Observer, Peer, Plan, Preamble, Session, SessionKey,
    Subscriptions, Verb,
};

/// A small limit, so that inputs reach it.
pub const HELD_COMMAND: usize = 256;

/// The gate's own password.
pub const PASSWORD: &[u8] = b"the gate's own";

/// The rules of a trusted user.
pub const TRUSTED: &str = "+@all -flushall -config|set ~a* &a*";

/// The rules of a listener that faces the internet.
pub const PUBLIC: &str = "@public ~a* &a*";

/// The rules in force.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// No rules.
    None,
    /// [`TRUSTED`].
    Trusted,
    /// [`PUBLIC`].
    Public,
}

/// The configuration of one run.
#[derive(Clone, Copy)]
pub struct Choices {
    /// The party that checks credentials.
    pub auth: Auth,
    /// Whether the upstream requires [`PASSWORD`]; with users, only the first has it as a login.
    pub password: bool,
    /// The rules in force.
    pub rules: Rules,
    /// Whether upstream connections are shared.
    pub shared: bool,
    /// The servers that the listener presents itself as.
    pub presents: Presents,
    /// Whether sessions outlive their upstream connection, and servers must say their role.
    pub carried: bool,
}

/// The servers that a listener presents itself as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presents {
    /// The upstream, as it is.
    Upstream,
    /// A standalone server, a sentinel and a cluster. The upstream is hidden.
    All,
    /// Only a sentinel.
    Sentinel,
}

impl Choices {
    /// Reads the choices from the lowest bits, so that an input keeps its meaning when choices are added.
    pub const fn of(bits: u8) -> Self {
        let auth = match (bits & 4 != 0, bits & 1 != 0) {
            (true, _) => Auth::Users,
            (false, true) => Auth::Trust,
            (false, false) => Auth::Passthrough,
        };
        let shared = bits & 16 != 0 && !matches!(auth, Auth::Passthrough);
        let rules = match (bits & 8 != 0, bits & 32 != 0) {
            (_, true) => Rules::Public,
            (true, false) => Rules::Trusted,
            (false, false) => Rules::None,
        };
        let presents = match (bits & 64 != 0, bits & 128 != 0) {
            (false, _) => Presents::Upstream,
            (true, false) => Presents::All,
            (true, true) => Presents::Sentinel,
        };
        let carried = bits & 192 == 128;
        Self { auth, password: bits & 2 != 0, rules, shared, presents, carried }
    }

    /// Returns the plan for a client that has sent nothing yet.
    pub fn plan(self) -> Plan {
        let preamble = self.password.then(|| Preamble::auth(None, std::str::from_utf8(PASSWORD).unwrap()));
        let limits =
            RequestLimits { bulk: 1 << 20, arguments: 1 << 12, inline: 1 << 12, ..RequestLimits::default() };
        let plan = Plan::new(self.auth, preamble, "main", limits, HELD_COMMAND);
        let plan = if self.shared { plan.shared() } else { plan };
        let plan = if self.carried { plan.carried().asking_role() } else { plan };
        let plan = match self.rules {
            Rules::None => plan,
            Rules::Trusted => plan.with_rules(Arc::clone(&COMPILED_TRUSTED)),
            Rules::Public => plan.with_rules(Arc::clone(&COMPILED_PUBLIC)),
        };
        let face = Face::standalone().with_sentinel(["mymaster"]).announcing("192.0.2.9", 7000);
        match self.presents {
            Presents::Upstream => plan,
            Presents::All => plan.presented_as(face.with_cluster().into()),
            Presents::Sentinel => plan.presented_as(face.not_standalone().into()),
        }
    }

    /// Returns a host with the users `u` and `default`, whose passwords are their names.
    pub fn host(self) -> TestHost {
        let without_password = Self { password: false, ..self };
        let users = [("u", self.plan()), ("default", without_password.plan())];
        let users = users.map(|(name, plan)| (name, plan.for_user(name).into()));
        TestHost { users, granted: 0, subscriptions: Subscriptions::default(), listens_in_resp2: false }
    }
}

static COMPILED_TRUSTED: LazyLock<Arc<CommandPlan>> = LazyLock::new(|| compiled(TRUSTED));
static COMPILED_PUBLIC: LazyLock<Arc<CommandPlan>> = LazyLock::new(|| compiled(PUBLIC));

fn compiled(rules: &str) -> Arc<CommandPlan> {
    let rules = Arc::new(CommandRules::parse(rules).unwrap());
    CommandPlan::new(Some(&rules), None).into()
}

/// A host that ignores all reports.
pub struct TestHost {
    users: [(&'static str, Arc<Plan>); 2],
    /// The number of successful logins.
    pub granted: u64,
    /// The subscriptions that the link has confirmed.
    pub subscriptions: Subscriptions,
    /// Whether the link is in subscriber mode in RESP2.
    pub listens_in_resp2: bool,
}

impl Authenticator for TestHost {
    fn authenticate(&mut self, user: Option<&[u8]>, password: &[u8]) -> Attempt {
        let user = user.unwrap_or(b"default");
        let known = self.users.iter().find(|(name, _)| name.as_bytes() == user && user == password);
        self.granted += u64::from(known.is_some());
        known.map_or(Attempt::Refused, |(_, plan)| Attempt::Granted(Arc::clone(plan)))
    }
}

impl Observer for TestHost {
    fn command(&mut self, _id: CommandId, _n: u64) {}
    fn denied(&mut self, _denial: &Denial<'_>) {}
    fn answered(&mut self, _id: CommandId, _n: u64, _nanos: u64, _seq: u64) {}
    fn login_answered(&mut self, _is_taken: bool) {}
    fn error(&mut self, _line: &[u8]) {}
}

impl Peer for TestHost {
    fn id(&self) -> u64 {
        1
    }

    fn address(&self) -> String {
        "192.0.2.1:1".to_owned()
    }

    fn local_address(&self) -> String {
        "192.0.2.2:6379".to_owned()
    }

    fn reached_at(&self) -> Option<SocketAddr> {
        None
    }

    fn age(&self) -> Duration {
        Duration::ZERO
    }

    fn idle(&self) -> Duration {
        Duration::ZERO
    }

    fn resp3(&self) -> bool {
        false
    }

    fn subscriptions(&self) -> Subscriptions {
        self.subscriptions
    }

    fn is_subscribed(&self, _verb: Verb, _name: &[u8]) -> bool {
        false
    }

    fn listens_in_resp2(&self) -> bool {
        self.listens_in_resp2
    }
}

/// A session that may send: the upstream is connected, or will be on request. A sentinel has none.
pub fn session(choices: Choices) -> Session {
    let mut session = Session::new(SessionKey(1), choices.plan().into());
    if !choices.shared && choices.presents != Presents::Sentinel {
        session.linked();
    }
    session
}

/// Splits an input into the piece sizes (a count and the sizes), one byte of choices and the rest.
pub fn split(data: &[u8]) -> Option<(Vec<usize>, u8, &[u8])> {
    let (&sizes, rest) = data.split_first()?;
    let (sizes, rest) = rest.split_at_checked(usize::from(sizes % 8))?;
    let (&choices, input) = rest.split_first()?;
    Some((sizes.iter().map(|&size| usize::from(size).max(1)).collect(), choices, input))
}

/// Cuts the input into pieces of these sizes, over and over. Without sizes there is one piece.
pub fn pieces<'b>(input: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
    let mut sizes = sizes.iter().cycle();
    let mut pieces = Vec::new();
    let mut rest = input;
    loop {
        let size = sizes.next().map_or(rest.len(), |&size| size.min(rest.len()));
        let (piece, after) = rest.split_at(size);
        pieces.push(piece);
        rest = after;
        if rest.is_empty() {
            return pieces;
        }
    }
}

/// Returns the whole canonical frames at the start of `stream`; the rest must be the beginning of one.
///
/// The parser is as strict as possible, and reads one byte after the other.
pub fn canonical_frames(stream: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    let mut rest = stream;
    loop {
        let Some((count, mut after)) = number(rest, b'*') else { return frames };
        assert!(count > 0, "an empty command");
        let mut arguments = Vec::new();
        for _ in 0..count {
            let Some((len, body)) = number(after, b'$') else { return frames };
            let len = usize::try_from(len).unwrap();
            let Some(argument) = body.get(..len) else { return frames };
            let end = &body[len..];
            let Some(next) = end.strip_prefix(b"\r\n") else {
                assert!(b"\r\n".starts_with(end), "a body that does not end in CRLF");
                return frames;
            };
            arguments.push(argument.to_vec());
            after = next;
        }
        frames.push(arguments);
        rest = after;
    }
}

fn number(text: &[u8], kind: u8) -> Option<(u64, &[u8])> {
    let (&first, digits) = text.split_first()?;
    assert_eq!(first, kind, "not canonical");
    let len = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let number = std::str::from_utf8(&digits[..len]).unwrap();
    let value: u64 = number.parse().expect("a number");
    assert_eq!(value.to_string(), number, "not canonical");
    let end = &digits[len..];
    match end.strip_prefix(b"\r\n") {
        Some(after) => Some((value, after)),
        None => {
            assert!(b"\r\n".starts_with(end), "a header that does not end in CRLF");
            None
        }
    }
}
