//! TLS over a connected socket.
//!
//! rustls keeps the state of the protocol. This module holds records only while they are incomplete or cannot be
//! written. Complete records pass through buffers that all streams of a thread share, so an idle stream holds no
//! buffer.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use portcullis_config::tls::TlsFault;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};

use super::Handshake::{self, Done, Unfinished};
use super::Stream;

/// The largest record on the wire: header, 16 KiB, and the overhead that TLS 1.2 allows (RFC 5246, 6.2.3).
const MAX_RECORD: usize = 5 + 16 * 1024 + 2048;
/// The most plaintext in one record.
const MAX_PLAIN: usize = 16 * 1024;

/// The overhead of a record: header, tag, nonce and content type, and a key update that may precede it.
const OVERHEAD: usize = 256;

/// The limit on received bytes that are kept. A handshake message has at most 64 KiB, and may come in many fragments.
const MAX_HELD: usize = 128 * 1024;

/// The TLS of one connection. When dropped, it sends `close_notify`, so that the peer knows that the end is intended.
pub(crate) struct TlsStream {
    socket: Stream,
    machine: Machine,
    /// Received bytes that were not decrypted: a part of a record, or records for which the last read had no room.
    held: Vec<u8>,
    /// Whether `held` may contain a complete record.
    more: bool,
    /// Decrypted bytes. The bytes from `taken` on were not read yet.
    plain: Vec<u8>,
    taken: usize,
    /// Bytes to write. The bytes from `sent` on were not written yet.
    out: Vec<u8>,
    sent: usize,
    /// The number of bytes of plaintext in `out`. They count as written when all of `out` is written.
    accepted: usize,
    ended: bool,
    fault: Option<Error>,
    /// Whether no more bytes are to be sent: `close_notify` was sent, or the connection is reset.
    parted: bool,
    /// Whether received bytes are discarded, so that they need not be decrypted.
    deaf: bool,
}

enum Machine {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// The data to send once the machine is ready to encrypt.
#[derive(Clone, Copy)]
enum Say<'a> {
    Nothing,
    Data(&'a [u8]),
    Goodbye,
}

/// The state after a step of the machine.
enum Turn {
    /// The machine can continue with the data it has.
    Again,
    /// The machine has decrypted a record.
    Plain,
    /// The handshake needs more input.
    Blocked,
    /// The handshake is complete, and all input was used.
    Open,
    /// The peer has ended its data.
    Ended,
}

/// The destination of the output of a step.
struct Sink<'a> {
    into: &'a mut [u8],
    filled: usize,
    /// The output that does not fit into `into`.
    spill: &'a mut Vec<u8>,
    out: &'a mut Vec<u8>,
}

/// The buffers that all streams of a thread use in turn.
#[derive(Default)]
struct Scratch {
    input: Vec<u8>,
    gathered: Vec<u8>,
    output: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl TlsStream {
    /// Creates the server's end. `first` are bytes that were read from the socket already.
    ///
    /// # Errors
    /// rustls refuses the configuration.
    pub(crate) fn server(socket: Stream, config: Arc<ServerConfig>, first: Vec<u8>) -> Result<Self, Error> {
        Ok(Self::new(socket, Machine::Server(UnbufferedServerConnection::new(config)?), first))
    }

    /// Creates the client's end.
    ///
    /// # Errors
    /// rustls refuses the configuration.
    pub(crate) fn client(
        socket: Stream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Error> {
        Ok(Self::new(socket, Machine::Client(UnbufferedClientConnection::new(config, name)?), Vec::new()))
    }

    fn new(socket: Stream, machine: Machine, held: Vec<u8>) -> Self {
        Self {
            socket,
            machine,
            held,
            more: false,
            plain: Vec::new(),
            taken: 0,
            out: Vec::new(),
            sent: 0,
            accepted: 0,
            ended: false,
            fault: None,
            parted: false,
            deaf: false,
        }
    }

    /// Continues the handshake with the received bytes, and prepares the bytes to send.
    ///
    /// # Errors
    /// The peer violates the protocol, or refuses the proxy. The bytes to send include an alert for the peer.
    pub(crate) fn shake_hands(&mut self) -> Result<Handshake, Error> {
        loop {
            let mut sink = Sink { into: &mut [], filled: 0, spill: &mut self.plain, out: &mut self.out };
            let (used, turn) = self.machine.step(&mut self.held, Say::Nothing, &mut sink);
            self.held.drain(..used.min(self.held.len()));
            match turn {
                Ok(Turn::Again) => {}
                Ok(Turn::Plain) => {
                    self.more = true;
                    self.held.shrink_to_fit();
                    return Ok(Done);
                }
                Ok(Turn::Blocked) if self.held.len() > MAX_HELD => return Err(too_long()),
                Ok(Turn::Blocked) => return Ok(Unfinished),
                Ok(Turn::Open) => {
                    self.held.shrink_to_fit();
                    return Ok(if self.state().is_handshaking() { Unfinished } else { Done });
                }
                Ok(Turn::Ended) => {
                    self.ended = true;
                    return Err(Error::AlertReceived(rustls::AlertDescription::CloseNotify));
                }
                Err(error) => {
                    self.fail(&error);
                    return Err(error);
                }
            }
        }
    }

    /// Writes the bytes of the handshake.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx)
    }

    /// Reads more of the handshake. Returns the number of bytes read; 0 is the end of the stream.
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        with_scratch(|scratch| {
            let room = scratch.input_of(MAX_RECORD);
            let n = ready!(self.socket.poll_read(cx, room))?;
            self.held.extend_from_slice(room.get(..n).unwrap_or_default());
            Poll::Ready(Ok(n))
        })
    }

