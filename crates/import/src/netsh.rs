//! `netsh interface portproxy show all` and `netsh interface portproxy dump`: forwards, without any list of clients.

use std::net::IpAddr;

use portcullis_config::message::message;

use super::draft::{Door, Draft};
use super::express::Lists;
use super::notes::{Foreign, Notes};
use super::place::{self, Bind};

/// Reads the whole output of either command, or a script of `netsh interface portproxy add` lines.
pub(super) fn import(text: &str, draft: &mut Draft, notes: &mut Notes) {
    let mut table = Families { listen_v6: false, connect_v6: false };
    for (line, whole) in (1..).zip(text.lines()) {
        let written = whole.trim();
        let words: Vec<&str> = written.split_whitespace().collect();
        if let Some(header) = Families::of_header(&words) {
            table = header;
            continue;
        }
        let forward = match words.as_slice() {
            [] => continue,
            ["#", ..] | ["pushd" | "popd" | "reset" | "exit" | "rem" | "REM", ..] => continue,
            [first, ..] if first.starts_with(['#', '-']) => continue,
            words if words.iter().any(|word| word.eq_ignore_ascii_case("add")) => added(words),
            [listen, listen_port, connect, connect_port] if place::port(connect_port).is_some() => {
                table.row(listen, listen_port, connect, connect_port)
            }
            // The heading over the columns, in whatever language.
            [_, _, _, _] => continue,
            _ => Err("not a line of 'show all' or 'dump'"),
        };
        match forward {
            Ok((bind, to)) => add(line, written, bind, to, draft, notes),
            Err(why) => notes.left_out(line, Foreign(written), why),
        }
    }
}

fn add(line: usize, written: &str, bind: Bind, to: String, draft: &mut Draft, notes: &mut Notes) {
    let door = Door {
        line,
        name: format!("public-{}", bind.port().unwrap_or(0)),
        binds: vec![bind],
        upstream: (None, vec![to]),
        lists: Lists::default(),
        refusal: None,
    };
    draft.add(door, notes);
    let what = message!("the clients of '{}'", notes.quote(written));
    let why = "portproxy has no list of its own, the firewall's rule for the port has it: its remote addresses belong \
               into allow";
    notes.left_out(line, what, why);
}

/// What a table is about: `Listen on ipv4:  Connect to ipv6:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Families {
    listen_v6: bool,
    connect_v6: bool,
}

impl Families {
    /// Other languages keep the words `ipv4:` and `ipv6:`.
    fn of_header(words: &[&str]) -> Option<Self> {
        let family = |word: &&str| match word.to_ascii_lowercase().as_str() {
            "ipv4:" => Some(false),
            "ipv6:" => Some(true),
            _ => None,
        };
        match words.iter().filter_map(family).collect::<Vec<_>>().as_slice() {
            [listen_v6, connect_v6] => Some(Self { listen_v6: *listen_v6, connect_v6: *connect_v6 }),
            _ => None,
        }
    }

    /// `v4tov6` and its three sisters.
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

    fn row(self, listen: &str, listen_port: &str, connect: &str, connect_port: &str) -> Forward {
        let port = place::port(listen_port).ok_or("not a port to listen on")?;
        let to_port = place::port(connect_port).ok_or("not a port to connect to")?;
        Ok((self.bind(listen, port)?, self.to(connect, to_port)?))
    }

    /// On Windows a socket for IPv6 takes no IPv4.
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

type Forward = Result<(Bind, String), &'static str>;

/// `add v4tov4 listenport=6379 connectaddress=10.0.0.5 ...`, with or without `netsh interface portproxy` before it.
fn added(words: &[&str]) -> Forward {
    let at = words.iter().position(|word| word.eq_ignore_ascii_case("add")).unwrap_or(0);
    let families = words.get(at + 1).and_then(|word| Families::of_word(word));
    let families = families.ok_or("not one of v4tov4, v4tov6, v6tov4 and v6tov6")?;
    let (mut listen, mut listen_port, mut connect, mut connect_port) = ("*", None, None, None);
    for word in &words[at + 2..] {
        let (key, value) = word.split_once('=').ok_or("not written as name=value")?;
        match key.to_ascii_lowercase().as_str() {
            "listenaddress" => listen = value,
            "listenport" => listen_port = Some(value),
            "connectaddress" => connect = Some(value),
            "connectport" => connect_port = Some(value),
            "protocol" if value.eq_ignore_ascii_case("tcp") => {}
            "protocol" => return Err("the gate forwards TCP only"),
            _ => return Err("portproxy has no such parameter"),
        }
    }
    let listen_port = listen_port.ok_or("there is no listenport")?;
    // As netsh itself fills in what is left out.
    let this_machine = if families.connect_v6 { "::1" } else { "127.0.0.1" };
    families.row(listen, listen_port, connect.unwrap_or(this_machine), connect_port.unwrap_or(listen_port))
}

#[cfg(test)]
mod tests;
