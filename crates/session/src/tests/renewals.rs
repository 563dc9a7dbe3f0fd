//! The rules change at random times. The gate forwards only commands that the rules in force allow. Queued commands run
//! only under the rules that allowed them.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::model::{Model, Rules};
use super::pair::{Pair, plan};
use super::script::{Command, scripts};
use super::users::rules;
use crate::{Auth, Plan, Standing};

/// The two plans. Each renewal changes from one to the other; the first is in force at the start.
static PLANS: LazyLock<[Arc<Plan>; 2]> = LazyLock::new(|| {
    ["+@all", "+@all -set -rpush"]
        .map(|acl| Arc::new(plan(Auth::Trust, Some("secret")).with_rules(rules(Some(acl)))))
});

const REFUSED_BY_ONE_PLAN: [&str; 2] = ["set", "rpush"];

proptest! {
    #[test]
    fn commands_that_a_reload_forbids_are_not_forwarded(
        script in scripts(),
        steps in prop::collection::vec((1..200_usize, 1..200_usize, any::<bool>()), 1..60),
    ) {
        let mut world = World::new(&script);
        for (to_gate, to_upstream, renew) in steps {
            if renew {
                world.renew();
            }
            world.turn(to_gate, to_upstream);
        }
        while !world.client.is_empty() && world.pair.closed.is_none() {
            world.turn(usize::MAX, usize::MAX);
        }
        world.check();
    }
}

struct World {
    pair: Pair,
    upstream: Model,
    client: Vec<u8>,
    /// All forwarded bytes.
    sent: Vec<u8>,
    /// The number of forwarded bytes at each renewal.
    renewed_at: Vec<usize>,
}

impl World {
    fn new(script: &[Command]) -> Self {
        let mut pair = Pair::sharing(Arc::clone(&PLANS[0]));
        pair.connect();
        let rules = Rules { password: Some("secret"), behind_gate: true, ..Rules::default() };
        // Redis may refuse a MULTI in subscriber mode, and then an EXEC does not end a transaction.
        let subscribes = |command: &Command| command.words[0].to_ascii_uppercase().ends_with("SUBSCRIBE");
        let client = script.iter().filter(|command| !subscribes(command)).flat_map(Command::bytes).collect();
        Self { pair, upstream: Model::new(rules), client, sent: Vec::new(), renewed_at: Vec::new() }
    }

    fn renew(&mut self) {
        self.renewed_at.push(self.sent.len());
        let plan = &PLANS[self.renewed_at.len() % 2];
        assert_eq!(
            self.pair.session.renew(self.pair.link.subscribed(), |_| Some(Arc::clone(plan))),
            Standing::Stays
        );
    }

    fn turn(&mut self, to_gate: usize, to_upstream: usize) {
        let n = to_gate.min(self.client.len());
        self.pair.client_input.extend(self.client.drain(..n));
        self.pair.settle();
        self.collect();
        let n = to_upstream.min(self.upstream.output.len());
        self.pair.upstream_input.extend(self.upstream.output.drain(..n));
        self.pair.settle();
        self.collect();
    }

    fn collect(&mut self) {
        self.upstream.feed(&self.pair.sent);
        self.sent.append(&mut self.pair.sent);
    }

    fn check(&self) {
        assert!(!self.pair.desync);
        // The number of renewals before the byte at `offset` was forwarded. The first byte of a frame counts for the
        // whole frame.
        let generation = |offset: usize| self.renewed_at.iter().filter(|at| **at <= offset).count();
        let mut queued: Option<Vec<usize>> = None;
        for (offset, name, alone) in frames(&self.sent) {
            let now = generation(offset);
            let refused = REFUSED_BY_ONE_PLAN.contains(&&*name);
            assert!(
                now % 2 == 0 || !refused,
                "{name} forwarded at {offset}, renewed at {:?}",
                self.renewed_at
            );
            match &*name {
                "multi" if alone => {
                    queued.get_or_insert_default();
                }
                "discard" | "reset" if alone => queued = None,
                "exec" => {
                    let ran = queued.take().filter(|_| alone).unwrap_or_default();
                    let same = ran.iter().all(|then| *then == now);
                    assert!(same, "EXEC at {offset}, renewed at {:?}", self.renewed_at);
                }
                _ if refused => queued.iter_mut().for_each(|queued| queued.push(now)),
                _ => {}
            }
        }
    }
}

/// Returns the frames of a canonical stream: the offset, the name, and whether the frame has only a name. The last
/// frame may be incomplete.
fn frames(stream: &[u8]) -> Vec<(usize, String, bool)> {
    let mut found = Vec::new();
    let mut at = 0;
    let line = |at: usize| {
        let end = stream.get(at..)?.windows(2).position(|two| two == b"\r\n")?;
        let number: usize = std::str::from_utf8(&stream[at + 1..at + end]).ok()?.parse().ok()?;
        Some((number, at + end + 2))
    };
    while let Some((count, mut next)) = line(at) {
        for argument in 0..count {
            let Some((len, body)) = line(next) else { return found };
            if argument == 0 {
                let name = stream.get(body..body + len).unwrap_or_default();
                found.push((at, String::from_utf8_lossy(name).to_ascii_lowercase(), count == 1));
            }
            next = body + len + 2;
        }
        at = next;
    }
    found
}