    /// Returns the peer's certificates, its own first.
    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.state().peer_certificates()
    }

    /// Returns whether the received bytes begin with one of these content types, or there are none.
    pub(crate) fn begins_with(&self, content_types: std::ops::RangeInclusive<u8>) -> bool {
        self.held.first().is_none_or(|first| content_types.contains(first))
    }

    /// Ready when a read would not wait, or may have to wait for the rest of a record.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.more || self.ended || self.fault.is_some() || self.taken < self.plain.len() {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_readable(cx)
    }

    /// Reads plaintext. 0 is the end of the stream. The relay treats an end without `close_notify` in the same way.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return self.socket.poll_read(cx, into);
        }
        // These bytes are a response of rustls itself. Data is sent by the function that writes it.
        if self.accepted == 0 && !self.out.is_empty() {
            let _ = self.poll_out(cx)?;
        }
        loop {
            let n = self.take_plain(into);
            if n > 0 || into.is_empty() {
                return Poll::Ready(Ok(n));
            }
            self.check()?;
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            let n = ready!(with_scratch(|scratch| self.poll_decrypt(cx, into, &mut scratch.input)))?;
            if n > 0 {
                return Poll::Ready(Ok(n));
            }
        }
    }

    /// Writes bytes of `slices`. If the result is pending, the same bytes must follow: they are encrypted already.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_out(cx))?;
        if self.accepted > 0 {
            return Poll::Ready(Ok(std::mem::take(&mut self.accepted)));
        }
        self.check()?;
        with_scratch(|scratch| {
            let Scratch { gathered, output, .. } = scratch;
            let chunk = gather(slices, gathered);
            self.encrypt(Say::Data(chunk), output)?;
            if self.poll_rest(cx, output)?.is_pending() {
                self.accepted = chunk.len();
                return Poll::Pending;
            }
            Poll::Ready(Ok(chunk.len()))
        })
    }

    /// Sends bytes that are encrypted already, as [`Stream::push`] does.
    pub(super) fn push(&mut self) -> Option<usize> {
        self.sent += self.socket.push(&self.out[self.sent..])?;
        Some(if self.sent < self.out.len() { 0 } else { std::mem::take(&mut self.accepted) })
    }

    /// Returns whether the peer has closed its side, even if bytes before the end are still unread.
    pub(super) fn peer_closed(&self) -> bool {
        self.ended || self.socket.peer_closed()
    }

    pub(super) const fn socket(&self) -> &Stream {
        &self.socket
    }

    pub(super) fn reset_on_close(&mut self) {
        self.parted = true;
        self.socket.reset_on_close();
    }

    /// Tells the peer that no more bytes follow.
    pub(super) fn close_write(&mut self) {
        self.part();
        self.deaf = true;
        self.socket.close_write();
    }

    /// Returns the bytes of memory besides those of every TLS connection.
    pub(super) fn held(&self) -> usize {
        self.held.capacity() + self.plain.capacity() + self.out.capacity()
    }

    /// Sends `close_notify`, if the socket takes it at once. Without it, the end looks like an attack.
    fn part(&mut self) {
        if self.parted || self.fault.is_some() || self.state().is_handshaking() || !self.out.is_empty() {
            return;
        }
        self.parted = true;
        let mut cx = Context::from_waker(Waker::noop());
        let mut output = Vec::new();
        if self.encrypt(Say::Goodbye, &mut output).is_ok() {
            // If the alert cannot be written, the close tells the peer.
            let _ = self.socket.poll_write(&mut cx, &[IoSlice::new(&output)]);
        }
    }

    fn take_plain(&mut self, into: &mut [u8]) -> usize {
        let waiting = self.plain.get(self.taken..).unwrap_or_default();
        let n = waiting.len().min(into.len());
        into[..n].copy_from_slice(&waiting[..n]);
        self.taken += n;
        if self.taken >= self.plain.len() {
            self.plain = Vec::new();
            self.taken = 0;
        }
        n
    }

    /// Decrypts into `into` as much as has room there. Reads once first, unless a complete record is there already.
    fn poll_decrypt(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
        input: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let mut end = self.held.len();
        let size = MAX_RECORD.max(end + OVERHEAD);
        if input.len() < size {
            input.resize(size, 0);
        }
        input[..end].copy_from_slice(&self.held);
        if !self.more {
            let n = ready!(self.socket.poll_read(cx, &mut input[end..size]))?;
            if n == 0 {
                self.ended = true;
                return Poll::Ready(Ok(0));
            }
            end += n;
        }
        let (mut at, mut filled) = (0, 0);
        self.more = loop {
            let mut sink = Sink { into: &mut *into, filled, spill: &mut self.plain, out: &mut self.out };
            let (used, turn) = self.machine.step(&mut input[at..end], Say::Nothing, &mut sink);
            filled = sink.filled;
            at = (at + used).min(end);
            match turn {
                Ok(Turn::Again) => {}
                Ok(Turn::Plain) if filled == into.len() || !self.plain.is_empty() => break true,
                Ok(Turn::Plain) => {}
                Ok(Turn::Blocked | Turn::Open) => break false,
                Ok(Turn::Ended) => {
                    self.ended = true;
                    break false;
                }
                Err(error) => {
                    self.fail(&error);
                    break false;
                }
            }
        };
        self.held = input[at..end].to_vec();
        if self.held.len() > MAX_HELD {
            self.fail(&too_long());
        }
        if filled == 0 {
            self.check()?;
        }
        Poll::Ready(Ok(filled))
    }

    /// Encrypts `say` into `output`, after other bytes that rustls has to send.
    fn encrypt(&mut self, say: Say<'_>, output: &mut Vec<u8>) -> io::Result<()> {
        output.clear();
        loop {
            let mut sink = Sink { into: &mut [], filled: 0, spill: &mut self.plain, out: output };
            let (used, turn) = self.machine.step(&mut self.held, say, &mut sink);
            self.held.drain(..used.min(self.held.len()));
            match turn {
                Ok(Turn::Again | Turn::Plain) => {}
                Ok(Turn::Open) => return Ok(()),
                Ok(Turn::Ended) if !self.ended => self.ended = true,
                Ok(Turn::Ended | Turn::Blocked) => return Err(io::ErrorKind::NotConnected.into()),
                Err(error) => {
                    self.fail(&error);
                    return self.check();
                }
            }
        }
    }

    /// Writes `output`. Bytes that the socket does not take are kept in `out`.
    fn poll_rest(&mut self, cx: &mut Context<'_>, output: &[u8]) -> Poll<io::Result<()>> {
        let mut rest = output;
        while !rest.is_empty() {
            match self.socket.poll_write(cx, &[IoSlice::new(rest)])? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => rest = rest.get(n..).unwrap_or_default(),
                Poll::Pending => {
                    self.out = rest.to_vec();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let n = ready!(self.socket.poll_write(cx, &[IoSlice::new(&self.out[self.sent..])]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.out = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Records the fault, and sends an alert to the peer if the socket takes it.
    fn fail(&mut self, error: &Error) {
        self.fault = Some(error.clone());
        let mut sink = Sink { into: &mut [], filled: 0, spill: &mut self.plain, out: &mut self.out };
        // The step gets no input, because the rest of it would only be found invalid again.
        while self.machine.state().wants_write() {
            if !matches!(self.machine.step(&mut [], Say::Nothing, &mut sink), (_, Ok(Turn::Again))) {
                break;
            }
        }
        let mut cx = Context::from_waker(Waker::noop());
        // If the alert cannot be written, the close tells the peer.
        let _ = self.poll_out(&mut cx);
    }

    fn check(&self) -> io::Result<()> {
        match &self.fault {
            Some(error) => Err(io::Error::new(io::ErrorKind::InvalidData, TlsFault::Protocol(error.clone()))),
            None => Ok(()),
        }
    }

    fn state(&self) -> &CommonState {
        self.machine.state()
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.part();
    }
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Machine {
    fn step(&mut self, input: &mut [u8], say: Say<'_>, sink: &mut Sink<'_>) -> (usize, Result<Turn, Error>) {
        match self {
            Self::Server(machine) => step(machine.process_tls_records(input), say, sink),
            Self::Client(machine) => step(machine.process_tls_records(input), say, sink),
        }
    }

    fn state(&self) -> &CommonState {
        match self {
            Self::Server(machine) => machine,
            Self::Client(machine) => machine,
        }
    }
}

/// Does the work that rustls asks for. Returns the number of input bytes that were used.
fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    say: Say<'_>,
    sink: &mut Sink<'_>,
) -> (usize, Result<Turn, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let turn = state.and_then(|state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                sink.plain(record.payload);
            }
            Ok(Turn::Plain)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            grow(sink.out, OVERHEAD, |room| {
                data.encode(room).map_err(|error| match error {
                    EncodeError::InsufficientSize(size) => Some(size.required_size),
                    EncodeError::AlreadyEncoded => None,
                })
            })?;
            Ok(Turn::Again)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Turn::Again)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let required = |error| match error {
                EncryptError::InsufficientSize(size) => Some(size.required_size),
                EncryptError::EncryptExhausted => None,
            };
            match say {
                Say::Nothing => {}
                Say::Data(data) => grow(sink.out, data.len() + OVERHEAD, |room| {
                    traffic.encrypt(data, room).map_err(required)
                })?,
                Say::Goodbye => {
                    grow(sink.out, OVERHEAD, |room| traffic.queue_close_notify(room).map_err(required))?;
                }
            }
            Ok(Turn::Open)
        }
        ConnectionState::BlockedHandshake => Ok(Turn::Blocked),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Turn::Ended),
        // Early data, which is never accepted, or a state of a later version of rustls.
        _ => Err(Error::General("unexpected state of the connection".to_owned())),
    });
    (discard, turn)
}

