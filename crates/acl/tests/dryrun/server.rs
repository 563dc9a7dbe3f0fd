//! A private redis-server and a client that pipelines.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use portcullis_resp::encode;
use portcullis_resp::scan::{Reply, ReplyScanner};
use portcullis_resp::value::{self, Value};
use tempfile::TempDir;

pub(crate) struct Server {
    process: Child,
    socket: PathBuf,
    _dir: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("redis.sock");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need redis-server in the PATH (Debian: apt-get install redis-server)");
        Self { process, socket, _dir: dir }
    }

    pub(crate) fn connect(&self) -> Client {
        for _ in 0..500 {
            if let Ok(stream) = UnixStream::connect(&self.socket) {
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                return Client { stream, buf: Vec::new() };
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

pub(crate) struct Client {
    stream: UnixStream,
    buf: Vec<u8>,
}

impl Client {
    pub(crate) fn call(&mut self, args: &[&[u8]]) -> Value {
        let mut frame = Vec::new();
        encode::command(&mut frame, args);
        self.send(&frame);
        self.replies(1).remove(0)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next `count` replies.
    pub(crate) fn replies(&mut self, count: usize) -> Vec<Value> {
        let mut replies = Vec::with_capacity(count);
        let mut scanner = ReplyScanner::new();
        let mut taken = 0;
        while replies.len() < count {
            let unread = &self.buf[taken..];
            if let Reply::Whole { len, .. } = scanner.next(unread).unwrap() {
                // The scanner may combine neighbouring replies: each begins where the last one ended.
                let mut rest = &unread[..len];
                while !rest.is_empty() {
                    let Ok(Reply::Whole { len, .. }) = ReplyScanner::new().next(rest) else {
                        panic!("not a reply")
                    };
                    replies.push(value::decode(&rest[..len]).unwrap());
                    rest = &rest[len..];
                }
                taken += len;
                continue;
            }
            let mut piece = [0; 64 * 1024];
            let read = self.stream.read(&mut piece).unwrap();
            assert!(read > 0, "the server closed the connection");
            self.buf.extend_from_slice(&piece[..read]);
        }
        self.buf.drain(..taken);
        replies
    }
}
