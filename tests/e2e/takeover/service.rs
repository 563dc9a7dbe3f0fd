//! The same load on an installed service, which `tests/systemd.sh` restarts under a real systemd.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::load::under_load;

/// The address of the service, that of its Redis, and the command that restarts the service.
const VARIABLES: [&str; 3] = ["SERVICE_ADDRESS", "SERVICE_REDIS", "SERVICE_RESTART"];

/// The machine of tests/systemd.sh runs nothing else.
const LIMIT: Duration = Duration::from_secs(1);

#[test]
#[ignore = "tests/systemd.sh runs it: it needs a service"]
fn ten_restarts_of_a_service() {
    let [address, redis, restart] =
        VARIABLES.map(|name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set")));
    let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let seen = under_load(parse(&address), parse(&redis), |_| {
        let status = Command::new("sh").args(["-c", &restart]).status().expect("sh starts");
        assert!(status.success(), "{restart}: {status}");
    });
    seen.check(LIMIT);
}