impl Sink<'_> {
    fn plain(&mut self, record: &[u8]) {
        let room = &mut self.into[self.filled..];
        let n = if self.spill.is_empty() { record.len().min(room.len()) } else { 0 };
        room[..n].copy_from_slice(&record[..n]);
        self.filled += n;
        self.spill.extend_from_slice(&record[n..]);
    }
}

impl Scratch {
    fn input_of(&mut self, size: usize) -> &mut [u8] {
        if self.input.len() < size {
            self.input.resize(size, 0);
        }
        &mut self.input[..size]
    }
}

/// Appends the bytes that `write` produces, with as much room as `write` asks for.
fn grow(
    out: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), Error> {
    let start = out.len();
    let mut size = guess;
    loop {
        out.resize(start + size, 0);
        match write(&mut out[start..]) {
            Ok(n) => {
                out.truncate(start + n);
                return Ok(());
            }
            Err(Some(required)) if required > size => size = required,
            Err(_) => {
                out.truncate(start);
                return Err(Error::EncryptError);
            }
        }
    }
}

/// Returns bytes from the front of `slices` in one piece, at most those of one record.
fn gather<'a>(slices: &'a [IoSlice<'_>], gathered: &'a mut Vec<u8>) -> &'a [u8] {
    let cut = |slice: &'a [u8]| &slice[..slice.len().min(MAX_PLAIN)];
    match slices {
        [] => &[],
        [one] => cut(one),
        [first, ..] if first.len() >= MAX_PLAIN => cut(first),
        many => {
            gathered.clear();
            for slice in many {
                let room = MAX_PLAIN - gathered.len();
                gathered.extend_from_slice(&slice[..slice.len().min(room)]);
            }
            gathered
        }
    }
}

fn too_long() -> Error {
    Error::InvalidMessage(rustls::InvalidMessage::HandshakePayloadTooLarge)
}

fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => work(&mut scratch),
        // A stream is never polled within a step of another stream. If it were, this would only cost memory.
        Err(_) => work(&mut Scratch::default()),
    })
}

#[cfg(test)]
mod tests;
