use std::time::Duration;

use portcullis_resp::command::id;

use super::*;

#[test]
fn one_line_a_second_for_each_command() {
    let (denials, start) = (Denials::default(), Instant::now());
    let due = |command, ms| denials.due(command, start + Duration::from_millis(ms));
    assert_eq!(due(id::CONFIG_GET, 0), Some(0), "the first at once");
    assert_eq!(due(id::KEYS, 1), Some(0), "another command");
    assert_eq!(due(CommandId::UNKNOWN, 1), Some(0));
    assert_eq!(due(id::CONFIG_SET, 2), None, "subcommands count as their command");
    assert_eq!(due(id::CONFIG, 999), None);
    assert_eq!(due(id::CONFIG_GET, 1000), Some(2));
    assert_eq!(due(id::KEYS, 1500), Some(0));
}
