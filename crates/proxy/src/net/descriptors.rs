//! Lines of text on a unix socket, some with a file descriptor beside them (`SCM_RIGHTS`).

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// The bytes that one call receives at most.
const CHUNK: usize = 4 << 10;

/// The descriptors that one call receives at most. A sender gives one with each line.
const DESCRIPTORS: usize = 4;

/// Sends bytes with one descriptor. Returns the number of bytes that were sent; the descriptor goes with the first.
///
/// # Errors
/// The system cannot send.
pub(crate) fn send_with(to: impl AsFd, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<usize> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    Ok(sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Received bytes that form lines, and the descriptors that came with them, both in their order.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Lines {
    /// Receives some bytes. Returns their number; 0 if the other side has closed the connection.
    ///
    /// # Errors
    /// The system cannot receive, or not in time.
    pub(crate) fn receive(&mut self, from: impl AsFd) -> io::Result<usize> {
        let mut chunk = [0; CHUNK];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(from, &mut [IoSliceMut::new(&mut chunk)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.bytes.extend_from_slice(chunk.get(..received.bytes).unwrap_or_default());
        Ok(received.bytes)
    }

    /// Takes the next whole line, without its end.
    pub(crate) fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
        let rest = self.bytes.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line.pop();
        Some(line)
    }

    /// Takes the next descriptor.
    pub(crate) fn next_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Returns the number of bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn lines_and_descriptors_keep_their_order() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(b"one\n").unwrap();
        let pipes = [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
        for ((given, _), line) in pipes.iter().zip(["two\n", "three\n"]) {
            assert_eq!(send_with(&here, line.as_bytes(), given.as_fd()).unwrap(), line.len());
        }
        here.write_all(b"fo").unwrap();
        drop(here);
        let mut lines = Lines::default();
        while lines.receive(&there).unwrap() > 0 {}
        let words: Vec<_> = std::iter::from_fn(|| lines.next_line()).collect();
        assert_eq!(words, [&b"one"[..], b"two", b"three"]);
        assert_eq!(lines.waiting(), 2);
        for (given, other) in pipes {
            drop(given);
            let mut received = UnixStream::from(lines.next_descriptor().unwrap());
            received.write_all(b"x").unwrap();
            drop(received);
            let mut text = String::new();
            io::Read::read_to_string(&mut &other, &mut text).unwrap();
            assert_eq!(text, "x");
        }
        assert!(lines.next_descriptor().is_none());
    }
}
