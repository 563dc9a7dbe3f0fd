//! The rules of one listener and one user, compiled at a reload into one small word per command.
//!
//! The rules of the listener and of the user must both allow a command. For most commands the name decides, and the
//! word ([`CommandPlan::class`]) has the decision. For other commands [`CommandPlan::judge`] reads the arguments, as
//! soon as those that decide have arrived.

use std::fmt;
use std::sync::Arc;

use portcullis_resp::command::keys::Argv;
use portcullis_resp::command::{Begin, CommandId, Find, id};
use portcullis_resp::{encode, reply};

use crate::command_rule::{
    ByName, ChannelUse, CommandRules, Grant, KeyUse, Refused, Resolved, Selector, by_own_name_only,
    may_be_control, resolve,
};
use crate::cost::{self, CostLimits};

/// The compiled command rules of one user of one listener.
pub struct CommandPlan {
    /// The word of each command, in the order of [`CommandId::index`].
    classes: Box<[Class]>,
    /// The rules of the listener, then those of the user. A side without rules is left out.
    rules: Vec<Arc<CommandRules>>,
    /// Whether the first rules are the listener's.
    has_listener: bool,
    /// Whether every key pattern allows both reading and writing, so that the use of a key does not matter.
    keys_alike: bool,
    /// The cost limits, if `@public` is among the rules.
    costs: Option<CostLimits>,
    /// Whether PUBSUB shows only channels that the rules allow.
    filters_channels: bool,
}

/// The facts about a command that follow from its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Class(u16);

/// The decision about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The command may run.
    Allow,
    /// The command is refused.
    Refuse(Refusal),
    /// The arguments that decide have not all arrived: call again when more of the frame has arrived.
    More,
}

/// A refused command, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    what: Refused,
    command: CommandId,
    owner: Option<RuleOwner>,
}

/// The owner of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleOwner {
    /// The `acl` of the listener.
    Listener,
    /// The `acl` of the user.
    User,
}

/// The rule that refused a command, as in the log and in `explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecidingRule<'p> {
    /// The owner of the rule. `None` if no `acl` decided.
    pub owner: Option<RuleOwner>,
    /// See [`CommandRules::deciding_rule`].
    pub rule: &'p str,
}

impl CommandPlan {
    /// Compiles the rules of a listener and a user. Without any rules every command may run, even unknown ones. Only
    /// SYNC, PSYNC and REPLCONF always need a rule that names them.
    #[must_use]
    pub fn new(listener: Option<&Arc<CommandRules>>, user: Option<&Arc<CommandRules>>) -> Self {
        let rules: Vec<_> = listener.into_iter().chain(user).cloned().collect();
        let keys_alike =
            rules.iter().flat_map(|rules| rules.selectors()).all(|selector| selector.keys_alike());
        let filters_channels = rules.iter().any(|rules| rules.is_public())
            && rules.iter().any(|rules| rules.selectors().iter().any(|selector| selector.has_key_patterns()));
        let costs = rules.iter().any(|rules| rules.is_public()).then(CostLimits::default);
        let is_judged = |id| costs.is_some() && cost::is_judged(id);
        let class = |id| match class_of(id, &rules, keys_alike, is_judged(id)) {
            class if filters_channels && counts_subscribers(id) => class.and(Class::CHANNELS),
            class => class,
        };
        let classes = CommandId::all().map(class).collect();
        Self { classes, rules, has_listener: listener.is_some(), keys_alike, costs, filters_channels }
    }

    /// Replaces the default cost limits, which apply only under `@public`.
    #[must_use]
    pub fn with_costs(self, limits: CostLimits) -> Self {
        Self { costs: self.costs.map(|_| limits), ..self }
    }

    /// Returns the cost limits. `None` if neither the listener's nor the user's rules have `@public`.
    #[must_use]
    pub const fn costs(&self) -> Option<&CostLimits> {
        self.costs.as_ref()
    }

