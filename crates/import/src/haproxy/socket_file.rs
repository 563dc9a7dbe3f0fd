//! The access to the file of a unix socket: `mode`, `group`, `gid`, `user` and `uid` of a `bind` line.

/// The mode with which only the user of the process may connect.
const OWNER_ONLY: u32 = 0o600;
/// The largest number of a group. The next number means "no group" for the system.
const LAST_GROUP: u32 = u32::MAX - 1;

/// The access that a `bind` line gives. A value is `None` if the line does not set it.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    mode: Option<u32>,
    /// The group by name or by number.
    pub(super) group: Option<String>,
    has_owner: bool,
}

/// The right to write to a socket file for its owner, its group and other users. A process connects with it.
#[derive(Clone, Copy)]
struct Writers {
    owner: bool,
    group: bool,
    others: bool,
}

impl Access {
    /// Reads a parameter of the line.
    ///
    /// # Errors
    /// The reason why the value is not valid here.
    pub(super) fn parameter(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name {
            "mode" => self.mode = Some(mode(value)?),
            "gid" => {
                let number = number(value).filter(|number| *number <= LAST_GROUP);
                self.group = Some(number.ok_or("not the number of a group")?.to_string());
            }
            // The gate would read such a name as a number.
            "group" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err("the name of its group is a number: write gid, or another group");
            }
            "group" => self.group = Some(value.to_owned()),
            _ => self.has_owner = true,
        }
        Ok(())
    }

    /// Returns the mode of the file in the gate, in octal digits, and a note for the reader. The file keeps out
    /// every user that HAProxy's file keeps out, although the owner and the group there can be others than here.
    pub(super) fn in_gate(&self) -> (String, Option<&'static str>) {
        let Some(mode) = self.mode else {
            let text = "HAProxy leaves the mode of the socket file to the umask, here it is 0600; write another mode \
                        where others connect";
            return (octal(OWNER_ONLY), Some(text));
        };
        let writers = Writers::of(mode);
        if self.group.is_none() && writers.group != writers.others {
            let text = "the socket file has the group of the process, which can be another one here, so its mode is 0600; \
                        write mode and group where others connect";
            return (octal(OWNER_ONLY), Some(text));
        }
        if self.has_owner && !writers.owner && (writers.group || writers.others) {
            let text = "its mode keeps out the owner of the socket file, and here the user of the gate owns it, so its \
                        mode is 0600; write another mode where others connect";
            return (octal(OWNER_ONLY), Some(text));
        }
        let text = "the user of the gate owns the socket file, so the user that HAProxy gives it to connects only where \
                    the mode lets its group or others connect";
        (octal(mode), self.has_owner.then_some(text))
    }
}

impl Writers {
    fn of(mode: u32) -> Self {
        Self { owner: mode & 0o200 != 0, group: mode & 0o020 != 0, others: mode & 0o002 != 0 }
    }
}

/// Reads the mode of a socket file, at most three octal digits.
fn mode(text: &str) -> Result<u32, &'static str> {
    let digits = text.trim_start_matches('0');
    let valid = digits.len() <= 3 && digits.bytes().all(|byte| (b'0'..b'8').contains(&byte));
    let mode = if digits.is_empty() { Ok(0) } else { u32::from_str_radix(digits, 8) };
    mode.ok().filter(|_| valid && !text.is_empty()).ok_or("not the mode of a socket file")
}

/// Reads a number of digits only.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Formats a mode as the configuration has it.
fn octal(mode: u32) -> String {
    format!("0{mode:03o}")
}
