//! A sentinel that names the master that a test chooses, with the epoch that a test chooses.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fake::{Answer, Fake, bulk};
use crate::sentinels::MASTER;

pub struct FakeSentinel {
    fake: Fake,
    named: Arc<Mutex<Named>>,
}

/// The master that the sentinel names, and the epoch of its configuration.
#[derive(Clone)]
struct Named {
    /// `HOST:PORT`.
    master: String,
    epoch: u64,
}

/// The SUBSCRIBE of the proxy.
const SUBSCRIBE: &str = "SUBSCRIBE +failover-state-send-slaveof-noone +promoted-slave +switch-master";

impl FakeSentinel {
    pub fn naming(master: impl Display, epoch: u64) -> Self {
        let master = master.to_string();
        let named = Arc::new(Mutex::new(Named { master, epoch }));
        let known = Arc::clone(&named);
        let fake = Fake::start(move |words| answer(words, lock(&known).clone()));
        Self { fake, named }
    }

    /// Names another master from now on.
    pub fn name(&self, master: impl Display, epoch: u64) {
        *lock(&self.named) = Named { master: master.to_string(), epoch };
    }

    /// Sends a message to the proxies that are subscribed.
    pub fn publish(&self, channel: &str, text: &str) {
        let message = [b"*3\r\n".to_vec(), bulk("message"), bulk(channel), bulk(text)].concat();
        for connection in self.fake.connections_with(SUBSCRIBE) {
            self.fake.send(connection, &message);
        }
    }

    pub fn address(&self) -> String {
        self.fake.address()
    }
}

fn lock(named: &Mutex<Named>) -> MutexGuard<'_, Named> {
    named.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(words: &[&str], named: Named) -> Option<Answer> {
    let words: Vec<String> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (host, port) = named.master.rsplit_once(':').expect("an address with a port");
    let epoch = named.epoch.to_string();
    match words[..] {
        ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", _] => Some(Answer::Bytes(array(&[host, port]))),
        ["SENTINEL", "MASTER", _] => Some(Answer::Bytes(array(&[
            "name",
            MASTER,
            "ip",
            host,
            "port",
            port,
            "flags",
            "master",
            "role-reported",
            "master",
            "config-epoch",
            &epoch,
            "num-slaves",
            "0",
            "num-other-sentinels",
            "2",
            "quorum",
            "2",
        ]))),
        ["SUBSCRIBE" | "PSUBSCRIBE", ref channels @ ..] => {
            let kind = words[0].to_ascii_lowercase();
            let confirmation = |(place, channel): (usize, &&str)| {
                let channel = channel.to_ascii_lowercase();
                [b"*3\r\n".to_vec(), bulk(&kind), bulk(&channel), format!(":{}\r\n", place + 1).into_bytes()]
                    .concat()
            };
            Some(Answer::Bytes(channels.iter().enumerate().flat_map(confirmation).collect()))
        }
        ["ROLE"] => Some(Answer::Bytes([b"*2\r\n".to_vec(), bulk("sentinel"), array(&[MASTER])].concat())),
        _ => None,
    }
}

fn array(texts: &[&str]) -> Vec<u8> {
    let header = format!("*{}\r\n", texts.len()).into_bytes();
    header.into_iter().chain(texts.iter().flat_map(|text| bulk(text))).collect()
}
