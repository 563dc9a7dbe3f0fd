//! Looks up the host names of a configuration, for commands that judge a file without a running proxy.

use std::collections::HashMap;
use std::net::IpAddr;

use portcullis_config::{Admitted, Config, Host, HostName, Problem};
use tokio::runtime::Builder;

use crate::control::names::{NameError, look_up_all};
use crate::net::lookup::LookupError;

/// The answers of the host names of a configuration.
#[derive(Debug)]
pub(super) struct Answers(HashMap<HostName, Result<Vec<IpAddr>, NameError>>);

impl Answers {
    /// Looks the names up as the proxy does. `None`: the system has no runtime for it.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().ok()?;
        Some(Self(runtime.block_on(look_up_all(config.hosts()))))
    }

    /// The configuration as it is in force with these answers.
    pub(super) fn apply(&self, config: &Config) -> Config {
        config.resolved(|host| self.answer(host).cloned().unwrap_or_default())
    }

    /// The addresses that an entry admits and drops.
    ///
    /// # Errors
    /// The name does not resolve.
    pub(super) fn admitted(&self, host: &Host) -> Result<Admitted, NameError> {
        self.answer(host).map(|answer| host.admits(answer))
    }

    /// A warning for each entry that admits no address.
    pub(super) fn warnings(&self, config: &Config) -> Vec<Problem> {
        let warning = |host: &Host| match self.admitted(host) {
            Ok(admitted) => host.admits_none(&admitted),
            Err(error) => Some(host.unresolved(&std::io::Error::other(error))),
        };
        config.hosts().iter().filter_map(warning).collect()
    }

    fn answer(&self, host: &Host) -> Result<&Vec<IpAddr>, NameError> {
        match self.0.get(host.name()) {
            Some(answer) => answer.as_ref().map_err(Clone::clone),
            None => Err(LookupError::NoThread.into()),
        }
    }
}
