//! The output of `netsh interface portproxy show all` or `dump`, and scripts with such commands. They have forwards,
//! but no list of clients.

mod command;
mod script;
mod table;

use std::net::IpAddr;

use portcullis_config::message::{Message, message};

use super::at::At;
use super::draft::{Admission, Door, Draft, Limits, Name, Target};
use super::notes::{Foreign, Notes};
use super::place::{self, Bind};
use command::Command;
use script::{Part, Script};
use table::Tables;

/// Imports the whole output of either command, or a script.
pub(super) fn import(text: &str, draft: &mut Draft, notes: &mut Notes) {
    let mut forwards: Vec<Forward> = Vec::new();
    let tables = Tables::of(text);
    let mut script = Script::default();
    for (line, written) in script::lines(text) {
        match tables.row(line, &written) {
            Some(Ok(forward)) => forwards.push(forward),
            Some(Err(why)) => notes.left_out(line, Foreign(&written), why),
            None if tables.is_heading(line) => {}
            None => {
                for part in script.parts(&written) {
                    apply(line, &part, &mut forwards, notes);
                }
            }
        }
    }
    for forward in forwards {
        forward.door(draft, notes);
    }
}

/// Applies a command to the list of forwards.
fn apply(line: usize, part: &Part, forwards: &mut Vec<Forward>, notes: &mut Notes) {
    match Command::read(line, part) {
        Ok(Command::Nothing) => {}
        Ok(Command::Add(forward)) => {
            forwards.retain(|other| other.bind != forward.bind);
            forwards.push(forward);
        }
        Ok(Command::Delete(bind)) => {
            let count = forwards.len();
            forwards.retain(|other| other.bind != bind);
            if forwards.len() < count {
                let text = "it removes a forward of a line before it, so that one is not carried over";
                notes.remark(line, text);
            }
        }
        Ok(Command::Reset) => {
            if !forwards.is_empty() {
                let text = "it removes the forwards of all lines before it, so they are not carried over";
                notes.remark(line, text);
            }
            forwards.clear();
        }
        Err(why) => notes.left_out(line, Foreign(&part.text), why),
    }
}

/// A forward.
#[derive(Clone, Debug)]
struct Forward {
    line: usize,
    written: String,
    bind: Bind,
    to: String,
    /// A note for the reader, if the forward needs one.
    remark: Option<&'static str>,
}

impl Forward {
    fn door(self, draft: &mut Draft, notes: &mut Notes) {
        let what = message!("the clients of '{}'", notes.quote(&self.written));
        let why = "portproxy has no list of its own, the firewall's rule for the port has it: its remote addresses belong \
                   into allow";
        notes.left_out(self.line, what, why);
        if let Some(remark) = self.remark {
            notes.remark(self.line, remark);
        }
        let door = Door {
            at: At::from(self.line),
            name: Name::Ours(format!("public-{}", self.bind.port().unwrap_or(0))),
            binds: vec![self.bind],
            upstream: Target { name: None, addresses: vec![self.to], tls: None },
            admission: Admission::none(),
            senders: None,
            tls: None,
            limits: Limits::default(),
            refusal: None,
        };
        draft.add(door, notes);
    }
}

/// The address families of a table, as in `Listen on ipv4:  Connect to ipv6:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Families {
    listen_v6: bool,
    connect_v6: bool,
}

impl Families {
    /// Reads `v4tov4`, `v4tov6`, `v6tov4` or `v6tov6`. Returns `None` for another word.
    fn of_word(word: &str) -> Option<Self> {
        let (listen_v6, connect_v6) = match word.to_ascii_lowercase().as_str() {
            "v4tov4" => (false, false),
            "v4tov6" => (false, true),
            "v6tov4" => (true, false),
            "v6tov6" => (true, true),
            _ => return None,
        };
        Some(Self { listen_v6, connect_v6 })
    }

    fn row(
        self,
        listen: &str,
        listen_port: &str,
        connect: &str,
        connect_port: &str,
    ) -> Result<(Bind, String), Message> {
        let port = place::port(listen_port).ok_or("not a port to listen on")?;
        let to_port = place::port(connect_port).ok_or("not a port to connect to")?;
        Ok((self.bind(listen, port)?, self.to(connect, to_port)?))
    }

    /// Reads the address to listen on. On Windows an IPv6 socket does not accept IPv4 connections.
    fn bind(self, address: &str, port: u16) -> Result<Bind, &'static str> {
        if address == "*" {
            return Ok(if self.listen_v6 { Bind::any_v6(port) } else { Bind::any_v4(port) });
        }
        let ip: IpAddr = address
            .parse()
            .map_err(|_| "a listener needs an address of this machine, not a name or a zone")?;
        match ip {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err("write the IPv4 address to listen on"),
            ip if ip.is_ipv6() != self.listen_v6 => {
                Err("the address to listen on is not of the family it says")
            }
            ip => Ok(Bind::tcp(ip, port)),
        }
    }

    fn to(self, address: &str, port: u16) -> Result<String, &'static str> {
        if let Ok(ip) = address.parse::<IpAddr>()
            && ip.is_ipv6() != self.connect_v6
        {
            return Err("the address to connect to is not of the family it says");
        }
        place::address(address, port).ok_or("not an address to connect to")
    }
}

#[cfg(test)]
mod tests;
