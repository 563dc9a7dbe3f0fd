//! A client that returns replies as bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use portcullis_resp::encode;
use portcullis_resp::scan::{Reply, ReplyScanner};
use portcullis_resp::value::{self, Value};

pub(crate) struct Client {
    stream: UnixStream,
    buf: Vec<u8>,
}

impl Client {
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream, buf: Vec::new() }
    }

    pub(crate) fn call(&mut self, args: &[&str]) -> Value {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        self.call_bytes(&args)
    }

    pub(crate) fn call_bytes(&mut self, args: &[&[u8]]) -> Value {
        let mut frame = Vec::new();
        encode::command(&mut frame, args);
        self.send(&frame);
        self.value()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next reply.
    pub(crate) fn value(&mut self) -> Value {
        value::decode(&self.frame()).unwrap()
    }

    /// The bytes of the next reply.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        let mut scanner = ReplyScanner::new();
        loop {
            if let Reply::Whole { len, .. } = scanner.next(&self.buf).unwrap() {
                return self.buf.drain(..len).collect();
            }
            let mut piece = [0; 16 * 1024];
            let read = self.stream.read(&mut piece).unwrap();
            assert!(read > 0, "closed after {:?}", self.buf.escape_ascii().to_string());
            self.buf.extend_from_slice(&piece[..read]);
        }
    }

    /// Sends all bytes, and returns everything that the server sends until it closes the connection.
    pub(crate) fn send_until_closed(mut self, bytes: &[u8]) -> Vec<u8> {
        // A server that refuses a frame closes without reading the rest, so the write may fail. Only the reply
        // counts.
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut said = Vec::new();
        match self.stream.read_to_end(&mut said) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        said
    }
}
