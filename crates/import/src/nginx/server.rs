//! `server` blocks, each with its listeners.

use portcullis_config::message::{Message, message};

use super::Stream;
use super::access::network;
use super::directive::Directive;
use super::listen::{Form, Listen};
use super::settings::Settings;
use super::upstream::{Upstream, address};
use crate::at::At;
use crate::draft::{Admission, Door, Draft, Limits, Name, Senders, Target};
use crate::express::{Entry, Lists};
use crate::notes::Notes;
use crate::place::Bind;
use crate::review::{Class, Review};
use crate::sources::{Net, Sources};

/// The directives of a `server` block.
struct Server<'s> {
    at: At,
    stream: &'s Stream,
    listens: Vec<Listen>,
    settings: Settings,
    pass: Option<(At, String)>,
    /// The reason why nothing of the block can be carried over. `None` if there is none.
    bar: Option<Message>,
}

/// Reads a `server` block, and adds a listener for each form of connections in it.
pub(super) fn import(
    directive: &Directive,
    block: &[Directive],
    stream: &Stream,
    draft: &mut Draft,
    notes: &mut Notes,
) {
    let mut server = Server {
        at: directive.at.clone(),
        stream,
        listens: Vec::new(),
        settings: Settings::default(),
        pass: None,
        bar: None,
    };
    let directives = block.iter().map(|directive| (directive.at.clone(), directive));
    let review = Review::of(directives, notes, |directive, notes| server.directive(directive, notes));
    server.settings = std::mem::take(&mut server.settings).over(&stream.settings);
    if let Err(why) = server.doors(review.and(stream.review.clone()), draft, notes) {
        let what = message!("the server block of {}", server.at.clone());
        notes.left_out(&server.at, what, why);
    }
}

