//! `groups list` and `groups show`.

use std::collections::HashMap;
use std::process::ExitCode;

use portcullis_acl::policy::UNIX_GROUP;
use portcullis_acl::{Group, List, Rule, UnixSeconds};
use portcullis_config::edit::Written;
use portcullis_config::message::known_names;
use portcullis_config::{Config, LoadOptions};
use serde_json::{Value, json};

use super::hosts::Hosts;
use super::{Common, fail, json_entry, print};
use crate::cli::BAD_USAGE;
use crate::cli::check::hosts::count;
use crate::cli::table::aligned;
use crate::clock::wall_clock;
use crate::generation::explain::moment;

/// List all groups. Host names are counted: 'groups show' asks the running proxy for their addresses.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    common: Common,
}

/// Show the entries of a group with file and line.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ShowArgs {
    /// The group
    group: String,
    #[command(flatten)]
    common: Common,
}

pub(super) fn list(args: &ListArgs) -> ExitCode {
    let loaded = match args.common.load(&LoadOptions::new().without_secrets()) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let uses = uses(&loaded.config);
    let groups: Vec<About<'_>> = loaded
        .config
        .policy()
        .groups()
        .filter(|group| group.name() != UNIX_GROUP)
        .map(|group| About::of(group, &uses, wall_clock()))
        .collect();
    if args.common.json {
        let groups: Vec<Value> = groups.iter().map(About::json).collect();
        print(&format!("{:#}\n", json!({"groups": groups})));
    } else {
        let head = ["group", "entries", "next expiry", "used by", "note"].map(str::to_owned);
        let rows: Vec<[String; 5]> = std::iter::once(head)
            .chain(groups.iter().map(|about| {
                let mut row = about.row();
                row[1] += &count(&loaded.config, about.group.name());
                row
            }))
            .collect();
        print(&aligned(&rows));
    }
    ExitCode::SUCCESS
}

pub(super) fn show(args: &ShowArgs) -> ExitCode {
    let loaded = match args.common.load(&LoadOptions::new().without_secrets()) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let policy = loaded.config.policy();
    let Some(group) = policy.group(&args.group) else {
        let known: Vec<&str> = policy.groups().map(|group| group.name()).collect();
        fail(
            &format!("unknown group '{}'", args.group.escape_debug()),
            Some(&known_names(&args.group, &known, "groups")),
        );
        return ExitCode::from(BAD_USAGE);
    };
    let about = About::of(group, &uses(&loaded.config), wall_clock());
    let hosts = Hosts::of(&loaded.config, group.name());
    print(&if args.common.json {
        let mut whole = about.json_whole();
        whole["hosts"] = hosts.json();
        format!("{whole:#}\n")
    } else {
        about.text() + &hosts.text()
    });
    ExitCode::SUCCESS
}

/// The uses of each group, by its name.
type Uses = HashMap<String, Vec<Use>>;

/// A listener or a user, and its lists that reach a group.
#[derive(Clone)]
struct Use {
    by: By,
    lists: Vec<&'static str>,
}

#[derive(Clone, PartialEq, Eq)]
enum By {
    Listener(String),
    User(String),
}

fn uses(config: &Config) -> Uses {
    let lists = [
        (List::Allow, "allow"),
        (List::Deny, "deny"),
        (List::ShadowAllow, "shadow allow"),
        (List::ShadowDeny, "shadow deny"),
        (List::Senders, "proxy_protocol from"),
    ];
    let policy = config.policy();
    let mut uses = Uses::new();
    for listener in config.listeners() {
        for (list, word) in lists {
            for group in policy.listed(listener.index(), list) {
                note(&mut uses, group, &By::Listener(listener.name().to_owned()), word);
            }
        }
    }
    for user in config.users() {
        for group in user.from().map(|list| policy.listed_for_user(list)).unwrap_or_default() {
            note(&mut uses, group, &By::User(user.name().to_owned()), "from");
        }
    }
    uses
}

fn note(uses: &mut Uses, group: &str, by: &By, list: &'static str) {
    let known = uses.entry(group.to_owned()).or_default();
    match known.last_mut() {
        Some(last) if last.by == *by => last.lists.push(list),
        _ => known.push(Use { by: by.clone(), lists: vec![list] }),
    }
}

/// A group and its uses.
struct About<'c> {
    group: Group<'c>,
    uses: Vec<Use>,
    now: UnixSeconds,
}

