//! Several clients on shared connections, on servers with one store. Bytes arrive in pieces of any size, clients
//! disconnect and connections break. Each client gets the replies that it would get alone, or the beginning of them.

mod world;

use std::sync::Arc;

use proptest::prelude::*;

use self::world::World;
use super::model::{Account, Model, Rules};
use super::pair::plan;
use super::properties::{ACCOUNTS, LOGINS, USERS};
use super::script::{Command, scripts};
use super::users::Users;
use crate::{Auth, Plan};

#[derive(Clone, Copy, Debug)]
struct Setting {
    auth: Auth,
    /// The upstream's password, which the gate knows.
    password: Option<&'static str>,
}

const SETTINGS: [Setting; 3] = [
    Setting { auth: Auth::Trust, password: None },
    Setting { auth: Auth::Trust, password: Some("secret") },
    Setting { auth: Auth::Users, password: None },
];

impl Setting {
    /// Returns a Redis that behaves towards a client as the gate does.
    fn reference(self) -> Model {
        let trust = self.auth == Auth::Trust;
        let accounts: &[Account] = if trust { &[] } else { ACCOUNTS };
        Model::new(Rules { accounts, gate: true, trust, shared: true, ..Rules::default() })
    }

    fn upstream(self) -> Model {
        let accounts = if self.auth == Auth::Users { LOGINS } else { &[] };
        Model::new(Rules { password: self.password, accounts, behind_gate: true, ..Rules::default() })
    }

    fn users(self) -> Users {
        if self.auth == Auth::Users { Users::of_shared(&USERS) } else { Users::default() }
    }

    fn plan(self, users: &Users) -> Arc<Plan> {
        match self.auth {
            Auth::Users => users.plan_of(None).expect("the plan without a user"),
            _ => plan(self.auth, self.password).shared().into(),
        }
    }
}

/// A fault of a client or a connection.
#[derive(Clone, Copy, Debug)]
struct ScheduledFault {
    /// The number of events before the fault.
    at: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A client disconnects at once.
    Disconnects,
    /// A client closes its side after the commands that it has sent.
    ClosesItsSide,
    /// A shared connection breaks.
    PoolBreaks,
    /// A client's own connection breaks.
    OwnBreaks,
}

fn scheduled_faults() -> impl Strategy<Value = Vec<ScheduledFault>> {
    let fault = prop::sample::select(vec![
        Fault::Disconnects,
        Fault::Disconnects,
        Fault::ClosesItsSide,
        Fault::PoolBreaks,
        Fault::OwnBreaks,
    ]);
    prop::collection::vec((1..3000_usize, fault).prop_map(|(at, fault)| ScheduledFault { at, fault }), 0..5)
}

fn selects() -> impl Strategy<Value = Vec<(usize, Command)>> {
    let words =
        prop::sample::select(vec!["SELECT 0", "SELECT 1", "select 2", "SELECT 99", "SELECT x", "SELECT 1"]);
    let command = words.prop_map(|words| Command::new(words.split(' ').map(str::to_owned).collect()));
    prop::collection::vec((0..40_usize, command), 0..5)
}

/// Generates the commands of one client. They use keys of its own, with a SELECT now and then.
fn lines() -> impl Strategy<Value = Vec<Command>> {
    (scripts(), selects()).prop_map(|(mut script, selects)| {
        for (place, select) in selects {
            script.insert(place.min(script.len()), select);
        }
        script
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1000)))]

    #[test]
    fn each_client_gets_the_replies_that_it_would_get_alone(
        lines in prop::collection::vec(lines(), 2..5),
        setting in prop::sample::select(&SETTINGS[..]),
        scheduled_faults in scheduled_faults(),
        seed in 1..u64::MAX,
        most in 16..2048_usize,
    ) {
        let mut world = World::new(setting, &lines, seed, most);
        world.run(&scheduled_faults);
        world.check();
        world.end_leases();
    }
}
