//! One forward, described by options in place of a file: the options become YAML, and the usual loader reads it.

use std::io;
use std::path::{Path, PathBuf, absolute};

use portcullis_config::Document;

/// The name of the configuration that options stand for, where a message names no option.
const NAME: &str = "command line";

/// The word in `allow` that stands for clients on a unix socket. It is not an address, so it cannot be in a group.
const UNIX: &str = "unix";

/// The options that describe a forward.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
#[command(next_help_heading = "Forward")]
pub struct ForwardArgs {
    /// Listen on this address, such as 0.0.0.0:6380 or unix:/path. May be repeated
    #[arg(
        long,
        value_name = "ADDRESS",
        help = "Listen on this address: 0.0.0.0:6380, [::]:6380 or unix:/path. May be repeated"
    )]
    pub listen: Vec<String>,
    /// Forward to this Redis: redis.internal:6379 or unix:/path
    #[arg(long, value_name = "REDIS")]
    pub to: Option<String>,
    /// Admit these addresses and networks: 203.0.113.0/24. May be repeated, or list several
    #[arg(long, value_name = "CIDR", num_args = 1.., value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Log in to Redis with the password in this file; without it, clients send the password as before
    ///
    /// With it the allowlist is the credential: clients need no password, and the command rules @public protect Redis.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<String>,
    /// Bind the admin endpoint to this address, or 'off' [default: 127.0.0.1:9377]
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
}

/// The hints for words that are more than these options take.
const ALLOW_HINT: &str = "write an address or a network, such as 203.0.113.0/24; in a configuration file, addresses to \
                          refuse go into a list under deny, and groups, host names and files can be named";
const ADMIN_HINT: &str = "bind it to 127.0.0.1 or unix:/path; a configuration file can also set a token";

/// Whether the YAML explains itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comments {
    /// For a file that a user edits.
    With,
    /// For options that are written out.
    Without,
}

impl ForwardArgs {
    /// Whether one of the options is given.
    pub fn is_given(&self) -> bool {
        !self.listen.is_empty()
            || !self.allow.is_empty()
            || [&self.to, &self.password_file, &self.admin].iter().any(|option| option.is_some())
    }

    /// Writes the options as YAML. Relative paths become absolute, so that the text means the same in any directory.
    ///
    /// # Errors
    /// The current directory cannot be read.
    pub fn document(&self, comments: Comments) -> io::Result<Document> {
        let mut draft = Draft { document: Document::new(NAME), comments };
        draft.document.advise("--allow", ALLOW_HINT);
        draft.document.advise("--admin", ADMIN_HINT);
        draft.comment(HEAD);
        self.listener(&mut draft)?;
        self.upstream(&mut draft)?;
        draft.comment(GROUPS);
        draft.lines(None, "groups:");
        draft.lines("--allow", if self.networks().next().is_none() { "  clients: []" } else { "  clients:" });
        for network in self.networks() {
            draft.lines("--allow", &format!("    - {}", scalar(network)));
        }
        match self.admin.as_deref() {
            None => draft.comment(ADMIN),
            Some("off") => draft.lines("--admin", "admin: off"),
            Some(address) => {
                draft.lines("--admin", &format!("admin: {{bind: {}}}", scalar(&socket(address)?)));
            }
        }
        draft.comment(TAIL);
        Ok(draft.document)
    }

    fn listener(&self, draft: &mut Draft) -> io::Result<()> {
        draft.lines(None, "listeners:\n  - name: public");
        draft.comment(BIND);
        match self.listen.as_slice() {
            [only] => draft.lines("--listen", &format!("    bind: {}", scalar(&socket(only)?))),
            several => {
                draft.lines("--listen", "    bind:");
                for address in several {
                    draft.lines("--listen", &format!("      - {}", scalar(&socket(address)?)));
                }
            }
        }
        draft.lines("--to", "    upstream: main");
        draft.comment(ALLOW);
        let unix = self.allow.iter().any(|word| word == UNIX);
        draft.lines("--allow", if unix { "    allow: [clients, unix]" } else { "    allow: [clients]" });
        if self.password_file.is_some() {
            draft.comment(TRUST);
            draft.lines("--password-file", "    auth: trust\n    acl: \"@public\"");
        } else {
            draft.comment(PASSTHROUGH);
            draft.lines(None, "    auth: passthrough");
        }
        Ok(())
    }

