//! One connection of a test: sends commands, and reads what the replies tell about the server.

use std::future::Future;
use std::time::{Duration, Instant};

use portcullis_config::Credentials;
use portcullis_resp::encode;
use portcullis_resp::value::{Value, decode};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::step::{Server, shown};
use crate::net::stream::Stream;
use crate::upstream::health::exchange::{MAX_CLUSTER_REPLY, Replies, login, lost, write_all, write_login};
use crate::upstream::health::fault::{Answer, Fault};

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Conversation {
    stream: Stream,
    replies: Replies,
    /// The time for each reply.
    limit: Duration,
    /// Whether the proxy has a certificate of its own for this server.
    shows_certificate: bool,
}

impl Conversation {
    /// Begins with the first command.
    pub(super) fn on(stream: Stream, limit: Duration, shows_certificate: bool) -> Self {
        Self { stream, replies: Replies::up_to(MAX_CLUSTER_REPLY), limit, shows_certificate }
    }

    /// Logs in.
    ///
    /// # Errors
    /// The server refuses the login, or the connection fails.
    pub(super) async fn log_in(&mut self, credentials: &Credentials) -> Result<(), Fault> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(512));
        write_login(&mut bytes, credentials);
        login(&self.send("AUTH", &bytes).await?)
    }

    /// Sends one command without secrets, and returns the reply. `name` is the command in messages.
    ///
    /// # Errors
    /// The connection fails, or the peer does not speak RESP.
    pub(super) async fn call(&mut self, name: &'static str, words: &[&[u8]]) -> Result<Value, Fault> {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words);
        self.send(name, &bytes).await
    }

    /// Sends one command without secrets, and returns the bytes of the reply. `name` is the command in messages.
    ///
    /// # Errors
    /// The connection fails, or the peer does not speak RESP.
    pub(super) async fn frame(&mut self, name: &'static str, words: &[&[u8]]) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words);
        self.exchange(name, &bytes).await
    }

    /// Sends the bytes of one command.
    ///
    /// # Errors
    /// The connection fails, or the peer does not speak RESP.
    pub(super) async fn send(&mut self, command: &'static str, bytes: &[u8]) -> Result<Value, Fault> {
        decode(&self.exchange(command, bytes).await?).map_err(|_| Fault::Answer(Answer::NotRedis))
    }

    async fn exchange(&mut self, command: &'static str, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let limit = self.limit;
        let exchange = async {
            // The server may have written a reason and closed before it read anything, so the reply is read even if
            // writing failed.
            let written = write_all(&mut self.stream, bytes).await;
            let reply = self.replies.frame(&mut self.stream).await?;
            // After an error that closes the connection, nothing more can be written, and the reply is the reason.
            let is_error = matches!(reply.first(), Some(b'-' | b'!'));
            match written {
                Err(error) if !is_error => Err(Fault::Lost(error)),
                Ok(()) | Err(_) => Ok(reply),
            }
        };
        match timeout(limit, exchange).await.unwrap_or(Err(Fault::Silent { command, limit })) {
            Err(Fault::Lost(error)) => Err(lost(error, self.shows_certificate)),
            result => result,
        }
    }

    /// Asks for the role and the version. HELLO needs no rights, but is unknown before Redis 6. ROLE needs `+role`, and
    /// INFO `+info`.
    ///
    /// # Errors
    /// The connection fails, or the peer does not speak RESP.
    pub(super) async fn identify(&mut self) -> Result<Identity, Fault> {
        let mut server = Server::default();
        let hello = self.call("HELLO", &[b"HELLO"]).await?;
        read_hello(&hello, &mut server);
        if server.version.is_none() {
            read_info(&self.call("INFO", &[b"INFO", b"server"]).await?, &mut server);
        }
        let role = self.call("ROLE", &[b"ROLE"]).await?;
        read_role(&role, &mut server);
        let refused = |prefix: &[u8]| matches!(&role, Value::Error(line) if line.starts_with(prefix));
        Ok(Identity { wants_login: refused(b"NOAUTH"), lacks_right: refused(b"NOPERM"), server })
    }
}

/// The answer of a server about itself.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) server: Server,
    /// Whether the server answers ROLE with NOAUTH.
    pub(super) wants_login: bool,
    /// Whether the server answers ROLE with NOPERM.
    pub(super) lacks_right: bool,
}

