//! Checks CLIENT TRACKING with BCAST: Redis then sends the name of every changed key that begins with one of the
//! prefixes.

use portcullis_resp::command::keys::Argv;

/// Returns whether `is_covered` is true for every prefix of key names that Redis may send. `args` begins with CLIENT.
/// With BCAST and without prefixes, Redis sends all names, so the result is false. Without BCAST, Redis names only
/// keys that the client has read.
///
/// The options are parsed as Redis parses them. With an unknown option, which a later version of Redis may have, the
/// names that Redis sends are unknown.
pub(super) fn names_only<'b>(
    args: &(impl Argv<'b> + ?Sized),
    mut is_covered: impl FnMut(&'b [u8]) -> bool,
) -> bool {
    const SUBCOMMAND_AND_MODE: usize = 3;
    let is = |index: usize, word: &[u8]| args.arg(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
    if is(2, b"off") {
        return true;
    }
    let (mut broadcasts, mut prefixes, mut all_covered) = (false, 0_usize, true);
    let mut index = SUBCOMMAND_AND_MODE;
    while index < args.count() {
        if is(index, b"prefix") {
            index += 1;
            prefixes += 1;
            all_covered &= args.arg(index).is_some_and(&mut is_covered);
        } else if is(index, b"redirect") {
            index += 1;
        } else if is(index, b"bcast") {
            broadcasts = true;
        } else if ![&b"optin"[..], b"optout", b"noloop"].iter().any(|word| is(index, word)) {
            // If REDIRECT follows the unknown option, the result is true: the session refuses the command with its
            // own error.
            return (index..args.count()).any(|later| is(later, b"redirect"));
        }
        index += 1;
    }
    // Redis itself refuses prefixes without BCAST.
    !broadcasts || (prefixes > 0 && all_covered)
}
