//! The login and the names that each leg repeats.

use std::collections::VecDeque;

use portcullis_resp::command::id;
use portcullis_resp::scan::arguments;

use crate::link::{Names, PoolKey, Preamble, Setup, Stage};

/// The state of the client's connection that every leg must have.
#[derive(Debug, Default)]
pub(super) struct Identity {
    key: PoolKey,
    name: String,
    lib_name: String,
    lib_ver: String,
    no_evict: bool,
    no_touch: bool,
}

/// A login whose reply is pending.
#[derive(Debug)]
pub(super) enum Login {
    /// AUTH. The frame is wiped when it is dropped.
    Auth(Preamble),
    /// SELECT of this database. `None`: the arguments are not one number.
    Select(Option<u32>),
    /// HELLO with this RESP version, and the name that it gives the client.
    Hello {
        /// `None`: HELLO only asks.
        resp3: Option<bool>,
        /// `None`: the name stays.
        name: Option<String>,
    },
}

impl Login {
    /// Reads the login of a frame, which is an AUTH, a HELLO or a SELECT.
    pub(super) fn of(command: portcullis_resp::command::CommandId, frame: &[u8]) -> Self {
        if command == id::AUTH {
            return Self::Auth(Preamble::of_frame(frame));
        }
        let args: Vec<&[u8]> = arguments(frame).skip(1).collect();
        if command == id::SELECT {
            let [db] = args[..] else { return Self::Select(None) };
            let number = std::str::from_utf8(db).ok().and_then(|db| db.parse().ok());
            // Servers accept no other form of a number, such as +1 or 01.
            return Self::Select(number.filter(|number: &u32| number.to_string().as_bytes() == db));
        }
        let resp3 = args.first().map(|version| *version == b"3");
        let named = args.windows(2).skip(1).find(|pair| pair[0].eq_ignore_ascii_case(b"setname"));
        Self::Hello { resp3, name: named.map(|pair| text(pair[1])) }
    }
}

impl Login {
    /// Returns whether the login asks for another RESP version than this.
    pub(super) fn changes_version(&self, now: bool) -> bool {
        matches!(self, Self::Hello { resp3: Some(resp3), .. } if *resp3 != now)
    }
}

impl Identity {
    /// Returns the state of a connection that has no state but that of its key.
    pub(super) fn of(key: PoolKey) -> Self {
        Self { key, ..Self::default() }
    }

    /// Returns the commands that set a new connection up, and their steps. `reads` says whether it leads to a replica.
    pub(super) fn setup(&self, reads: bool) -> (Vec<u8>, VecDeque<Stage>) {
        let names = Names { name: &self.name, lib_name: &self.lib_name, lib_ver: &self.lib_ver };
        let (no_evict, no_touch) = (self.no_evict, self.no_touch);
        let setup = Setup { names, no_evict, no_touch, is_read_only: reads, ..Setup::of(&self.key) };
        let (mut bytes, mut steps) = (Vec::new(), VecDeque::new());
        let mut stage = setup.first();
        while let Some(this) = stage {
            if let Some(command) = this.command(&setup) {
                bytes.extend_from_slice(&command);
                steps.push_back(this);
            }
            stage = this.next(&setup);
        }
        (bytes, steps)
    }

    /// Records RESET. The library stays, as in Redis.
    pub(super) fn reset(&mut self) {
        let Self { lib_name, lib_ver, .. } = std::mem::take(self);
        *self = Self { lib_name, lib_ver, ..Self::default() };
    }

    /// Records a login that the server accepted.
    pub(super) fn accept(&mut self, login: Login) {
        match login {
            Login::Auth(frame) => self.key.preamble = Some(frame),
            Login::Select(db) => self.key.db = db.unwrap_or(self.key.db),
            Login::Hello { resp3, name } => {
                self.key.resp3 = resp3.unwrap_or(self.key.resp3);
                if let Some(name) = name {
                    self.name = name;
                }
            }
        }
    }

    /// Returns whether the client uses RESP3.
    pub(super) const fn resp3(&self) -> bool {
        self.key.resp3
    }

    /// Returns the number of the database.
    pub(super) const fn db(&self) -> u32 {
        self.key.db
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn set_name(&mut self, name: &[u8]) {
        self.name = text(name);
    }

    /// Records CLIENT SETINFO.
    pub(super) fn set_info(&mut self, what: &[u8], value: &[u8]) {
        match what {
            _ if what.eq_ignore_ascii_case(b"lib-name") => self.lib_name = text(value),
            _ if what.eq_ignore_ascii_case(b"lib-ver") => self.lib_ver = text(value),
            _ => {}
        }
    }

    /// Records CLIENT NO-EVICT or CLIENT NO-TOUCH.
    pub(super) const fn set_mode(&mut self, is_no_evict: bool, on: bool) {
        if is_no_evict {
            self.no_evict = on;
        } else {
            self.no_touch = on;
        }
    }

    /// Returns the bytes of memory that the names occupy.
    pub(super) fn held(&self) -> usize {
        self.name.capacity() + self.lib_name.capacity() + self.lib_ver.capacity()
    }
}

/// Returns whether Redis accepts the name of a client.
pub(super) fn is_name(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_graphic)
}

/// Redis accepts only printable characters of ASCII in names, so nothing is lost.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
