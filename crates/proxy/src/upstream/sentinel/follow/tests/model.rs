//! Servers, sentinels, and a proxy that asks them.

use super::*;

/// The servers. The last one belongs to other sentinels: it is always a master.
const SERVERS: [&str; 4] = ["a", "b", "c", "x"];
const FOREIGN: usize = 3;

const POLL: Duration = Duration::from_secs(1);

/// The time for which a former master of a planned failover still says that it is the master.
const DEMOTED_AFTER: Duration = Duration::from_secs(10);

/// The time of rest after which the view must be right.
const CALM: Duration = Duration::from_secs(60);

/// A pseudorandom generator (SplitMix64). The same seed gives the same run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

#[derive(Clone)]
struct Sentinel {
    names: usize,
    epoch: u64,
    lies: bool,
    reachable: bool,
    /// The time at which it learns of the last failover. `None`: it knows.
    learns_at: Option<Instant>,
}

/// A failover in progress.
struct Failover {
    to: usize,
    /// The time at which the replica becomes a master.
    promoted_at: Instant,
    /// The time at which the leader names it, or gives up.
    ends_at: Instant,
    fails: bool,
}

pub(super) struct World {
    random: Random,
    now: Instant,
    roles: [Role; 4],
    /// The former master says that it is a replica from then on.
    demotion: Option<(usize, Instant)>,
    master: usize,
    epoch: u64,
    sentinels: Vec<Sentinel>,
    failover: Option<Failover>,
    follower: Follower,
    next_poll: Instant,
    last_fault: Instant,
    /// The last time when an answer had the view's epoch, and when half of them had it.
    epoch_heard: (Instant, Instant),
    paused_since: Option<Instant>,
    last_vain: Option<Instant>,
    last_move: Option<Instant>,
    pub(super) moves: u32,
    pub(super) pauses: u32,
}

impl World {
    pub(super) fn new(seed: u64, sentinels: usize) -> Self {
        let now = Instant::now();
        let mut random = Random(seed);
        // One liar among three, up to two among five.
        let liars = usize::try_from(random.below(sentinels.div_ceil(2) as u64)).unwrap();
        let sentinel =
            |at| Sentinel { names: 0, epoch: 1, lies: at < liars, reachable: true, learns_at: None };
        Self {
            random,
            now,
            roles: [Role::Master, Role::Replica, Role::Replica, Role::Master],
            demotion: None,
            master: 0,
            epoch: 1,
            sentinels: (0..sentinels).map(sentinel).collect(),
            failover: None,
            follower: Follower::new(Some(Duration::from_secs(3)), now),
            next_poll: now,
            last_fault: now,
            epoch_heard: (now, now),
            paused_since: None,
            last_vain: None,
            last_move: None,
            moves: 0,
            pauses: 0,
        }
    }

    pub(super) fn step(&mut self) {
        self.now += Duration::from_millis(1 + self.random.below(400));
        // Long calms alternate with troubles.
        if self.now.duration_since(self.last_fault) >= CALM && self.random.one_in(40)
            || self.now.duration_since(self.last_fault) < CALM / 4
        {
            self.trouble();
        }
        self.proceed();
        self.lie();
        self.follower.tick(self.now);
        if let Some(asked) = self.follower.take_question(self.now) {
            let role = self.role(&asked);
            if self.follower.told(&asked, role) {
                self.poll();
            }
        }
        if self.next_poll <= self.now {
            self.poll();
        }
        self.check_pause();
        if self.now.duration_since(self.last_fault) > CALM {
            let named = self.follower.master().map(|master| &master.address);
            assert_eq!(named, Some(&server(SERVERS[self.master])), "after a calm");
        }
    }

    /// Something happens: a failover, a sentinel that goes or comes, or new sentinels.
    fn trouble(&mut self) {
        match self.random.below(40) {
            0..=2 if self.failover.is_none() && self.demotion.is_none() => self.begin_failover(),
            3 => {
                let at = self.pick();
                self.sentinels[at].reachable ^= true;
            }
            4 if self.random.one_in(20) => {
                for sentinel in self.sentinels.iter_mut().filter(|sentinel| !sentinel.lies) {
                    (sentinel.epoch, sentinel.names, sentinel.learns_at) = (0, self.master, None);
                }
                (self.epoch, self.failover) = (0, None);
            }
            _ => return,
        }
        self.last_fault = self.now;
    }