    /// Returns whether the listener or the user has command rules.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Returns whether `@public` is among the listener's or the user's rules.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        self.costs.is_some()
    }

    /// Returns whether messages may be withheld from the client, whatever its subscriptions are.
    /// [`CommandPlan::delivers`] decides about each message.
    #[inline]
    #[must_use]
    pub fn withholds(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Returns whether the client may receive a message that was published on `channel`. `whole` says whether
    /// `channel` is the whole name or only its beginning.
    #[must_use]
    pub fn delivers(&self, channel: &[u8], whole: bool) -> bool {
        if !whole && may_be_control(channel) {
            return !self.withholds();
        }
        self.rules.iter().all(|rules| rules.selectors().iter().any(|selector| selector.delivers(channel)))
    }

    /// Returns whether replies to PUBSUB CHANNELS and SHARDCHANNELS must be reduced to channels that
    /// [`CommandPlan::shows_channel`] allows. True for `@public` with key patterns, so that clients do not see each
    /// other's channels.
    #[must_use]
    pub const fn filters_channels(&self) -> bool {
        self.filters_channels
    }

    /// Returns whether the client may see the name of a channel. It may if it may subscribe to the channel.
    #[must_use]
    pub fn shows_channel(&self, channel: &[u8]) -> bool {
        self.rules.iter().all(|rules| shows(rules, channel))
    }

    /// Returns the word of a command. For a container (CLIENT) it is not final, because the subcommand has its own
    /// word.
    #[inline]
    #[must_use]
    pub fn class(&self, id: CommandId) -> Class {
        self.classes.get(id.index()).copied().unwrap_or(Class::REFUSED)
    }

    /// Decides whether a command may run. `args` begins with the command's name; for a subcommand, its container
    /// comes first, and `id` may be the container. `whole` says that the whole frame has arrived. Otherwise
    /// [`Argv::count`] is the number from the header, and [`Argv::arg`] has only the arguments that have arrived.
    ///
    /// If `whole` is true, the result is never [`Judgement::More`]. Allocates nothing.
    #[inline]
    pub fn judge<'b>(&self, id: CommandId, args: &(impl Argv<'b> + ?Sized), whole: bool) -> Judgement {
        let class = self.class(id);
        if class.is_free() {
            return Judgement::Allow;
        }
        if class.has(Class::REFUSED) {
            return self.refuse_by_name(id);
        }
        if class.has(Class::FIRST_KEY) {
            return match args.arg(1) {
                Some(key) if self.admits(class.key_use(), key) => Judgement::Allow,
                None if !whole => Judgement::More,
                key => self.refuse_key(id, class.key_use(), key),
            };
        }
        self.judge_arguments(id, class, args, whole)
    }

    /// Calls [`CommandPlan::judge`] with a whole frame.
    ///
    /// # Errors
    /// The refusal of the command.
    pub fn verdict<'b>(&self, id: CommandId, args: &(impl Argv<'b> + ?Sized)) -> Result<(), Refusal> {
        match self.judge(id, args, true) {
            Judgement::Allow => Ok(()),
            Judgement::Refuse(refusal) => Err(refusal),
            Judgement::More => Err(Refusal { what: Refused::Command, command: id, owner: None }),
        }
    }

    /// Returns the rule that caused a refusal of this plan. This method reads all rules again, so it is only for
    /// reports.
    #[must_use]
    pub fn deciding_rule(&self, refusal: Refusal) -> DecidingRule<'_> {
        let index = match refusal.owner {
            Some(RuleOwner::User) => usize::from(self.has_listener),
            Some(RuleOwner::Listener) | None => 0,
        };
        let rules = self.rules.get(index);
        // Without any rules, only SYNC, PSYNC and REPLCONF are refused.
        let rule = rules.map_or("only a rule with its name allows it", |rules| {
            rules.deciding_rule(refusal.command, refusal.what)
        });
        DecidingRule { owner: refusal.owner, rule }
    }

    const fn owner(&self, index: usize) -> Option<RuleOwner> {
        match (index, self.has_listener) {
            (0, true) => Some(RuleOwner::Listener),
            _ => Some(RuleOwner::User),
        }
    }

    fn owner_where(&self, decides: impl Fn(&CommandRules) -> bool) -> Option<RuleOwner> {
        self.rules.iter().position(|rules| decides(rules)).and_then(|index| self.owner(index))
    }

    #[cold]
    fn refuse_by_name(&self, id: CommandId) -> Judgement {
        let owner = self.owner_where(|rules| rules.by_name(id) == ByName::Refused);
        Judgement::refuse(Refused::Command, id, owner)
    }

    #[cold]
    fn refuse_key(&self, id: CommandId, key_use: KeyUse, key: Option<&[u8]>) -> Judgement {
        let admits = |rules: &CommandRules, key| {
            rules.selectors().first().is_some_and(|selector| selector.admits(key_use, key))
        };
        let owner = self.owner_where(|rules| !key.is_some_and(|key| admits(rules, key)));
        Judgement::refuse(Refused::Key, id, owner)
    }

    /// Returns the number of arguments, including the name, that are needed to judge a command with `arguments`
    /// arguments. If no earlier decision is possible, the result is `arguments`. The result for a container is 2:
    /// then call again with the subcommand.
    #[must_use]
    pub fn needed_arguments(&self, id: CommandId, arguments: u64) -> u64 {
        let class = self.class(id);
        let mut needed = 0;
        if class.has(Class::NAME) {
            needed = 1;
        }
        if class.has(Class::SUBCOMMAND) || class.has(Class::FIRST_ARGUMENT) {
            needed = 2;
        }
        if class.has(Class::KEYS) {
            needed = needed.max(self.needed_for_keys(id, arguments));
        }
        if class.has(Class::CHANNELS) {
            needed = needed.max(if matches!(id, id::PUBLISH | id::SPUBLISH) { 2 } else { u64::MAX });
        }
        if class.has(Class::COST) {
            needed = needed.max(cost::needed_arguments(id));
        }
        needed.min(arguments)
    }

    /// Returns whether this plan certainly allows everything that `old` allows of a command, with any arguments.
    /// Rules are compared as texts, so the result may be false although nothing was removed.
    #[must_use]
    pub fn keeps(&self, old: &Self, id: CommandId) -> bool {
        let class = self.class(id);
        if class.is_free() || class.has(Class::REFUSED) {
            return class.is_free();
        }
        let costs = self.costs.is_none() || self.costs == old.costs;
        costs && self.rules.iter().all(|own| old.rules.iter().any(|other| own.keeps(other, id)))
    }

    /// Returns whether this plan certainly allows the client to read every key that `old` allows.
    #[must_use]
    pub fn keeps_keys(&self, old: &Self) -> bool {
        let all_keys = |rules: &CommandRules| rules.selectors().iter().any(Selector::has_all_keys);
        let kept = |own: &CommandRules| old.rules.iter().any(|other| own.keeps_keys(other));
        self.rules.iter().all(|own| all_keys(own) || kept(own))
    }

    fn needed_for_keys(&self, id: CommandId, arguments: u64) -> u64 {
        match id {
            id::SET if self.keys_alike || arguments == 3 => 2,
            id::BITFIELD if self.keys_alike => 2,
            _ => last_key(id).map_or(u64::MAX, |last| last.saturating_add(1)),
        }
    }

    /// Returns the index of the first rules under which the client may not see one of the channels. `None` if it may
    /// see all. `first` is the number of arguments before the channels.
    fn hides_channels_from<'b>(&self, first: usize, args: &(impl Argv<'b> + ?Sized)) -> Option<usize> {
        self.rules.iter().position(|rules| {
            !(first..args.count()).all(|index| args.arg(index).is_some_and(|channel| shows(rules, channel)))
        })
    }

    fn admits(&self, key_use: KeyUse, key: &[u8]) -> bool {
        self.rules
            .iter()
            .all(|rules| rules.selectors().first().is_some_and(|selector| selector.admits(key_use, key)))
    }

    fn judge_arguments<'b>(
        &self,
        id: CommandId,
        class: Class,
        args: &(impl Argv<'b> + ?Sized),
        whole: bool,
    ) -> Judgement {
        let arguments = u64::try_from(args.count()).unwrap_or(u64::MAX);
        if !whole && !has(args, self.needed_arguments(id, arguments)) {
            return Judgement::More;
        }
        match resolve(id, args) {
            Resolved::Known(resolved) if resolved != id => return self.judge(resolved, args, whole),
            Resolved::Known(_) | Resolved::Unknown | Resolved::UnknownSubcommand(_) => {}
        }
        if self.filters_channels
            && counts_subscribers(id)
            && let Some(index) = self.hides_channels_from(2, args)
        {
            return Judgement::refuse(Refused::Channel, id, self.owner(index));
        }
        for (index, rules) in self.rules.iter().enumerate() {
            if let Err(what) = rules.check(id, args) {
                return Judgement::refuse(what, id, self.owner(index));
            }
        }
        match self.costs.filter(|_| class.has(Class::COST)).map(|limits| limits.check(id, args)) {
            None | Some(Ok(())) => Judgement::Allow,
            Some(Err(cost)) => {
                let public = self.owner_where(|rules| rules.is_public());
                Judgement::refuse(Refused::Cost(cost), id, public)
            }
        }
    }
}

