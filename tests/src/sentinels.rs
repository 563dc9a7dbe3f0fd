//! Three `redis-server --sentinel` processes that monitor the Redis of a test.

use std::fs;
use std::net::SocketAddr;

use tempfile::TempDir;

use crate::client::Client;
use crate::ports;
use crate::process::Process;
use crate::redis::Redis;
use crate::wait::{eventually, within_patience};

/// The number of sentinels. Without one of them there is still a majority.
const COUNT: usize = 3;

/// The name under which the sentinels monitor the master.
pub const MASTER: &str = "mymaster";

pub struct Sentinels {
    // Dropped before the directory: the processes must have ended when it is removed.
    processes: Vec<Process>,
    ports: Vec<u16>,
    directory: TempDir,
}

impl Sentinels {
    /// Starts sentinels that monitor `redis`. Returns after all of them have subscribed to `__sentinel__:hello`
    /// there.
    pub fn watching(redis: &Redis) -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let mut sentinels = Self { processes: Vec::new(), ports: Vec::new(), directory };
        for number in 0..COUNT {
            sentinels.start(redis, number);
        }
        let listeners = format!(r#"["__sentinel__:hello" :{COUNT}]"#);
        eventually("the sentinels listen", || {
            let listening = redis.control().call("PUBSUB NUMSUB __sentinel__:hello").to_string();
            (listening == listeners).then_some(())
        });
        sentinels
    }

    /// Returns the master's address according to each sentinel.
    pub fn masters(&self) -> Vec<String> {
        let master = |port: &u16| {
            let mut client = Client::tcp(SocketAddr::from(([127, 0, 0, 1], *port)));
            client.call(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {MASTER}")).to_string()
        };
        self.ports.iter().map(master).collect()
    }

    fn start(&mut self, redis: &Redis, number: usize) {
        let directory = self.directory.path().join(number.to_string());
        fs::create_dir(&directory).expect("the scratch directory is writable");
        // Another process may have taken the port in the meantime.
        for _ in 0..5 {
            let port = ports::free();
            let configuration = directory.join("sentinel.conf");
            let (path, upstream) = (directory.display(), redis.address());
            let password =
                redis.password().map(|p| format!("sentinel auth-pass {MASTER} {p}\n")).unwrap_or_default();
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {path}\nprotected-mode no\n\
                 sentinel monitor {MASTER} 127.0.0.1 {} 2\n{password}\
                 sentinel down-after-milliseconds {MASTER} 60000\n",
                upstream.port()
            );
            fs::write(&configuration, text).expect("the scratch directory is writable");
            let arguments = [configuration.as_os_str(), "--sentinel".as_ref()];
            let mut process = Process::start(&directory, "sentinel", "redis-server".as_ref(), arguments, &[]);
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let answers = within_patience(|| {
                process.ended().is_some() || std::net::TcpStream::connect(address).is_ok()
            });
            if answers && process.ended().is_none() {
                self.processes.push(process);
                self.ports.push(port);
                return;
            }
        }
        panic!("redis-server --sentinel does not start");
    }
}
