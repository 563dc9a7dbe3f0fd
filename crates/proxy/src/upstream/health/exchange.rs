//! Sends commands to a server, and reads its replies, on a connection that serves no client.

use std::future::poll_fn;
use std::io::{self, IoSlice};

use portcullis_config::Credentials;
use portcullis_config::tls::TlsFault;
use portcullis_resp::encode;
use portcullis_resp::scan::{Reply, ReplyScanner};
use portcullis_resp::value::{self, Value};
use secrecy::ExposeSecret;

use super::fault::{self, Answer, Fault};
use crate::net::stream::Stream;

/// The limit of received bytes. Replies to these commands have at most a few kilobytes; a longer answer does not come
/// from Redis.
const MAX_REPLIES: usize = 64 << 10;
/// The most bytes of a reply about a cluster. CLUSTER SLOTS has up to 16,384 ranges, each with all replicas.
pub(crate) const MAX_CLUSTER_REPLY: usize = 16 << 20;
const READ: usize = 4 << 10;

/// The first bytes of a TLS alert: the content type, and the major version that SSL 3.0 to TLS 1.3 have in common.
const TLS_ALERT: &[u8] = &[0x15, 0x03];

/// Writes AUTH.
pub(crate) fn write_login(out: &mut Vec<u8>, credentials: &Credentials) {
    let password = credentials.password().expose_secret().as_bytes();
    match credentials.username() {
        Some(username) => encode::command(out, &[b"AUTH", username.as_bytes(), password]),
        None => encode::command(out, &[b"AUTH", password]),
    }
}

/// Checks the reply to AUTH.
///
/// # Errors
/// The server refuses the login.
pub(crate) fn login(reply: &Value) -> Result<(), Fault> {
    match reply {
        Value::Status(text) if text == b"OK" => Ok(()),
        Value::Error(line) => Err(Fault::Answer(fault::login_error(line))),
        _ => Err(Fault::Answer(Answer::NotRedis)),
    }
}

/// Returns the fault of a connection that failed after it was made. `shows_certificate`: whether the proxy has a
/// certificate of its own for this server.
pub(crate) fn lost(error: io::Error, shows_certificate: bool) -> Fault {
    match error.downcast::<TlsFault>() {
        Ok(fault) => Fault::Broken { fault, shows_certificate },
        Err(error) => Fault::Lost(error),
    }
}

/// Reads replies one after another. A call of [`Self::next`] that is dropped loses nothing.
#[derive(Debug)]
pub(crate) struct Replies {
    buffer: Vec<u8>,
    answered: bool,
    /// The most bytes that may wait.
    most: usize,
}

impl Default for Replies {
    fn default() -> Self {
        Self::up_to(MAX_REPLIES)
    }
}

impl Replies {
    /// Reads replies of at most this length.
    pub(crate) const fn up_to(most: usize) -> Self {
        Self { buffer: Vec::new(), answered: false, most }
    }

    /// Returns the next reply.
    ///
    /// # Errors
    /// The connection ends, or the peer does not speak RESP.
    pub(crate) async fn next(&mut self, stream: &mut Stream) -> Result<Value, Fault> {
        value::decode(&self.frame(stream).await?).map_err(|_| Fault::Answer(Answer::NotRedis))
    }

    /// Returns the bytes of the next reply.
    ///
    /// # Errors
    /// The connection ends, or the peer does not speak RESP.
    pub(crate) async fn frame(&mut self, stream: &mut Stream) -> Result<Vec<u8>, Fault> {
        let mut scanner = ReplyScanner::new();
        loop {
            if let Some(frame) = self.whole(&mut scanner)? {
                self.answered = true;
                return Ok(frame);
            }
            self.read(stream).await?;
            if !self.answered && self.buffer.starts_with(TLS_ALERT) {
                return Err(Fault::Tls { alert: true });
            }
        }
    }

    /// Returns whether the server has sent nothing after the last reply.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    fn whole(&mut self, scanner: &mut ReplyScanner) -> Result<Option<Vec<u8>>, Fault> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        match scanner.next(&self.buffer).map_err(|_| Fault::Answer(fault::other_protocol(&self.buffer)))? {
            Reply::Whole { len, .. } => Ok(Some(self.buffer.drain(..len.min(self.buffer.len())).collect())),
            _ if self.buffer.len() > self.most => Err(Fault::Answer(Answer::NotRedis)),
            _ => Ok(None),
        }
    }

    async fn read(&mut self, stream: &mut Stream) -> Result<(), Fault> {
        let mut chunk = [0; READ];
        let read = poll_fn(|cx| stream.poll_read(cx, &mut chunk)).await;
        let silent = !self.answered && self.buffer.is_empty();
        match read {
            Ok(n @ 1..) => {
                self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
                Ok(())
            }
            // A TLS server closes a plain text connection, with or without an alert.
            Ok(_) if silent && !stream.is_tls() => Err(Fault::Tls { alert: false }),
            Err(error) if silent && !stream.is_tls() && error.kind() == io::ErrorKind::ConnectionReset => {
                Err(Fault::Tls { alert: false })
            }
            Ok(_) => Err(Fault::Lost(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(Fault::Lost(error)),
        }
    }
}

/// Writes all bytes.
///
/// # Errors
/// The connection fails.
pub(crate) async fn write_all(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(bytes)])).await?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(n..).unwrap_or_default();
    }
    Ok(())
}