impl fmt::Debug for CommandPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandPlan").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Class {
    /// The command is refused, with any arguments.
    const REFUSED: Self = Self(1);
    /// A container: its subcommand has a class of its own.
    const SUBCOMMAND: Self = Self(1 << 1);
    /// The command is not in the table: the rules compare the text of its name.
    const NAME: Self = Self(1 << 2);
    /// The first argument decides about the command.
    const FIRST_ARGUMENT: Self = Self(1 << 3);
    /// The keys decide about the command.
    const KEYS: Self = Self(1 << 4);
    /// The channels decide about the command.
    const CHANNELS: Self = Self(1 << 5);
    /// Only the first argument is a key, and only this key decides. The next two bits say how the command uses the
    /// key.
    const FIRST_KEY: Self = Self(1 << 6);
    const USE_SHIFT: u32 = 7;
    /// Under `@public`, the cost limits decide.
    const COST: Self = Self(1 << 9);

    /// Returns whether the command may run with any arguments.
    #[inline]
    #[must_use]
    pub const fn is_free(self) -> bool {
        self.0 == 0
    }

    /// Returns whether the command is refused with any arguments.
    #[must_use]
    pub const fn is_refused(self) -> bool {
        self.has(Self::REFUSED)
    }

    /// Returns whether the decision needs the subcommand.
    #[must_use]
    pub const fn needs_subcommand(self) -> bool {
        self.has(Self::SUBCOMMAND)
    }

    /// Returns whether the keys decide.
    #[must_use]
    pub const fn needs_keys(self) -> bool {
        self.has(Self::KEYS)
    }

    /// Returns whether the channels decide.
    #[must_use]
    pub const fn needs_channels(self) -> bool {
        self.has(Self::CHANNELS)
    }

    #[inline]
    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn first_key(key_use: KeyUse) -> Self {
        Self(Self::FIRST_KEY.0 | (key_use.bits() << Self::USE_SHIFT))
    }

    #[inline]
    const fn key_use(self) -> KeyUse {
        KeyUse::from_bits(self.0 >> Self::USE_SHIFT)
    }
}