impl<'c> About<'c> {
    fn of(group: Group<'c>, uses: &Uses, now: UnixSeconds) -> Self {
        Self { group, uses: uses.get(group.name()).cloned().unwrap_or_default(), now }
    }

    fn note(&self) -> Option<&'c str> {
        self.group.meta()?.note.as_deref()
    }

    fn owner(&self) -> Option<&'c str> {
        self.group.meta()?.owner.as_deref()
    }

    fn row(&self) -> [String; 5] {
        let included = self.group.entry_count() - self.group.own_count();
        let own = self.group.own_count();
        [
            self.group.name().to_owned(),
            if included == 0 { own.to_string() } else { format!("{own} + {included} included") },
            self.group.next_expiry(self.now).map(moment).unwrap_or_default(),
            if self.uses.is_empty() { "not used".to_owned() } else { self.used_by() },
            self.note().map(|note| note.escape_debug().to_string()).unwrap_or_default(),
        ]
    }

    fn used_by(&self) -> String {
        let uses: Vec<String> = self
            .uses
            .iter()
            .map(|Use { by, lists }| match by {
                By::Listener(name) => format!("{name} ({})", lists.join(", ")),
                By::User(name) => format!("user {name} ({})", lists.join(", ")),
            })
            .collect();
        uses.join(", ")
    }

    fn text(&self) -> String {
        let own = self.group.own_count();
        let entries = if own == 1 { "1 entry".to_owned() } else { format!("{own} entries") };
        let used = match self.uses.is_empty() {
            true => "not used".to_owned(),
            false => format!("used by {}", self.used_by()),
        };
        let mut text = format!("{}: {entries}, {used}\n", self.group.name());
        let until = self.group.meta().and_then(|meta| meta.until).map(moment);
        let said = [("note", self.note()), ("owner", self.owner()), ("until", until.as_deref())];
        for (key, value) in said.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            text += &format!("  {key}: {}\n", value.escape_debug());
        }
        let includes: Vec<&str> = self.group.includes().collect();
        if !includes.is_empty() {
            text += &format!("  includes {}\n", includes.join(", "));
        }
        let rows: Vec<[String; 5]> = self.group.entries().map(|rule| self.entry_row(&rule)).collect();
        text + &aligned(&rows)
    }

    /// The note, owner or end of an entry, unless the group has the same.
    fn entry_row(&self, rule: &Rule<'_>) -> [String; 5] {
        let own = |own: Option<&str>, group: Option<&str>| {
            let own = own.filter(|own| Some(*own) != group);
            own.map(|own| own.escape_debug().to_string()).unwrap_or_default()
        };
        let group_until = self.group.meta().and_then(|meta| meta.until);
        let until = match rule.until {
            Some(until) if until <= self.now => format!("expired {}", moment(until)),
            Some(until) if Some(until) != group_until => format!("until {}", moment(until)),
            _ => String::new(),
        };
        let place = rule.file.map(|file| format!("{file}:{}", rule.line)).unwrap_or_default();
        let note = own(rule.note, self.note());
        [format!("  {}", rule.entry()), until, own(rule.owner, self.owner()), note, place]
    }

    fn json(&self) -> Value {
        let uses: Vec<Value> = self
            .uses
            .iter()
            .map(|Use { by, lists }| match by {
                By::Listener(name) => json!({"listener": name, "lists": lists}),
                By::User(name) => json!({"user": name, "lists": lists}),
            })
            .collect();
        json!({
            "name": self.group.name(),
            "entries": self.group.own_count(),
            "entries_with_included": self.group.entry_count(),
            "includes": self.group.includes().collect::<Vec<_>>(),
            "next_expiry": self.group.next_expiry(self.now).map(moment),
            "note": self.note(),
            "owner": self.owner(),
            "until": self.group.meta().and_then(|meta| meta.until).map(moment),
            "used_by": uses,
        })
    }

    fn json_whole(&self) -> Value {
        let mut whole = self.json();
        let entries: Vec<Value> = self
            .group
            .entries()
            .filter_map(|rule| {
                let mut entry = json_entry(&Written::of(&rule)?);
                entry["expired"] = rule.until.is_some_and(|until| until <= self.now).into();
                Some(entry)
            })
            .collect();
        whole["entries"] = entries.into();
        whole
    }
}