    fn pick(&mut self) -> usize {
        usize::try_from(self.random.below(self.sentinels.len() as u64)).unwrap()
    }

    fn begin_failover(&mut self) {
        let candidates: Vec<usize> = (0..FOREIGN).filter(|at| *at != self.master).collect();
        let to = candidates[usize::from(self.random.one_in(2))];
        if self.random.one_in(2) {
            self.roles[self.master] = Role::Silent;
        }
        let fails = self.random.one_in(5) && self.roles[self.master] == Role::Master;
        let promoted_at = self.now + Duration::from_millis(100 + self.random.below(200));
        let ends_at = promoted_at + Duration::from_millis(700 + self.random.below(600));
        self.failover = Some(Failover { to, promoted_at, ends_at, fails });
        self.publish(&Event::Chosen(change(SERVERS[self.master], SERVERS[to])));
    }

    /// Lets the failover and the sentinels proceed.
    fn proceed(&mut self) {
        if self.now.duration_since(self.last_fault) > CALM / 3 {
            self.sentinels.iter_mut().for_each(|sentinel| sentinel.reachable = true);
        }
        if let Some((at, when)) = self.demotion
            && when <= self.now
        {
            self.roles[at] = Role::Replica;
            self.demotion = None;
        }
        if let Some(failover) = &self.failover {
            let (to, fails, ends_at) = (failover.to, failover.fails, failover.ends_at);
            if failover.promoted_at <= self.now && !fails {
                self.roles[to] = Role::Master;
            }
            if ends_at <= self.now {
                self.failover = None;
                if fails { self.publish(&Event::Aborted) } else { self.complete(to) }
            }
        }
        for at in 0..self.sentinels.len() {
            if self.sentinels[at].learns_at.is_some_and(|when| when <= self.now) {
                let former = self.sentinels[at].names;
                self.sentinels[at] = Sentinel {
                    names: self.master,
                    epoch: self.epoch,
                    learns_at: None,
                    ..self.sentinels[at].clone()
                };
                if self.sentinels[at].reachable && former != self.master {
                    self.publish(&Event::Switched(change(SERVERS[former], SERVERS[self.master])));
                }
            }
        }
    }

    /// The failover succeeds: the leader names the new master, and the others learn of it.
    fn complete(&mut self, to: usize) {
        let former = std::mem::replace(&mut self.master, to);
        self.epoch += 1;
        self.demotion = Some((former, self.now + DEMOTED_AFTER));
        self.last_fault = self.now;
        for at in 0..self.sentinels.len() {
            // A sentinel may be cut off from the others for a while, and say what was true before.
            let late = if self.random.one_in(8) { 20_000 } else { 50 };
            let delay = self.random.below(late);
            self.sentinels[at].learns_at = Some(self.now + Duration::from_millis(delay));
        }
        self.publish(&Event::Promoted(change(SERVERS[former], SERVERS[to])));
    }

    fn publish(&mut self, event: &Event) {
        if self.follower.event(event, self.now) {
            self.poll();
        }
    }

    /// Lets lying sentinels publish messages.
    fn lie(&mut self) {
        if !self.sentinels.iter().any(|sentinel| sentinel.lies && sentinel.reachable)
            || !self.random.one_in(3)
        {
            return;
        }
        let mut name = || SERVERS[usize::try_from(self.random.below(4)).unwrap()];
        let lie = change(name(), name());
        let event = match self.random.below(4) {
            0 => Event::Chosen(lie),
            1 => Event::Promoted(lie),
            2 => Event::Switched(lie),
            _ => Event::Aborted,
        };
        self.publish(&event);
    }

    fn role(&self, address: &Address) -> Role {
        let at = SERVERS.iter().position(|name| server(name) == *address).expect("a known server");
        self.roles[at]
    }

