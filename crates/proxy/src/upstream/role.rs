//! The role of a server: whether it says that it is a master.

use std::time::Duration;

use portcullis_config::{Tcp, Upstream};
use portcullis_resp::encode;
use portcullis_resp::value::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::connect::{open, secure};
use super::health::exchange::{Replies, write_all, write_login};
use super::health::fault::Fault;
pub(crate) use super::sentinel::round::Role;
use super::view::Place;
use crate::net::stream::Stream;

/// Writes the questions for the role. Users without the right to run ROLE may run HELLO, and Redis 5 has no HELLO.
pub(crate) fn write_questions(out: &mut Vec<u8>) {
    encode::command(out, &[b"HELLO", b"2"]);
    encode::command(out, &[b"ROLE"]);
}

/// Reads the replies to [`write_questions`].
///
/// # Errors
/// The connection ends, or the peer does not speak RESP.
pub(crate) async fn read(replies: &mut Replies, stream: &mut Stream) -> Result<Role, Fault> {
    let hello = replies.next(stream).await?;
    let role = replies.next(stream).await?;
    Ok(of(&hello, &role))
}

fn of(hello: &Value, role: &Value) -> Role {
    let told = hello.field("role").or_else(|| role.as_array()?.first()).and_then(Value::as_bytes);
    match told {
        Some(b"master") => Role::Master,
        Some(b"replica" | b"slave") => Role::Replica,
        _ => Role::Untold,
    }
}

/// Asks a server for its role, on a connection of its own.
pub(crate) async fn ask(place: &Place, upstream: &Upstream, tcp: &Tcp, within: Duration) -> Role {
    let asked = async {
        let mut stream = open(place, within, tcp).await?;
        if let Some(tls) = upstream.tls() {
            stream = secure(stream, place, tls, within, tcp).await?;
        }
        let mut request = Zeroizing::new(Vec::with_capacity(512));
        if let Some(credentials) = upstream.credentials() {
            write_login(&mut request, credentials);
        }
        write_questions(&mut request);
        write_all(&mut stream, &request).await.map_err(Fault::Lost)?;
        let mut replies = Replies::default();
        if upstream.credentials().is_some() {
            // Whether the login works is reported by the health check.
            replies.next(&mut stream).await?;
        }
        read(&mut replies, &mut stream).await
    };
    match timeout(within, asked).await {
        Ok(Ok(role)) => role,
        Ok(Err(Fault::Answer(_))) => Role::Untold,
        Ok(Err(_)) | Err(_) => Role::Silent,
    }
}

#[cfg(test)]
mod tests {
    use portcullis_resp::value;

    use super::*;

    #[test]
    fn hello_or_role_tell() {
        let value = |text: &str| value::decode(text.replace('|', "\r\n").as_bytes()).expect("one reply");
        let noperm = "-NOPERM this user has no permissions to run the 'role' command|";
        let unknown = "-ERR unknown command 'HELLO', with args beginning with: '2' |";
        for (hello, role, expected) in [
            ("*4|$4|mode|$10|standalone|$4|role|$6|master|", noperm, Role::Master),
            ("*4|$4|mode|$10|standalone|$4|role|$7|replica|", noperm, Role::Replica),
            (unknown, "*3|$6|master|:0|*0|", Role::Master),
            (unknown, "*5|$5|slave|$9|127.0.0.1|:6379|$9|connected|:1|", Role::Replica),
            (unknown, noperm, Role::Untold),
            ("-NOAUTH Authentication required.|", "-NOAUTH Authentication required.|", Role::Untold),
            ("*2|$4|mode|$8|sentinel|", "*2|$8|sentinel|*1|$8|mymaster|", Role::Untold),
            ("+OK|", "*0|", Role::Untold),
        ] {
            assert_eq!(of(&value(hello), &value(role)), expected, "{hello} {role}");
        }
    }
}
