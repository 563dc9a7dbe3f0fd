//! A private redis-server.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use crate::client::Client;

pub(crate) struct Server {
    process: Child,
    socket: PathBuf,
    _dir: TempDir,
}

impl Server {
    /// Starts a server; `options` are arguments of redis-server (`--requirepass`, `x`).
    pub(crate) fn start(options: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("redis.sock");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(dir.path())
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need redis-server in the PATH (Debian: apt-get install redis-server)");
        let server = Self { process, socket, _dir: dir };
        server.wait();
        server
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(UnixStream::connect(&self.socket).unwrap())
    }

    fn wait(&self) {
        for _ in 0..500 {
            if UnixStream::connect(&self.socket).is_ok() {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not listen on {}", self.socket.display());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
