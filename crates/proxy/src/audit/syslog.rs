//! A syslog server as the output: a message of RFC 5424 for each line.
//!
//! The server on this machine gets datagrams on its socket file. A server over TCP gets the messages with their length
//! before them (RFC 6587, octet counting). A lost connection is made again, at most once a second.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use portcullis_config::SyslogServer;

use crate::platform::{UnixDatagram, host_name, is_too_long};

/// Facility 10 (authpriv) and severity 6 (informational), as RFC 5424 writes them. Distributions keep messages of this
/// facility from other users.
const PRIORITY: u8 = 10 * 8 + 6;
/// Time to connect, and for one message. The audit thread waits, and clients do not.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);
/// The nil value of RFC 5424, for a field that is not known.
const NIL: &str = "-";

/// The connection to a syslog server. It takes whole lines, one in each call of [`Write::write`].
pub(super) struct Syslog {
    server: SyslogServer,
    open: Option<Open>,
    /// The time of the last attempt to connect.
    tried: Option<Instant>,
    /// The fields of the header that do not change: host, program and process.
    from: String,
}

enum Open {
    Socket(UnixDatagram),
    Tcp(TcpStream),
}

impl Syslog {
    /// Returns an output that connects with the first line.
    pub(super) fn to(server: SyslogServer) -> Self {
        let host: String = host_name().chars().filter(char::is_ascii_graphic).collect();
        let host = if host.is_empty() { NIL.to_owned() } else { host };
        Self { server, open: None, tried: None, from: format!("{host} portcullis {}", std::process::id()) }
    }

    /// Sends a message, on a new connection if the old one was lost.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if let Some(open) = &mut self.open {
            match open.send(message) {
                Err(error) if is_lost(&error) => self.open = None,
                sent => return sent,
            }
        }
        let now = Instant::now();
        if self.tried.is_some_and(|tried| now.saturating_duration_since(tried) < PAUSE) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.tried = Some(now);
        let mut open = Open::connect(&self.server)?;
        let sent = open.send(message);
        self.open = Some(open).filter(|_| !sent.as_ref().is_err_and(is_lost));
        sent
    }

    /// Returns the line as a message of RFC 5424. Its time and its kind are those of the line.
    fn message(&self, line: &[u8]) -> Vec<u8> {
        let field = |name: &str| {
            let text = std::str::from_utf8(line).ok()?;
            text.split_once(name)?.1.split_once('"').map(|(value, _)| value)
        };
        let (time, event) = (field("{\"time\":\"").unwrap_or(NIL), field("\"event\":\"").unwrap_or(NIL));
        let mut message = format!("<{PRIORITY}>1 {time} {} {event} - ", self.from).into_bytes();
        message.extend_from_slice(line);
        message
    }
}

impl Write for Syslog {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let end = lines.iter().position(|byte| *byte == b'\n');
        let line = lines.get(..end.unwrap_or(lines.len())).unwrap_or_default();
        if !line.is_empty() {
            self.send(&self.message(line))?;
        }
        Ok(line.len() + usize::from(end.is_some()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns whether the connection is of no more use.
fn is_lost(error: &io::Error) -> bool {
    // A datagram that is too long says nothing about the server.
    !is_too_long(error)
}

impl Open {
    fn connect(server: &SyslogServer) -> io::Result<Self> {
        match server {
            SyslogServer::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Socket(socket))
            }
            SyslogServer::Tcp { host, port } => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, PATIENCE) {
                        Ok(stream) => {
                            stream.set_write_timeout(Some(PATIENCE))?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    /// Sends a message whole, or ends the connection: after a part, the server would read the next one wrongly.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.send(message).map(drop),
            Self::Tcp(stream) => {
                let mut frame = format!("{} ", message.len()).into_bytes();
                frame.extend_from_slice(message);
                stream.write_all(&frame)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    const LINE: &[u8] = b"{\"time\":\"2026-11-22T15:45:37.627124Z\",\"event\":\"accepted\",\"id\":1}\n";

    #[test]
    fn a_line_is_a_message_of_rfc_5424() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut syslog = Syslog::to(SyslogServer::Socket(path.clone()));
        assert!(syslog.write(LINE).is_err(), "there is no server yet");
        let server = UnixDatagram::bind(&path).unwrap();
        syslog.tried = None;
        let both = [LINE, LINE].concat();
        assert_eq!(syslog.write(&both).unwrap(), LINE.len(), "one line at a time");
        let mut bytes = [0; 1024];
        let n = server.recv(&mut bytes).unwrap();
        let message = String::from_utf8(bytes[..n].to_vec()).unwrap();
        let words: Vec<&str> = message.splitn(8, ' ').collect();
        assert_eq!((words[0], words[1]), ("<86>1", "2026-11-22T15:45:37.627124Z"));
        assert_eq!((words[3], words[5], words[6]), ("portcullis", "accepted", "-"));
        assert_eq!(words[7].as_bytes(), &LINE[..LINE.len() - 1]);
    }

    #[test]
    fn messages_over_tcp_have_their_length_and_a_new_connection_after_a_loss() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut syslog = Syslog::to(SyslogServer::Tcp { host: "127.0.0.1".to_owned(), port });
        syslog.write_all(LINE).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut bytes = [0; 1024];
        let n = server.read(&mut bytes).unwrap();
        let (length, message) = std::str::from_utf8(&bytes[..n]).unwrap().split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), message.len());
        drop(server);
        // The first write after the loss may still succeed: the kernel learns of the loss by its answer.
        let again = (0..100).find(|_| {
            syslog.tried = None;
            let _ = syslog.write(LINE);
            listener.set_nonblocking(true).unwrap();
            std::thread::sleep(Duration::from_millis(10));
            listener.accept().is_ok()
        });
        assert!(again.is_some(), "it connects again");
    }
}
