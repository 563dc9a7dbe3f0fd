//! Messages, as a socket in place of the service manager's receives them.

use super::*;

/// A socket that receives what a manager connected to it sends.
fn connected(name: &str, socket: UnixDatagram) -> (ServiceManager, UnixDatagram) {
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let variables = [Some("30000000".into()), None];
    (ServiceManager::connect(OsStr::new(name), variables).unwrap(), socket)
}

fn received(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 1024];
    let length = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[test]
fn messages_reach_a_socket_with_a_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let (manager, socket) = connected(path.to_str().unwrap(), UnixDatagram::bind(&path).unwrap());
    assert!(manager.is_present());
    manager.ready();
    assert_eq!(received(&socket), "READY=1");
    manager.reloading(Trigger::Names);
    manager.reloading(Trigger::Signal);
    let reloading = received(&socket);
    let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse::<u64>().unwrap();
    assert!(micros > 0);
    manager.reloaded(Trigger::Names, ReloadResult::Rejected);
    manager.reloaded(Trigger::Signal, ReloadResult::Applied);
    assert_eq!(received(&socket), "READY=1");
    manager.alive();
    assert_eq!(received(&socket), "WATCHDOG=1");
    let silent = ServiceManager::connect(path.as_os_str(), [None, None]).unwrap();
    silent.fall_silent();
    silent.ready();
    manager.stopping(Duration::from_secs(30));
    assert_eq!(
        received(&socket),
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000\nSTATUS=stopping: pending commands are finished first, within 30s"
    );
}

#[test]
fn messages_reach_a_socket_with_an_abstract_name() {
    let name = format!("portcullis-test-{}", process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let (manager, socket) = connected(&format!("@{name}"), socket);
    manager.ready();
    assert_eq!(received(&socket), "READY=1");
}

#[test]
fn the_status_is_one_line_that_names_what_is_missing() {
    let manager = ServiceManager::default();
    assert_eq!(manager.status(""), "ready");
    assert_eq!(
        manager.status("upstream 'main' is down\n(refused)"),
        "not ready: upstream 'main' is down (refused)"
    );
    manager.reloaded(Trigger::Watch, ReloadResult::Rejected);
    assert_eq!(manager.status(""), "ready; the last reload was rejected: see the log");
    manager.reloaded(Trigger::Watch, ReloadResult::Unchanged);
    assert_eq!(manager.status(""), "ready");
}

#[test]
fn without_a_socket_nothing_is_sent() {
    let manager = ServiceManager::default();
    assert!(!manager.is_present());
    assert_eq!(manager.watchdog_interval(), None);
    manager.ready();
}

#[test]
fn a_name_that_is_no_address_is_an_error() {
    for name in ["notify", "vsock:2:1234"] {
        assert!(ServiceManager::connect(OsStr::new(name), [None, None]).is_err(), "{name}");
    }
}

#[test]
fn the_watchdog_is_that_of_this_process() {
    let of = |interval: &str, owner: Option<&str>| watchdog(Some(interval.into()), owner.map(OsString::from));
    let this = process::id().to_string();
    assert_eq!(of("3000000", Some(&this)), Some(Duration::from_secs(3)));
    assert_eq!(of("3000000", None), Some(Duration::from_secs(3)));
    assert_eq!(of("3000000", Some("1")), None);
    assert_eq!(of("0", None), None);
    assert_eq!(of("soon", None), None);
    assert_eq!(watchdog(None, None), None);
}

/// A service manager that does not read fills its queue. The process goes on.
#[test]
fn a_full_queue_does_not_block_for_long() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let (manager, _socket) = connected(path.to_str().unwrap(), UnixDatagram::bind(&path).unwrap());
    manager.socket.as_ref().unwrap().set_nonblocking(true).unwrap();
    while manager.socket.as_ref().unwrap().send(b"WATCHDOG=1").is_ok() {}
    manager.socket.as_ref().unwrap().set_nonblocking(false).unwrap();
    let before = std::time::Instant::now();
    manager.alive();
    assert!(before.elapsed() < Duration::from_secs(10));
}
