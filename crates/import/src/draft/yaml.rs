//! Prints the configuration as YAML.

use std::fmt::{self, Write};

use super::{ClientTls, Group, Limits, Listener, Parts, ServerTls, ServerTrust, Upstream};
use crate::notes::shown;
use crate::place::Bind;
use crate::sources::Net;

/// The port of the gate's admin endpoint if the configuration does not set another port.
const ADMIN_PORT: u16 = 9377;

impl Parts {
    pub(super) fn yaml(&self, title: &str, clients: Option<u64>) -> String {
        let mut out =
            format!("# {title}\n# Before it runs: portcullis check --strict --config FILE\nlisteners:\n");
        for listener in &self.listeners {
            let _ = write!(out, "{listener}");
        }
        out.push_str("upstreams:\n");
        for upstream in &self.upstreams {
            let _ = write!(out, "{upstream}");
        }
        if !self.groups.is_empty() {
            out.push_str("groups:\n");
        }
        for group in &self.groups {
            let _ = write!(out, "{group}");
        }
        if let Some(clients) = clients {
            let _ = writeln!(out, "limits: {{clients: {clients}}}");
        }
        let mut binds = self.listeners.iter().flat_map(|listener| &listener.door.binds);
        if binds.any(|bind| bind.port() == Some(ADMIN_PORT)) {
            out.push_str("admin: off\n");
        }
        out
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binds: Vec<String> = self.door.binds.iter().map(bind).collect();
        let mut bound = String::new();
        one_or_list(&mut bound, "      ", &binds);
        write!(f, "  - name: {}\n    bind:{bound}    upstream: {}\n", self.name, self.upstream)?;
        writeln!(f, "    allow: [{}]", self.allow.join(", "))?;
        if !self.deny.is_empty() {
            writeln!(f, "    deny: [{}]", self.deny.join(", "))?;
        }
        if let Some(senders) = &self.door.senders {
            writeln!(f, "    proxy_protocol: {{from: [{}], only: {}}}", self.from.join(", "), senders.only)?;
        }
        if let Some(tls) = &self.door.tls {
            write!(f, "{tls}")?;
        }
        if self.door.limits != Limits::default() {
            writeln!(f, "    limits: {}", self.door.limits)?;
        }
        match self.door.refusal {
            Some(refusal) => writeln!(f, "    refusal: {refusal}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses = String::new();
        let items: Vec<String> = self.addresses.iter().map(|address| scalar(address)).collect();
        one_or_list(&mut addresses, "      ", &items);
        write!(f, "  {}:\n    address:{addresses}", self.name)?;
        match &self.tls {
            Some(tls) => write!(f, "{tls}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nothing = if self.entries.is_empty() { " []" } else { "" };
        writeln!(f, "  {}:{nothing}", self.name)?;
        for entry in &self.entries {
            let item = match entry.net {
                Net::Unix => "    - {group: unix}".to_owned(),
                net @ Net::Inet(_) => format!("    - {}", scalar(&net.to_string())),
            };
            match entry.origin.clone().into_string().as_str() {
                "" => writeln!(f, "{item}")?,
                origin => writeln!(f, "{item:<32} # {}", shown(origin))?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    tls:")?;
        let mut pairs = self.pairs.iter();
        if let Some((cert, key)) = pairs.next() {
            writeln!(f, "      cert: {}\n      key: {}", scalar(cert), scalar(key))?;
        }
        for (at, (cert, key)) in pairs.enumerate() {
            if at == 0 {
                writeln!(f, "      certificates:")?;
            }
            writeln!(f, "        - {{cert: {}, key: {}}}", scalar(cert), scalar(key))?;
        }
        if let Some(clients) = &self.clients {
            let auth = if clients.required { "required" } else { "optional" };
            writeln!(f, "      client_ca: {}\n      client_auth: {auth}", scalar(&clients.ca))?;
            if let Some(crl) = &clients.crl {
                writeln!(f, "      client_crl: {}", scalar(crl))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.trust == ServerTrust::System && self.server_name.is_none() && self.pair.is_none() {
            return writeln!(f, "    tls: {{}}");
        }
        writeln!(f, "    tls:")?;
        match &self.trust {
            ServerTrust::System => {}
            ServerTrust::Ca(ca) => writeln!(f, "      ca: {}", scalar(ca))?,
            ServerTrust::Missing => {
                writeln!(f, "      ca: \"\" # name the file of its CA here, or write pin: in place of ca:")?;
            }
        }
        if let Some(name) = &self.server_name {
            writeln!(f, "      server_name: {}", scalar(name))?;
        }
        if let Some((cert, key)) = &self.pair {
            writeln!(f, "      cert: {}\n      key: {}", scalar(cert), scalar(key))?;
        }
        Ok(())
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = [
            self.source_clients.map(|clients| format!("clients: {clients}")),
            self.source_connects.map(|rate| format!("connects: {rate}")),
        ];
        let source: Vec<String> = source.into_iter().flatten().collect();
        let all = [
            self.clients.map(|clients| format!("clients: {clients}")),
            (!source.is_empty()).then(|| format!("per_source: {{{}}}", source.join(", "))),
        ];
        let all: Vec<String> = all.into_iter().flatten().collect();
        write!(f, "{{{}}}", all.join(", "))
    }
}

fn bind(bind: &Bind) -> String {
    match bind {
        Bind::Unix { path, mode: None, group: None } => scalar(&format!("unix:{path}")),
        Bind::Unix { path, mode, group } => {
            let mode = mode.as_ref().map(|mode| format!(", mode: \"{mode}\"")).unwrap_or_default();
            let group = group.as_ref().map(|group| format!(", group: {}", scalar(group))).unwrap_or_default();
            format!("{{unix: {}{mode}{group}}}", scalar(path))
        }
        Bind::Tcp { .. } => scalar(&bind.to_string()),
    }
}

fn one_or_list(out: &mut String, indent: &str, items: &[String]) {
    if let [only] = items {
        let _ = writeln!(out, " {only}");
        return;
    }
    out.push('\n');
    for item in items {
        let _ = writeln!(out, "{indent}- {item}");
    }
}

/// Returns the text unchanged if every YAML reader takes it for this string. Otherwise returns it in quotes.
pub(super) fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./_-".contains(c);
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "0"));
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let named = host.contains('.') || host == "unix";
    if starts && named && host.chars().all(plain) && port.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.to_owned();
    }
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{quoted}\"")
}
