//! The first steps of a test: look a name up, connect, perform the TLS handshake.

use std::time::Duration;

use portcullis_config::tls::{ClientTls, Facts};
use portcullis_config::{Address, Tcp};
use tokio::time::timeout;

use super::conversation::timed;
use super::report::Report;
use super::step::{Finding, Step, StepName, Trouble, shown};
use crate::clock::wall_clock;
use crate::generation::explain::moment;
use crate::net::lookup::look_up;
use crate::net::stream::Stream;
use crate::upstream::connect::{ConnectError, TRIES_PER_NAME, open, secure};
use crate::upstream::view::{Place, Sockets};

const DAY: i64 = 24 * 3600;

/// Where and how to connect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial<'c> {
    pub(super) tls: Option<&'c ClientTls>,
    /// The time for each step.
    pub(super) limit: Duration,
    pub(super) tcp: &'c Tcp,
}

/// The connection of a dial, or the step that failed.
#[derive(Debug)]
pub(super) enum Dialed {
    Connected(Stream),
    /// The socket did not accept.
    Refused,
    /// The TLS handshake failed.
    Insecure,
}

/// Makes the problem of a step from the error of a connection.
pub(super) type Explain<'e> = &'e dyn Fn(ConnectError) -> Trouble;

impl Dial<'_> {
    /// Looks an address up, which is a step if it is a name. Returns a place for each of its sockets.
    pub(super) async fn resolve(
        &self,
        address: &Address,
        explain: Explain<'_>,
        report: &mut Report,
    ) -> Vec<Place> {
        let place = |sockets| Place { address: address.clone(), sockets };
        let known = Sockets::without_lookup(address);
        let (Sockets::Unknown, Address::Host { host, port }) = (&known, address) else {
            return vec![place(known)];
        };
        let (answer, took) = timed(timeout(self.limit, look_up(host, *port))).await;
        let step = Step::new(StepName::Resolve, host.clone(), took);
        let sockets = match answer {
            Ok(Ok(sockets)) => sockets,
            Ok(Err(error)) => {
                report.add(step.with(
                    self.unresolved(place(Sockets::Unresolved(error.to_string().into())), explain).await,
                ));
                return Vec::new();
            }
            Err(_) => {
                report.add(step.with(self.unresolved(place(Sockets::Unknown), explain).await));
                return Vec::new();
            }
        };
        let addresses = sockets.iter().map(|socket| host_of(&socket.to_string())).collect();
        report.add(step.found(Finding::Addresses(addresses)));
        let one = |socket| place(Sockets::Tcp(Box::new([socket])));
        sockets.into_iter().take(TRIES_PER_NAME).map(one).collect()
    }

    /// Returns the problem of a name without addresses, as every dial has it.
    async fn unresolved(&self, place: Place, explain: Explain<'_>) -> Option<Trouble> {
        open(&place, self.limit, self.tcp).await.err().map(explain)
    }

    /// Connects to a place with one socket, without TLS.
    pub(super) async fn connect(&self, place: &Place) -> Result<Stream, ConnectError> {
        open(place, self.limit, self.tcp).await
    }

    /// Connects to a place with one socket, with TLS if there is any, and reports each step.
    pub(super) async fn dial(&self, place: &Place, explain: Explain<'_>, report: &mut Report) -> Dialed {
        let (stream, took) = timed(self.connect(place)).await;
        let step = Step::new(StepName::Connect, socket_of(place), took);
        match stream {
            Ok(stream) => {
                report.add(step);
                self.secure(stream, place, explain, report).await
            }
            Err(error) => {
                report.add(step.with(explain(error)));
                Dialed::Refused
            }
        }
    }

    /// Performs the TLS handshake, if there is TLS, and reports it.
    pub(super) async fn secure(
        &self,
        stream: Stream,
        place: &Place,
        explain: Explain<'_>,
        report: &mut Report,
    ) -> Dialed {
        let Some(tls) = self.tls else { return Dialed::Connected(stream) };
        let (secured, took) = timed(secure(stream, place, tls, self.limit, self.tcp)).await;
        let step = Step::new(StepName::Tls, None, took);
        match secured {
            Ok(stream) => {
                report.add(certificate(step, &stream));
                Dialed::Connected(stream)
            }
            Err(error) => {
                report.add(step.with(explain(error)));
                Dialed::Insecure
            }
        }
    }

    /// Looks an address up without a report.
    pub(super) async fn place(&self, address: &Address) -> Place {
        let known = Sockets::without_lookup(address);
        let sockets = match (&known, address) {
            (Sockets::Unknown, Address::Host { host, port }) => {
                match timeout(self.limit, look_up(host, *port)).await {
                    Ok(Ok(sockets)) => Sockets::Tcp(sockets.into()),
                    Ok(Err(error)) => Sockets::Unresolved(error.to_string().into()),
                    Err(_) => Sockets::Unknown,
                }
            }
            _ => known,
        };
        Place { address: address.clone(), sockets }
    }

    /// Connects without a report.
    ///
    /// # Errors
    /// The socket does not accept, or the TLS handshake fails.
    pub(super) async fn quietly(&self, place: &Place) -> Result<Stream, ConnectError> {
        let stream = self.connect(place).await?;
        match self.tls {
            Some(tls) => secure(stream, place, tls, self.limit, self.tcp).await,
            None => Ok(stream),
        }
    }
}

/// Adds the facts of the server's certificate to the step.
fn certificate(step: Step, stream: &Stream) -> Step {
    let Some(facts) = stream.peer_certificates().and_then(<[_]>::first).and_then(Facts::of) else {
        return step;
    };
    let now = wall_clock();
    let days_left = facts.seconds_left(now).div_euclid(DAY);
    let names = || facts.names.first().map_or_else(|| "no subject".to_owned(), |name| format!("for {name}"));
    let subject = if facts.subject.is_empty() { names() } else { facts.subject.clone() };
    let due = facts.is_due(now).then(|| {
        Trouble::warning(
            "certificate",
            format!("the certificate expires on {}", moment(facts.not_after)),
            "renew it",
        )
    });
    step.found(Finding::Certificate { subject: shown(&subject), days_left }).with(due)
}

/// Returns the socket of a place as text.
pub(super) fn socket_of(place: &Place) -> String {
    match &place.sockets {
        Sockets::Tcp(sockets) => sockets.first().map(ToString::to_string).unwrap_or_default(),
        Sockets::Unix(path) => format!("unix:{}", path.display()),
        Sockets::Unknown | Sockets::Unresolved(_) => place.address.to_string(),
    }
}

/// Returns a socket address without its port.
fn host_of(socket: &str) -> String {
    socket.rsplit_once(':').map_or(socket, |(host, _)| host).trim_matches(['[', ']']).to_owned()
}
