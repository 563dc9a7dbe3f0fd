//! Which addresses exclude each other, and what `[::]` takes.

use std::net::SocketAddr;

use super::Listeners;
use crate::address::{AdminBind, Bind};
use crate::message::{Masked, Message, message};
use crate::problem::Position;
use crate::scope::Scope;
use crate::value::socket::Local;

/// Each takes a descriptor from the clients, and is compared with all others.
const MOST: usize = 1024;

impl Listeners<'_> {
    /// Notes addresses that two binds want, and settles which of `[::]` are for IPv6 only.
    pub(super) fn bind(&mut self, admin: Option<&AdminBind>, scope: &mut Scope) {
        let all: Vec<(Local, Position, &str)> = self
            .list
            .iter()
            .flatten()
            .flat_map(|read| read.binds.iter().map(|(bind, place)| (bind.clone(), place.clone(), read.name)))
            .collect();
        if let Some((_, place, _)) = all.get(MOST) {
            scope.problems.error(place, message!("more than {} addresses to listen on", MOST), "use fewer");
            return;
        }
        for (later, (bind, place, _)) in all.iter().enumerate() {
            if let Some((other, at, name)) = all[..later].iter().find(|(other, _, _)| collide(other, bind)) {
                let message = message!(
                    "{} conflicts with {} of listener '{}' (line {})",
                    show(bind),
                    show(other),
                    Masked::name(name),
                    at.line
                );
                scope.problems.error(place, message, "choose another address or port");
            }
        }
        let admin = admin.map(|bind| match bind {
            AdminBind::Tcp(addr) => Local::Tcp(*addr),
            AdminBind::Unix(file) => Local::Unix(file.clone()),
        });
        for (bind, place, _) in all.iter().filter(|(bind, _, _)| {
            admin.as_ref().is_some_and(|admin| collide(bind, admin) || takes_v4(admin, bind))
        }) {
            let message = message!("{} conflicts with the admin endpoint", show(bind));
            let hint = "choose another port, change admin: {bind: ...}, or write admin: off";
            scope.problems.error(place, message, hint);
        }
        let on_v4: Vec<u16> = all.iter().map(|(bind, _, _)| bind).chain(&admin).filter_map(v4_port).collect();
        for read in self.list.iter_mut().flatten() {
            let bound = read.binds.iter().map(|(bind, _)| match bind {
                Local::Unix(file) => Bind::Unix(file.clone()),
                Local::Tcp(addr) => {
                    let v6only = matches!(addr, SocketAddr::V6(v6)
                        if v6.ip().is_unspecified() && on_v4.contains(&v6.port()));
                    Bind::Tcp { addr: *addr, v6only }
                }
            });
            read.bound = Some(bound.collect());
        }
    }
}

fn v4_port(bind: &Local) -> Option<u16> {
    match bind {
        Local::Tcp(addr) => Some(addr.port()).filter(|port| addr.is_ipv4() && *port != 0),
        Local::Unix(_) => None,
    }
}

/// Whether the kernel would refuse the second of the two. `[::]` leaves IPv4 alone where IPv4 is bound too.
fn collide(one: &Local, other: &Local) -> bool {
    match (one, other) {
        (Local::Unix(one), Local::Unix(other)) => one.path() == other.path(),
        (Local::Tcp(SocketAddr::V4(one)), Local::Tcp(SocketAddr::V4(other))) => {
            let wide = one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() == other.port() && one.port() != 0 && (wide || one.ip() == other.ip())
        }
        (Local::Tcp(SocketAddr::V6(one)), Local::Tcp(SocketAddr::V6(other))) => {
            let wide = one.ip().is_unspecified() || other.ip().is_unspecified();
            let same = one.ip() == other.ip() && one.scope_id() == other.scope_id();
            one.port() == other.port() && one.port() != 0 && (wide || same)
        }
        _ => false,
    }
}

/// Whether the admin endpoint listens on `[::]`, which takes IPv4 with it, and the other one is on that port.
fn takes_v4(admin: &Local, other: &Local) -> bool {
    match admin {
        Local::Tcp(SocketAddr::V6(admin)) => {
            admin.ip().is_unspecified() && v4_port(other) == Some(admin.port())
        }
        _ => false,
    }
}

fn show(bind: &Local) -> Message {
    match bind {
        Local::Tcp(addr) => message!("{}", *addr),
        Local::Unix(file) => message!("unix:{}", Masked::path(file.path())),
    }
}
