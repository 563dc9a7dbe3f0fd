//! The server binaries that tests start: the installed one, and other versions that `TEST_SERVERS` names.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// A server binary.
#[derive(Clone, Debug)]
pub struct Server {
    /// The name in messages of failures, as `tests/servers.sh` prints it: `redis-6.2`.
    pub name: String,
    pub path: PathBuf,
}

impl Server {
    /// Returns the installed `redis-server`.
    pub fn installed() -> Self {
        Self { name: "installed".to_owned(), path: "redis-server".into() }
    }

    /// Returns the installed server, and then those of `TEST_SERVERS`, which `tests/servers.sh` prints:
    /// `NAME=PATH:NAME=PATH`.
    pub fn all() -> Vec<Self> {
        let listed = env::var("TEST_SERVERS").unwrap_or_default();
        let others = listed.split(':').filter(|entry| !entry.trim().is_empty()).map(|entry| {
            let (name, path) = entry.trim().split_once('=').expect("TEST_SERVERS is NAME=PATH:NAME=PATH");
            Self { name: name.to_owned(), path: path.into() }
        });
        std::iter::once(Self::installed()).chain(others).collect()
    }

    /// Returns the server of the nodes of clusters: the installed one, or that of `TEST_SERVERS` which
    /// `TEST_CLUSTER_SERVER` names.
    pub fn of_clusters() -> Self {
        let Ok(name) = env::var("TEST_CLUSTER_SERVER") else { return Self::installed() };
        let named = Self::all().into_iter().find(|server| server.name == name);
        named.unwrap_or_else(|| panic!("TEST_CLUSTER_SERVER: TEST_SERVERS has no {name}"))
    }

    /// Returns whether the server was built with TLS. Only such a server complains about the missing certificate.
    pub fn has_tls(&self) -> bool {
        let output = Command::new(&self.path).args(["--port", "0", "--tls-port", "6380"]).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
        String::from_utf8_lossy(&output.stdout).contains("No tls-cert-file configured")
    }

    /// Returns the major and minor version that `--version` prints.
    pub fn version(&self) -> (u32, u32) {
        let output = Command::new(&self.path).arg("--version").output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_once("v=").and_then(|(_, rest)| {
            let mut numbers = rest.split(['.', ' ']).map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        });
        version.unwrap_or_else(|| panic!("{}: no version in {text:?}", self.path.display()))
    }
}
