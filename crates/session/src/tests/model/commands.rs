//! Facts about commands that the model knows by their names.

/// Returns the minimum and maximum number of arguments, the name included.
pub(super) fn arity(name: &str) -> Option<(usize, usize)> {
    Some(match name {
        "multi" | "exec" | "discard" | "monitor" | "reset" | "sync" => (1, 1),
        "ping" => (1, usize::MAX),
        "echo" | "get" => (2, 2),
        "set" | "publish" | "psync" | "blpop" => (3, 3),
        "lrange" => (4, 4),
        "rpush" => (3, usize::MAX),
        "hello" | "unsubscribe" | "punsubscribe" | "sunsubscribe" | "replconf" => (1, usize::MAX),
        "select" => (2, 2),
        "watch" | "client" | "auth" | "subscribe" | "psubscribe" | "ssubscribe" => (2, usize::MAX),
        _ => return None,
    })
}

pub(super) fn is_subscription(name: &str) -> bool {
    name.ends_with("subscribe")
}

pub(super) fn in_subscriber_mode(name: &str) -> bool {
    is_subscription(name) || matches!(name, "ping" | "reset")
}

pub(super) fn is_reply_mode(argv: &[String]) -> bool {
    matches!(argv, [_, word, mode] if word.eq_ignore_ascii_case("reply")
        && ["on", "off", "skip"].iter().any(|known| mode.eq_ignore_ascii_case(known)))
}

/// Returns whether the gate must never forward this command.
pub(super) fn is_never_forwarded(argv: &[String]) -> bool {
    let name = argv[0].to_ascii_lowercase();
    matches!(&*name, "sync" | "psync" | "replconf" | "quit" | "post" | "host:")
        || (is_reply_mode(argv) && !argv[2].eq_ignore_ascii_case("on"))
}
