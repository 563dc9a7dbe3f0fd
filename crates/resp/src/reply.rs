//! The replies of the proxy itself, in the exact words of Redis. Where versions differ, they are those of 7.2.

use crate::encode::{self, MAX_QUOTED};

/// The reply to a source that exceeds its rate of connections.
pub const TOO_MANY_CONNECTS: &[u8] = b"-ERR too many connections from your address, try again later\r\n";
/// The reply to a source that is blocked after failed logins.
pub const BLOCKED: &[u8] = b"-ERR too many failed logins from your address, try again later\r\n";

/// The reply `+OK`.
pub const OK: &[u8] = b"+OK\r\n";
/// The reply to a command that MULTI queues.
pub const QUEUED: &[u8] = b"+QUEUED\r\n";
/// The reply to RESET.
pub const RESET: &[u8] = b"+RESET\r\n";
/// The reply to PING.
pub const PONG: &[u8] = b"+PONG\r\n";
/// The reply to EXEC after a refused command.
pub const EXECABORT: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";
/// The beginning of the reply to an EXEC that the proxy itself refuses. The error follows, without its `-` and `ERR`.
pub const EXECABORT_BECAUSE: &[u8] = b"-EXECABORT Transaction discarded because of: ";
/// The reply to EXEC outside MULTI.
pub const EXEC_WITHOUT_MULTI: &[u8] = b"-ERR EXEC without MULTI\r\n";
/// The reply to DISCARD outside MULTI.
pub const DISCARD_WITHOUT_MULTI: &[u8] = b"-ERR DISCARD without MULTI\r\n";
/// The reply to MULTI within MULTI.
pub const NESTED_MULTI: &[u8] = b"-ERR MULTI calls can not be nested\r\n";
/// The reply to WATCH within MULTI.
pub const WATCH_IN_MULTI: &[u8] = b"-ERR WATCH inside MULTI is not allowed\r\n";
/// The reply to a command that cannot be queued.
pub const NOT_ALLOWED_IN_TRANSACTION: &[u8] = b"-ERR Command not allowed inside a transaction\r\n";
/// The reply to a client that is not logged in.
pub const NOAUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";
/// The reply to HELLO from a client that is not logged in.
pub const NOAUTH_HELLO: &[u8] = b"-NOAUTH HELLO must be called with the client already authenticated, otherwise the \
HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version \
at the same time\r\n";
/// The reply to a wrong user name or password.
pub const WRONGPASS: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
/// The reply to AUTH with only a password if the default user needs no password.
pub const AUTH_NO_PASSWORD_SET: &[u8] =
    b"-ERR AUTH <password> called without any password configured for the \
default user. Are you sure your configuration is correct?\r\n";
/// The reply to arguments with a syntax error.
pub const SYNTAX_ERROR: &[u8] = b"-ERR syntax error\r\n";
/// The reply to an argument that is not a valid number.
pub const NOT_AN_INTEGER: &[u8] = b"-ERR value is not an integer or out of range\r\n";
/// The reply to a number that does not fit 32 bits.
pub const NOT_AN_INT: &[u8] =
    b"-ERR value is out of range, value must between -2147483648 and 2147483647\r\n";
/// The reply to SELECT of a database that does not exist.
pub const DB_OUT_OF_RANGE: &[u8] = b"-ERR DB index is out of range\r\n";
/// The reply to HELLO with an unsupported version.
pub const NOPROTO: &[u8] = b"-NOPROTO unsupported protocol version\r\n";
/// The reply to HELLO with a version that is not a number.
pub const HELLO_VERSION_NOT_INTEGER: &[u8] = b"-ERR Protocol version is not an integer or out of range\r\n";
/// The reply to HELLO with an invalid name after SETNAME.
pub const HELLO_BAD_NAME: &[u8] =
    b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
/// The reply to AUTH from a RESP2 subscriber.
pub const AUTH_NOT_NOW: &[u8] =
    b"-ERR Can't execute 'auth': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
RESET are allowed in this context\r\n";
/// The reply to HELLO from a RESP2 subscriber.
pub const HELLO_NOT_NOW: &[u8] =
    b"-ERR Can't execute 'hello': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