impl Server<'_> {
    fn directive(&mut self, directive: &Directive, notes: &mut Notes) -> Class {
        match (directive.name(), directive.words.as_slice()) {
            ("listen", _) => match Listen::read(directive, notes) {
                Ok(listen) => self.listens.push(listen),
                Err(why) => notes.left_out(&directive.at, directive, why),
            },
            ("proxy_pass", [_, to]) if to.contains('$') => {
                self.bar = Some("its proxy_pass depends on variables".into());
            }
            ("proxy_pass", [_, to]) => self.pass = Some((directive.at.clone(), to.clone())),
            ("proxy_pass", _) => self.bar = Some("its proxy_pass is broken".into()),
            _ => return self.settings.directive(directive, notes),
        }
        Class::Understood
    }

    fn doors(&mut self, review: Review, draft: &mut Draft, notes: &mut Notes) -> Result<(), Message> {
        if let Some(why) = self.bar.take() {
            return Err(why);
        }
        if self.settings.sends_header() {
            return Err("Redis takes no PROXY protocol, so what it leads to is no Redis".into());
        }
        if self.listens.is_empty() {
            return Err("nothing is left that it could listen on".into());
        }
        let (upstream, of_upstream) = self.upstream(notes)?;
        let (limits, doubt) = self.settings.limits(&self.stream.zones, notes);
        let review = review.or_doubt_at(doubt).or_doubt_at(self.settings.rules.doubt().cloned());
        let review = match of_upstream {
            Some(upstream) => review.and(upstream.review.clone()),
            None => review,
        };
        let mut listens = std::mem::take(&mut self.listens);
        while let Some(first) = listens.first() {
            let form = first.form;
            let (same, others): (Vec<Listen>, Vec<Listen>) =
                listens.into_iter().partition(|listen| listen.form == form);
            listens = others;
            let binds = same.into_iter().map(|listen| listen.bind).collect();
            self.door(form, binds, &upstream, &limits, &review, draft, notes);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "they are what the listeners of one block share")]
    fn door(
        &self,
        form: Form,
        binds: Vec<Bind>,
        upstream: &Target,
        limits: &Limits,
        review: &Review,
        draft: &mut Draft,
        notes: &mut Notes,
    ) {
        let tls = match form.tls.then(|| self.settings.tls.tls(&self.stream.folder, notes)).transpose() {
            Ok(tls) => tls,
            Err(why) => {
                let what = message!("the TLS listeners of the server block of {}", self.at.clone());
                notes.left_out(&self.at, what, why);
                return;
            }
        };
        let doubt = tls.as_ref().and_then(|_| self.settings.tls.doubt(notes));
        let review = &review.clone().or_doubt_at(doubt);
        let port = binds.iter().find_map(Bind::port);
        let name = port.map_or_else(|| "local".to_owned(), |port| format!("public-{port}"));
        let reach = binds.iter().fold(Sources::default(), |reach, bind| reach.or(&bind.reach()));
        let senders = form.proxy.then(|| self.senders(&reach, review, notes));
        let lists = match &senders {
            None => self.lists(&reach, review, notes),
            // With set_real_ip_from the rules judge the address in the header, which may be any IP address.
            Some(_) if !self.settings.trusted.is_empty() => self.lists(&Sources::inet(), review, notes),
            Some(_) => {
                let what = message!("the clients of the server block of {}", self.at.clone());
                let why = "without set_real_ip_from allow and deny judge the sender of the PROXY header, so nginx \
                           admits every client behind it; list the clients that may connect in allow";
                notes.left_out(&self.at, what, why);
                Lists::default()
            }
        };
        let door = Door {
            at: self.at.clone(),
            name: Name::Ours(name),
            binds,
            upstream: upstream.clone(),
            admission: Admission::of(lists, review),
            senders,
            tls,
            limits: limits.clone(),
            refusal: None,
        };
        draft.add(door, notes);
    }

    /// Returns the target of `proxy_pass`, and the `upstream` block if it names one.
    fn upstream(&self, notes: &mut Notes) -> Result<(Target, Option<&Upstream>), Message> {
        let (at, pass) = self.pass.as_ref().ok_or("it has no proxy_pass")?;
        let block = self.stream.upstreams.get(pass);
        let addresses = match block {
            Some(upstream) => upstream.addresses.clone(),
            None => address(pass).into_iter().collect(),
        };
        if addresses.is_empty() {
            let why = "not host:port, unix:/path or an upstream with servers";
            return Err(message!("proxy_pass {}: {}", notes.quote(pass), why));
        }
        if addresses.len() > 1 {
            notes.remark(
                at,
                "nginx spreads clients over these servers, the gate takes the first that answers",
            );
        }
        let name = block.map(|_| pass.clone());
        let tls = self.settings.upstream.tls(name.as_deref(), &self.stream.folder, notes);
        Ok((Target { name, addresses, tls }, block))
    }

    fn lists(&self, reach: &Sources, review: &Review, notes: &mut Notes) -> Lists {
        if let Some(at) = review.doubt() {
            let what = message!("the clients of the server block of {}", self.at.clone());
            let why = message!("{} may decide which clients get in, so no address is allowed", at.clone());
            notes.left_out(&self.at, what, why);
            return Lists::default();
        }
        self.settings.rules.lists(reach, &self.at, notes)
    }

    /// Returns the trusted senders that the file names: those of set_real_ip_from, or else those that the rules admit.
    fn senders(&self, reach: &Sources, review: &Review, notes: &mut Notes) -> Senders {
        let (entries, more) = match self.settings.trusted.is_empty() {
            true => self.settings.rules.senders(reach),
            false => (self.trusted(reach, notes), false),
        };
        if entries.is_empty() {
            let text = "no trusted sender of the PROXY protocol is named: fill the group in proxy_protocol.from with the \
                        addresses of your load balancers";
            notes.remark(&self.at, text);
        } else if more {
            notes.remark(
                &self.at,
                "nginx takes PROXY headers of others too; only senders that it names are trusted",
            );
        }
        Senders { from: review.grant(entries), only: true }
    }

    fn trusted(&self, reach: &Sources, notes: &mut Notes) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (at, text) in &self.settings.trusted {
            let read = match text.as_str() {
                "unix:" => Ok((Net::Unix, true)),
                text => network(text),
            };
            match read {
                Ok((net, _)) if Net::all()[..2].contains(&net) => {
                    let why = "it names no sender but trusts every one";
                    notes.left_out(at, message!("set_real_ip_from {}", net), why);
                }
                Ok((net, _)) if !Sources::from(net).meets(reach) => {
                    let why = "no sender of that address family connects where this listens";
                    notes.left_out(at, message!("set_real_ip_from {}", net), why);
                }
                Ok((net, _)) => {
                    let origin = message!("{}: set_real_ip_from", at.clone());
                    entries.push(Entry { net, origin, group: None });
                }
                Err(why) => {
                    notes.left_out(at, message!("set_real_ip_from {}", notes.quote(text)), why);
                }
            }
        }
        entries
    }
}