/// Returns the result of a step, and the time that it took.
pub(super) async fn timed<T>(step: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let result = step.await;
    (result, begun.elapsed())
}

fn text_of(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(shown)
}

fn role_of(word: &str) -> Option<&'static str> {
    match word {
        "master" => Some("master"),
        "slave" | "replica" => Some("replica"),
        "sentinel" => Some("sentinel"),
        _ => None,
    }
}

fn read_hello(reply: &Value, server: &mut Server) {
    server.software = text_of(reply.field("server"));
    server.version = text_of(reply.field("version"));
    server.mode = text_of(reply.field("mode"));
    let role = reply.field("role").and_then(Value::as_str);
    let is_sentinel = server.mode.as_deref() == Some("sentinel");
    server.role = if is_sentinel { Some("sentinel") } else { role.and_then(role_of) };
}

fn read_info(reply: &Value, server: &mut Server) {
    let Some(text) = reply.as_str() else { return };
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|text| shown(text.trim()))
    };
    server.version = field("redis_version");
    server.mode = field("redis_mode");
}

/// Reads `[master, offset, [replica...]]`, `[slave, host, port, state, offset]` or `[sentinel, [name...]]`.
fn read_role(reply: &Value, server: &mut Server) {
    let Some([role, rest @ ..]) = reply.as_array() else { return };
    let Some(role) = role.as_str().and_then(role_of) else { return };
    server.role = Some(role);
    match (role, rest) {
        ("master", [_, replicas, ..]) => server.replicas = replicas.as_array().map(<[Value]>::len),
        ("replica", [host, port, ..]) => {
            let port = port.as_integer().unwrap_or_default();
            server.master = host.as_str().map(|host| shown(&format!("{host}:{port}")));
        }
        ("sentinel", [names, ..]) => {
            let names = names.as_array().unwrap_or_default().iter();
            server.monitored = names.filter_map(|name| text_of(Some(name))).collect();
        }
        _ => {}
    }
}

/// Returns whether the fault of a login may come from a sentinel, which usually has no password.
pub(super) const fn may_be_sentinel(fault: &Fault) -> bool {
    matches!(fault, Fault::Answer(Answer::NoPasswordSet | Answer::WrongPassword | Answer::LoginRefused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_of(read: fn(&Value, &mut Server), reply: &[u8]) -> Server {
        let mut server = Server::default();
        read(&decode(reply).unwrap(), &mut server);
        server
    }

    #[test]
    fn hello_in_both_versions_of_the_protocol() {
        let flat = b"*6\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";
        let map = b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";
        for reply in [&flat[..], map] {
            assert_eq!(server_of(read_hello, reply).to_string(), "master; Redis 7.0.15");
        }
        let sentinel = b"*4\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n";
        assert_eq!(server_of(read_hello, sentinel).role, Some("sentinel"));
        assert_eq!(server_of(read_hello, b"-ERR unknown command 'HELLO'\r\n"), Server::default());
    }

    #[test]
    fn each_role() {
        let master =
            b"*3\r\n$6\r\nmaster\r\n:14\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n6380\r\n$2\r\n14\r\n";
        assert_eq!(server_of(read_role, master).to_string(), "master, 1 replica");
        let replica = b"*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:14\r\n";
        assert_eq!(server_of(read_role, replica).to_string(), "replica of 10.0.0.1:6379");
        let sentinel = b"*2\r\n$8\r\nsentinel\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        assert_eq!(server_of(read_role, sentinel).monitored, ["a", "b"]);
        for strange in [&b"*0\r\n"[..], b"-NOPERM x\r\n", b"*1\r\n$5\r\nslave\r\n", b"*2\r\n:1\r\n:2\r\n"] {
            assert_eq!(server_of(read_role, strange).master, None);
        }
    }

    #[test]
    fn info_of_a_server_without_hello() {
        let info =
            b"$69\r\n# Server\r\nredis_version:5.0.14\r\nredis_mode:standalone\r\nos:Linux x86\r\n\r\n";
        let server = server_of(read_info, info);
        assert_eq!((server.version.as_deref(), server.mode.as_deref()), (Some("5.0.14"), Some("standalone")));
    }
}