impl Judgement {
    const fn refuse(what: Refused, command: CommandId, owner: Option<RuleOwner>) -> Self {
        Self::Refuse(Refusal { what, command, owner })
    }
}

impl Refusal {
    /// Returns the refused part of the command.
    #[must_use]
    pub const fn what(self) -> Refused {
        self.what
    }

    /// Returns the refused command, or its subcommand if there is one.
    #[must_use]
    pub const fn command(self) -> CommandId {
        self.command
    }

    /// Appends the error for the client, in the words of Redis 7.2. `plan` must be the plan that refused the command
    /// of `user`. `name` is the command's name as the client wrote it, for commands that are not in the table.
    pub fn write(self, out: &mut Vec<u8>, plan: &CommandPlan, user: &[u8], name: &[u8]) {
        match self.what {
            // Without any rules, only commands that need a rule with their name are refused. Redis has no error text
            // for this.
            Refused::Command if plan.rules.is_empty() => reply::needs_rule(out, self.command.name()),
            Refused::Command if self.command == CommandId::UNKNOWN => {
                reply::no_permission(out, user, &String::from_utf8_lossy(name));
            }
            Refused::Command => reply::no_permission(out, user, self.command.name()),
            Refused::Key => out.extend_from_slice(reply::NO_PERMISSION_KEY),
            Refused::Channel => out.extend_from_slice(reply::NO_PERMISSION_CHANNEL),
            Refused::Cost(cost) => encode::error(out, &cost.text(&plan.costs.unwrap_or_default())),
        }
    }
}

