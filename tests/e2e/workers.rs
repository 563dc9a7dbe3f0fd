//! Each worker has its share of the clients, however often clients connect and disconnect.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use e2e::client::command;
use e2e::{Authority, Client, Gate, Redis, eventually};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

fn sessions(gate: &Gate, workers: usize) -> Vec<f64> {
    (0..workers).map(|worker| gate.metric("worker_sessions", &[("worker", &worker.to_string())])).collect()
}

/// Waits until there are `clients` clients. Checks that no worker has more than `more` clients more than another.
#[track_caller]
fn assert_shares(gate: &Gate, workers: usize, clients: usize, more: f64) {
    let (mut has, due) = (Vec::new(), f64::from(u32::try_from(clients).expect("few")));
    eventually(&format!("all of {clients} clients are counted"), || {
        has = sessions(gate, workers);
        (has.iter().sum::<f64>() == due).then_some(())
    });
    let (most, least) = has.iter().fold((0.0, due), |(most, least), n| (n.max(most), n.min(least)));
    assert!(most - least <= more, "{has:?}");
}

fn served(gate: &Gate) -> Client {
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    client
}

/// The clients of one worker disconnect, and other clients connect.
#[test]
fn clients_that_come_and_go() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).top("workers: 3").start();
    let mut clients: Vec<_> = (0..150).map(|_| served(&gate)).collect();
    assert_shares(&gate, 3, 150, 1.0);
    let mut number = 0;
    clients.retain(|_| {
        number += 1;
        number % 3 != 0
    });
    eventually("the clients have disconnected", || {
        (sessions(&gate, 3).iter().sum::<f64>() == 100.0).then_some(())
    });
    clients.extend((0..50).map(|_| served(&gate)));
    assert_shares(&gate, 3, 150, 1.0);
}

/// Some connections are not sessions yet when the next connections are accepted.
#[test]
fn a_rush_of_handshakes() {
    let (redis, ca) = (Redis::plain(), Authority::new("ca"));
    let gate = Gate::before(&redis).tls(&ca.server(), "").top("workers: 2").start();
    let mut rush = Vec::new();
    while rush.len() < 20 {
        rush.push(TcpStream::connect(gate.address()).expect("a listening socket"));
        // The connections are made one by one, because the acceptor distributes the connections of one batch in any
        // case.
        let due = f64::from(u32::try_from(rush.len()).expect("few"));
        eventually("the connection is accepted", || {
            (gate.metric("connections_accepted_total", &[]) == due).then_some(())
        });
    }
    let trusts = ca.client();
    let clients: Vec<_> = rush.into_iter().map(|socket| greet(socket, &trusts)).collect();
    assert_shares(&gate, 2, clients.len(), 1.0);
}

/// Sends PING over TLS, so that the socket becomes a client.
fn greet(socket: TcpStream, trusts: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = ClientConnection::new(Arc::clone(trusts), name).expect("a good configuration");
    let mut client = StreamOwned::new(tls, socket);
    let mut answer = [0; 7];
    client.write_all(&command("PING")).expect("a handshake");
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, *b"+PONG\r\n");
    client
}
