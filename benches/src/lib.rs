//! Inputs of the benches: bytes that clients and servers really send.

use std::iter::repeat_n;

use portcullis_resp::encode;

/// Returns `SET` of a value of 64 bytes, as a client library writes it.
#[must_use]
pub fn set() -> Vec<u8> {
    command(&[b"SET", b"user:1000:name", &[b'v'; 64]])
}

/// Returns `GET` of the same key.
#[must_use]
pub fn get() -> Vec<u8> {
    command(&[b"GET", b"user:1000:name"])
}

/// Returns a pipeline of `commands` commands, alternately GET and SET.
#[must_use]
pub fn pipeline(commands: usize) -> Vec<u8> {
    [get(), set()].iter().cycle().take(commands).flatten().copied().collect()
}

/// Returns `MGET` of `keys` keys.
#[must_use]
pub fn mget(keys: usize) -> Vec<u8> {
    let keys: Vec<String> = (0..keys).map(|i| format!("user:{i:06}")).collect();
    let args: Vec<&[u8]> = [&b"MGET"[..]].into_iter().chain(keys.iter().map(|key| key.as_bytes())).collect();
    command(&args)
}

/// Returns `SET` of a value of `len` bytes.
#[must_use]
pub fn set_of(len: usize) -> Vec<u8> {
    command(&[b"SET", b"user:1000:name", &vec![b'v'; len]])
}

/// Returns `RPUSH` of `elements` short elements.
#[must_use]
pub fn rpush(elements: usize) -> Vec<u8> {
    let args: Vec<&[u8]> =
        [&b"RPUSH"[..], b"list"].into_iter().chain(repeat_n(&b"element"[..], elements)).collect();
    command(&args)
}

/// Returns a bulk string of 64 bytes.
#[must_use]
pub fn bulk_reply() -> Vec<u8> {
    let mut out = Vec::new();
    encode::bulk(&mut out, &[b'v'; 64]);
    out
}

/// Returns an array of `elements` bulk strings.
#[must_use]
pub fn array_reply(elements: usize) -> Vec<u8> {
    let mut out = Vec::new();
    encode::array(&mut out, elements);
    for _ in 0..elements {
        encode::bulk(&mut out, b"element");
    }
    out
}

/// Returns the reply to HELLO 3, with a nested map like the maps in CLUSTER SLOTS and XINFO.
#[must_use]
pub fn nested_map() -> Vec<u8> {
    b"%8\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:42\r\n\
      $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n\
      $5\r\nnodes\r\n*2\r\n%2\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n:6379\r\n\
      %2\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n:6380\r\n"
        .to_vec()
}

fn command(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::command(&mut out, args);
    out
}