fn has<'b>(args: &(impl Argv<'b> + ?Sized), needed: u64) -> bool {
    let last = usize::try_from(needed).ok().and_then(|needed| needed.checked_sub(1));
    last.is_none_or(|last| args.arg(last).is_some())
}

fn shows(rules: &CommandRules, channel: &[u8]) -> bool {
    let mut selectors = rules.selectors().iter();
    selectors.any(|selector| selector.admits_channel(ChannelUse::Subscribe, channel))
}

/// Returns whether the command returns the number of subscribers of the channels in its arguments.
const fn counts_subscribers(id: CommandId) -> bool {
    matches!(id, id::PUBSUB_NUMSUB | id::PUBSUB_SHARDNUMSUB)
}

/// Returns the position of the last argument that may be a key. `None` if the command's name alone does not decide
/// it.
fn last_key(id: CommandId) -> Option<u64> {
    // The options of these commands decide which arguments are keys; see `portcullis_resp::command::keys`.
    if READ_BY_OPTIONS.contains(&id) || id.info().keys.is_empty() {
        return None;
    }
    id.info().keys.iter().try_fold(0, |furthest, spec| {
        let Begin::Index(begin) = spec.begin else { return None };
        let Find::Range { last, .. } = spec.find else { return None };
        Some(u64::from(begin).saturating_add(u64::try_from(last).ok()?).max(furthest))
    })
}

const READ_BY_OPTIONS: [CommandId; 9] = [
    id::SORT,
    id::SORT_RO,
    id::GEORADIUS,
    id::GEORADIUSBYMEMBER,
    id::MIGRATE,
    id::XREAD,
    id::XREADGROUP,
    id::SET,
    id::BITFIELD,
];

fn class_of(id: CommandId, rules: &[Arc<CommandRules>], keys_alike: bool, has_cost: bool) -> Class {
    if rules.is_empty() {
        return if by_own_name_only(id) { Class::REFUSED } else { Class::default() };
    }
    let class = rules.iter().fold(Class::default(), |class, rules| class.and(rules_class(id, rules)));
    if class.has(Class::REFUSED) {
        return Class::REFUSED;
    }
    let class = if has_cost { class.and(Class::COST) } else { class };
    let simple = rules.iter().all(|rules| rules.selectors().len() == 1);
    match first_key(id, keys_alike) {
        Some(key_use) if simple && class == Class::KEYS => class.and(Class::first_key(key_use)),
        _ => class,
    }
}

fn rules_class(id: CommandId, rules: &CommandRules) -> Class {
    match rules.by_name(id) {
        ByName::Allowed => return Class::default(),
        ByName::Refused => return Class::REFUSED,
        ByName::Depends if id == CommandId::UNKNOWN => return Class::NAME,
        ByName::Depends if id.is_container() => return Class::SUBCOMMAND,
        ByName::Depends => {}
    }
    rules.selectors().iter().fold(Class::default(), |class, selector| {
        let of_name = match selector.grant(id) {
            Grant::No => return class,
            Grant::Yes => Class::default(),
            Grant::FirstArgument => Class::FIRST_ARGUMENT,
        };
        let of_keys = if selector.guards_keys_of(id) { Class::KEYS } else { Class::default() };
        let of_channels = if selector.guards_channels_of(id) { Class::CHANNELS } else { Class::default() };
        class.and(of_name).and(of_keys).and(of_channels)
    })
}

/// Returns the use of the command's only key. `None` if the command has other keys, if the key is not the first
/// argument, or if options decide about the keys or their use.
fn first_key(id: CommandId, keys_alike: bool) -> Option<KeyUse> {
    let [spec] = id.info().keys else { return None };
    if spec.begin != Begin::Index(1) || !matches!(spec.find, Find::Range { last: 0, .. }) {
        return None;
    }
    match id {
        id::SET | id::BITFIELD => keys_alike.then_some(KeyUse::BOTH),
        _ if READ_BY_OPTIONS.contains(&id) => None,
        _ => Some(KeyUse::of(spec.access)),
    }
}

#[cfg(test)]
mod tests;