RESET are allowed in this context\r\n";
/// The reply to a client above the limit of clients.
pub const MAX_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";
/// The reply to a refused source, in the proxy's own words.
pub const DENIED: &[u8] = b"-DENIED source address not allowed\r\n";
/// The reply to a refused source, in the words that users of ApsaraDB know.
pub const ILLEGAL_ADDRESS: &[u8] = b"-ERR illegal address\r\n";
/// The reply to a command whose keys come after the part that the proxy holds.
pub const COMMAND_TOO_LARGE: &[u8] = b"-ERR command too large to be checked\r\n";
/// The reply to PUBSUB CHANNELS if the list of channels is too long to be filtered for the client.
pub const TOO_MANY_CHANNELS: &[u8] =
    b"-ERR portcullis: too many channels to list here, name a pattern that fewer match\r\n";
/// The reply to a command with a key that no rule allows (Redis 7.2 and later).
pub const NO_PERMISSION_KEY: &[u8] = b"-NOPERM No permissions to access a key\r\n";
/// The reply to a command with a channel that no rule allows (Redis 7.2 and later).
pub const NO_PERMISSION_CHANNEL: &[u8] = b"-NOPERM No permissions to access a channel\r\n";
/// The reply to a command with keys in several slots.
pub const CROSSSLOT: &[u8] = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n";
/// The reply to CLUSTER on a server without cluster support.
pub const CLUSTER_DISABLED: &[u8] = b"-ERR This instance has cluster support disabled\r\n";

/// Appends the error for a command that cannot run on a shared upstream connection. `name` is the name in the command
/// table.
pub fn needs_dedicated(out: &mut Vec<u8>, name: &str) {
    encode::error(
        out,
        &format!("ERR portcullis: {} needs connections: dedicated", name.to_ascii_uppercase()),
    );
}

/// Appends the error for a command that no client may run unless an ACL rule names it. `name` is the name in the
/// command table.
pub fn needs_rule(out: &mut Vec<u8>, name: &str) {
    encode::error(
        out,
        &format!("NOPERM portcullis: '{name}' is refused here unless an acl names it: +{name}"),
    );
}

/// Appends the error for a wrong number of arguments. `name` is the name in the command table: `get`, `client|reply`.
pub fn wrong_arity(out: &mut Vec<u8>, name: &str) {
    quoted(out, b"-ERR wrong number of arguments for '", name.as_bytes(), b"' command\r\n");
}

/// Appends the error for an unknown command. `args` are the arguments after the name. Like Redis, quotes as many as
/// fit in 128 bytes.
pub fn unknown_command<'b>(out: &mut Vec<u8>, name: &[u8], args: impl IntoIterator<Item = &'b [u8]>) {
    quoted(out, b"-ERR unknown command '", name, b"', with args beginning with: ");
    let begin = out.len();
    for arg in args {
        let used = out.len().saturating_sub(begin);
        if used >= MAX_QUOTED {
            break;
        }
        let room = MAX_QUOTED - used;
        quoted(out, b"'", arg.get(..room).unwrap_or(arg), b"' ");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the error for an unknown subcommand. `container` is in any case; the error has it in capitals, as in
/// Redis.
pub fn unknown_subcommand(out: &mut Vec<u8>, container: &str, name: &[u8]) {
    quoted(out, b"-ERR unknown subcommand '", name, b"'. Try ");
    encode::sanitise(out, container.to_ascii_uppercase().as_bytes());
    out.extend_from_slice(b" HELP.\r\n");
}

/// Appends the error for a command that no rule allows, in the words of Redis 7.2 and later. `name` is the name in
/// the command table.
pub fn no_permission(out: &mut Vec<u8>, user: &[u8], name: &str) {
    quoted(out, b"-NOPERM User ", user, b" has no permissions to run the '");
    encode::sanitise(out, name.as_bytes());
    out.extend_from_slice(b"' command\r\n");
}

/// Appends the error for HELLO with an unknown option.
pub fn hello_option_error(out: &mut Vec<u8>, option: &[u8]) {
    quoted(out, b"-ERR Syntax error in HELLO option '", option, b"'\r\n");
}

/// Appends the error for a command that a RESP2 subscriber may not send. `name` is the name in the command table.
pub fn not_while_subscribed(out: &mut Vec<u8>, name: &str) {
    let rest =
        b"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n";
    quoted(out, b"-ERR Can't execute '", name.as_bytes(), rest);
}

fn quoted(out: &mut Vec<u8>, before: &[u8], text: &[u8], after: &[u8]) {
    out.extend_from_slice(before);
    encode::sanitise(out, text);
    out.extend_from_slice(after);
}

#[cfg(test)]
mod tests;