    fn upstream(&self, draft: &mut Draft) -> io::Result<()> {
        draft.comment("\n");
        draft.lines(None, "upstreams:\n  main:");
        draft.comment(UPSTREAM);
        let address = socket(self.to.as_deref().unwrap_or_default())?;
        draft.lines("--to", &format!("    address: {}", scalar(&address)));
        match &self.password_file {
            None => draft.comment(NO_CREDENTIALS),
            Some(file) => {
                // An empty path stays empty, for the loader to refuse.
                let file = if file.is_empty() { PathBuf::new() } else { absolute(file)? };
                let file = scalar(&file.display().to_string());
                draft.comment(CREDENTIALS);
                draft.lines("--password-file", &format!("    credentials: {{password: {{file: {file}}}}}"));
            }
        }
        Ok(())
    }

    fn networks(&self) -> impl Iterator<Item = &str> {
        self.allow.iter().map(String::as_str).filter(|word| *word != UNIX)
    }
}

/// YAML in the making.
struct Draft {
    document: Document,
    comments: Comments,
}

impl Draft {
    fn lines(&mut self, source: impl Into<Option<&'static str>>, lines: &str) {
        self.document.push(source.into(), lines);
    }

    fn comment(&mut self, lines: &str) {
        if self.comments == Comments::With {
            self.document.push(None, lines);
        }
    }
}

const HEAD: &str = "\
# Configuration of Portcullis, a proxy that admits only the listed networks to Redis.
# All keys: docs/configuration.md. A running proxy applies a changed file by itself.
#
#   portcullis check      reports every mistake in this file, or a summary of what it does.
#   portcullis explain    says whether an address may connect, and which entry decides.
#
# Editors with yaml-language-server complete keys after 'portcullis schema > portcullis.schema.json',
# with this as the first line of this file:
# # yaml-language-server: $schema=portcullis.schema.json

";

const BIND: &str = "    # Where clients connect. 0.0.0.0 is every IPv4 address of this machine.";

const ALLOW: &str = concat!(
    "    # Only clients in these groups are admitted; the groups are below.\n",
    "    # An address under deny is refused in any case.\n",
    "    # deny: [198.51.100.7]"
);

const TRUST: &str = concat!(
    "    # The allowlist is the credential: clients need no password, and the proxy logs in to Redis.\n",
    "    # @public refuses commands that the internet must not reach, such as CONFIG and FLUSHALL."
);

const PASSTHROUGH: &str = concat!(
    "    # Redis checks passwords, as before. With 'trust' the proxy logs in, and clients need no password:\n",
    "    # then set credentials below, and acl: \"@public\" here. With 'users' the proxy checks names and\n",
    "    # passwords of its own."
);

const UPSTREAM: &str = "    # Where Redis listens.";

const CREDENTIALS: &str = concat!(
    "    # The file has the password and nothing else. For a Redis user:\n",
    "    # credentials: {username: app, password: {file: /run/secrets/redis}}"
);

const NO_CREDENTIALS: &str = "    # credentials: {password: {file: /run/secrets/redis}}";

const GROUPS: &str = "
# Named lists of addresses and networks. An entry may have a note, an owner and an end;
# 'portcullis groups add' writes such a line:
#   - {cidr: 198.51.100.7, note: new branch, owner: ops, until: \"2030-12-31T18:00:00Z\"}";

const ADMIN: &str = "
# Metrics, health checks and an API are on http://127.0.0.1:9377. For another address, or off:
# admin: {bind: \"127.0.0.1:9378\"}";

const TAIL: &str = "
# log: {format: json, level: info}
# audit: {path: /var/log/portcullis/audit.log}";

/// An address with an absolute path, if it is that of a socket file.
fn socket(address: &str) -> io::Result<String> {
    match address.strip_prefix("unix:") {
        Some(path) if !path.is_empty() && Path::new(path).is_relative() => {
            let path: PathBuf = absolute(path)?;
            Ok(format!("unix:{}", path.display()))
        }
        _ => Ok(address.to_owned()),
    }
}

/// Returns the text as it is if every YAML reader takes it for that text, and else in the quotes of JSON.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./_-:".contains(c);
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.contains('.')
        && !text.ends_with([':', '.'])
        && text.matches(':').count() < 2
        && text.chars().all(plain);
    // A number with a fraction is another type.
    if is_plain && text.parse::<f64>().is_err() {
        text.to_owned()
    } else {
        serde_json::json!(text).to_string()
    }
}

#[cfg(test)]
mod tests;