    fn claims(&mut self) -> (Vec<Claim>, Vec<Claim>) {
        let (mut honest, mut lies) = (Vec::new(), Vec::new());
        for at in 0..self.sentinels.len() {
            let sentinel = self.sentinels[at].clone();
            if !sentinel.reachable {
                continue;
            }
            if sentinel.lies {
                let name = SERVERS[usize::try_from(self.random.below(4)).unwrap()];
                let epoch = if self.random.one_in(2) { self.epoch } else { self.random.below(2000) };
                lies.push(Claim { address: server(name), epoch });
            } else {
                honest.push(Claim { address: server(SERVERS[sentinel.names]), epoch: sentinel.epoch });
            }
        }
        (honest, lies)
    }

    /// Asks all sentinels, and judges the answers.
    fn poll(&mut self) {
        self.next_poll = self.now + POLL;
        let (honest, lies) = self.claims();
        let claims: Vec<Claim> = honest.iter().chain(&lies).cloned().collect();
        let before = self.follower.master().cloned();
        self.hear(&claims, before.as_ref().map_or(0, |master| master.epoch));
        let round = Round::new(self.sentinels.len(), claims);
        let mut roles = Roles::default();
        let outcome = loop {
            match self.follower.round(&round, &roles, self.now) {
                Outcome::Ask(servers) => {
                    for address in servers {
                        let role = self.role(&address);
                        roles.add(address, role);
                    }
                }
                outcome => break outcome,
            }
        };
        if let Outcome::Moved { .. } = outcome {
            self.check_move(before.as_ref(), &honest, &lies);
            self.moves += 1;
            self.last_move = Some(self.now);
        }
        if self.follower.master().map(|master| master.epoch) != before.map(|master| master.epoch) {
            self.epoch_heard = (self.now, self.now);
        }
    }

    /// Remembers when the epoch of the view was heard.
    fn hear(&mut self, claims: &[Claim], epoch: u64) {
        let count = claims.iter().filter(|claim| claim.epoch >= epoch).count();
        if count > 0 {
            self.epoch_heard.0 = self.now;
        }
        if 2 * count >= claims.len() {
            self.epoch_heard.1 = self.now;
        }
    }

    fn check_move(&self, before: Option<&Master>, honest: &[Claim], lies: &[Claim]) {
        let after = self.follower.master().expect("it has moved");
        let role = self.role(&after.address);
        assert_ne!(role, Role::Replica, "a replica gets no command");
        if lies.len() < honest.len() {
            let is_named = honest.iter().any(|claim| claim.address == after.address);
            assert!(is_named, "a minority has moved the view to {after:?}: {honest:?} {lies:?}");
        }
        let Some(before) = before else { return };
        if after.epoch < before.epoch {
            let former = self.role(&before.address);
            let is_taken_over = former != Role::Master && role == Role::Master;
            let (any, half) = self.epoch_heard;
            let is_gone = self.now - any >= EPOCH_GONE || self.now - half >= OUTVOTED;
            assert!(is_taken_over || is_gone, "from {before:?} to {after:?}");
        }
    }

    /// Every pause ends, and those in vain are apart.
    fn check_pause(&mut self) {
        match (self.follower.traffic(), self.paused_since) {
            (Traffic::Paused { since }, None) => {
                assert!(
                    self.last_vain.is_none_or(|last| since - last >= Duration::from_secs(30)),
                    "too soon"
                );
                self.paused_since = Some(since);
                self.pauses += 1;
            }
            (Traffic::Paused { since }, Some(known)) if since == known => {
                assert!(self.now - since <= Duration::from_millis(6400), "it does not end");
            }
            (Traffic::Paused { since }, Some(known)) => {
                assert!(since > known);
                self.paused_since = Some(since);
                self.pauses += 1;
            }
            (Traffic::Flows, Some(since)) => {
                self.paused_since = None;
                let has_moved = self.moved_since(since);
                self.last_vain = if has_moved { self.last_vain } else { Some(since) };
            }
            (Traffic::Flows, None) => {}
        }
    }

    fn moved_since(&self, since: Instant) -> bool {
        self.last_move.is_some_and(|moved| moved >= since)
    }
}
