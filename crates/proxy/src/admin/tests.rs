use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_config::{Config, LoadOptions, load};
use tokio::sync::oneshot;

use super::*;
use crate::control::report::{Report, Trigger};
use crate::net::ready::ReadySockets;
use crate::upstream::health::Watched;

/// A served endpoint, on a thread of its own as in the proxy.
struct Served {
    addr: Option<SocketAddr>,
    state: Arc<AdminState>,
    watched: Vec<Arc<Watched>>,
    /// The receiver of requests, kept so that they are not refused.
    asked: mpsc::Receiver<Request>,
    dir: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Served {
    fn start(admin: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "a-token-of-some-length-0123456789").unwrap();
        let config = config(dir.path(), admin);
        let health = Arc::new(Health::default());
        let watched = health.follow(&config);
        let process = Arc::new(Process::new(config, 100).unwrap());
        let generation = process.store.current();
        let config = generation.config();
        let admin = config.admin().unwrap();
        let (requests, asked) = mpsc::channel(1);
        let state = AdminState::new(admin, process, Arc::clone(&health), Arc::default(), requests);
        let bound = Bound::bind(admin.bind(), config.limits().tcp(), &mut ReadySockets::default()).unwrap();
        let (addr, serving) = (bound.tcp_addr(), Arc::clone(&state));
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(Rc::new(bound), serving, async { drop(stopped.await) })).unwrap();
        });
        Self { addr, state, watched, asked, dir, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr.unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Status, headers in lower case, body.
    fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        read_answer(stream)
    }

    fn status(&self, request: &str) -> u16 {
        self.ask(request).0
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking());
        }
    }
}

fn config(dir: &Path, admin: &str) -> Config {
    let yaml = format!(
        "listeners:\n  - {{name: public, bind: '127.0.0.1:6379', upstream: main, allow: [office]}}\n\
         upstreams:\n  main: {{address: '127.0.0.1:1'}}\n  unused: {{address: '127.0.0.1:1'}}\n\
         groups:\n  office:\n    - 10.0.0.0/8\n    - {{cidr: 192.0.2.7, until: 2999-01-01T00:00:00Z}}\n\
         admin: {}\n",
        admin.replace("DIR", &dir.display().to_string())
    );
    let path = dir.join("portcullis.yaml");
    std::fs::write(&path, yaml).unwrap();
    load(&path, &LoadOptions::new()).unwrap_or_else(|problems| panic!("{problems:?}")).config
}

fn read_answer(mut stream: impl Read) -> (u16, String, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

const LOOPBACK: &str = "{bind: '127.0.0.1:0'}";

#[test]
fn the_routes_that_exist() {
    let served = Served::start(LOOPBACK);
    let (status, head, body) = served.get("/live");
    assert_eq!((status, body.as_str()), (200, "live\n"));
    assert!(
        head.contains("x-content-type-options: nosniff") && head.contains("cache-control: no-store"),
        "{head}"
    );
    for (path, kind) in [
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/app.css", "text/css"),
        ("/favicon.ico", "image/svg+xml"),
    ] {
        let (status, head, body) = served.get(path);
        assert!(
            status == 200 && head.contains(&format!("content-type: {kind}")) && !body.is_empty(),
            "{head}"
        );
        assert!(head.contains("script-src 'self'; style-src 'self'; connect-src 'self'"), "{head}");
    }
    assert_eq!(served.get("/nonexistent").0, 404);
    assert!(served.get("/api/nonexistent").2.contains("\"error\":\"path\""));
    assert_eq!(served.status("HEAD /live HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);

    let (status, head, body) = served.get("/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("portcullis_group_entries{group=\"office\"} 2\n"), "{body}");
    assert!(
        body.contains("portcullis_group_next_expiry_timestamp_seconds{group=\"office\"} 32472144000\n"),
        "{body}"
    );
}

#[test]
fn ready_names_what_is_down_and_only_what_is_used() {
    let served = Served::start(LOOPBACK);
    let (status, _, body) = served.get("/ready");
    assert_eq!((status, body.as_str()), (503, "upstream 'main' has not been probed yet\n"));

    served.watched[0].found(Err(crate::metrics::UpstreamErrorKind::Auth));
    let (status, _, body) = served.get("/ready");
    assert!(status == 503 && body.starts_with("upstream 'main' is down (auth) since 20"), "{body}");
    assert_eq!(body.lines().count(), 1, "{body}");
    assert!(!body.contains("127.0.0.1"), "no addresses: {body}");

    served.watched[0].found(Ok(()));
    assert_eq!(served.get("/ready").0, 200);
    served.state.set_draining();
    let (status, _, body) = served.get("/ready");
    assert_eq!((status, body.as_str()), (503, "stopping\n"));
    assert_eq!(served.get("/live").0, 200);
}

/// Threat 31: a page in a browser gets nowhere by a name that resolves to this machine.
#[test]
fn only_names_of_this_machine_are_answered() {
    let served = Served::start(LOOPBACK);
    let status = |request: &str| served.status(&format!("{request}\r\n\r\n"));
    for host in [
        "localhost",
        "LOCALHOST:9377",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.9.9.9",
        "[::1]:9377",
        "[::ffff:127.0.0.1]",
    ] {
        assert_eq!(status(&format!("GET /metrics HTTP/1.1\r\nHost: {host}")), 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "[2001:db8::1]",
        "",
        "a b",
        "localhost@evil",
        "evil@localhost",
    ] {
        let found = status(&format!("GET /metrics HTTP/1.1\r\nHost: {host}"));
        assert!(found == 403 || found == 400, "{host}: {found}");
    }
    assert_eq!(status("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost"), 403);
    assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example"), 403);
    assert_eq!(status("GET /live HTTP/1.0"), 200, "load balancers speak HTTP/1.0 without Host");
}

#[test]
fn with_a_token_only_monitoring_and_the_page_are_open() {
    let served = Served::start("{bind: '127.0.0.1:0', token: {file: token}}");
    let index = |authorization: &str| {
        served.ask(&format!("GET /api/groups HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n"))
    };
    for path in ["/live", "/metrics", "/", "/app.js", "/app.css", "/favicon.ico"] {
        assert_eq!(served.get(path).0, 200, "{path}");
    }
    assert_eq!(served.get("/ready").0, 503);
    let (status, head, body) = index("");
    assert!(
        status == 401 && head.contains("www-authenticate: bearer") && !body.contains("a-token"),
        "{head}"
    );
    assert_eq!(served.get("/nonexistent").0, 401, "what there is is nobody's business");
    let right = "Authorization: Bearer a-token-of-some-length-0123456789\r\n";
    assert_eq!(index(right).0, 200);
    for wrong in [
        "Authorization: Bearer a-token-of-some-length-012345678\r\n".to_owned(),
        "Authorization: Bearer \r\n".to_owned(),
        "Authorization: Basic a-token-of-some-length-0123456789\r\n".to_owned(),
        format!("{right}{right}"),
    ] {
        assert_eq!(index(&wrong).0, 401, "{wrong}");
    }
    assert!(!format!("{:?}", served.state).contains("a-token"));
}

#[test]
fn over_a_unix_socket() {
    let served = Served::start("{bind: 'unix:DIR/admin.sock'}");
    let path: PathBuf = served.dir.path().join("admin.sock");
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: anything\r\n\r\n").unwrap();
    assert_eq!(read_answer(stream).0, 200);
    let Served { stop, thread, .. } = &mut { served };
    drop(stop.take());
    thread.take().unwrap().join().unwrap();
    assert!(!path.exists(), "the socket file is removed");
}

/// Threat 31: connections that are held open take no place from those that ask.
#[test]
fn slow_clients_cannot_keep_a_scrape_out() {
    let served = Served::start(LOOPBACK);
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = served.connect();
        stream.write_all(b"GET /metrics HTT").unwrap();
        held.push(stream);
        if held.len() % 50 == 0 {
            let started = Instant::now();
            assert_eq!(served.get("/live").0, 200);
            assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        }
    }
}

#[test]
fn a_request_that_never_ends_is_closed() {
    let served = Served::start(LOOPBACK);
    let mut stream = served.connect();
    let started = Instant::now();
    stream.write_all(b"GET /live HTTP/1.1\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!((4..15).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    // A header larger than any honest one is refused while it comes.
    let huge = format!("GET /live HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let mut stream = served.connect();
    let _ = stream.write_all(huge.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

/// A client may close its side once it has asked (`nc -N`), or ask again on the same connection and be told no.
#[test]
fn one_request_a_connection() {
    let served = Served::start(LOOPBACK);
    let mut stream = served.connect();
    let request = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.repeat(2).as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let (status, head, body) = read_answer(stream);
    assert_eq!((status, body.as_str()), (200, "live\n"));
    assert!(head.contains("connection: close"), "{head}");
}

#[test]
fn a_reload_is_asked_for_and_its_report_is_the_answer() {
    let mut served = Served::start("{bind: '127.0.0.1:0', token: {file: token}}");
    let post = |served: &Served| {
        let mut stream = served.connect();
        let head = "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n";
        let token = "Authorization: Bearer a-token-of-some-length-0123456789\r\n\r\n";
        stream.write_all(format!("{head}{token}").as_bytes()).unwrap();
        stream
    };
    let asking = post(&served);
    let request = served.asked.blocking_recv().unwrap();
    assert_eq!(request.trigger, Trigger::Api);
    request.answer.send(Report::unchanged(Trigger::Api, 7)).unwrap();
    let (status, _, body) = read_answer(asking);
    assert!(status == 200 && body.contains("\"result\":\"unchanged\",\"generation\":7"), "{body}");

    let waiting = post(&served);
    while served.asked.is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    let (status, _, body) = read_answer(post(&served));
    assert!(status == 503 && body.contains("\"error\":\"busy\""), "{body}");

    // The proxy stops: who waits is told, and who comes.
    served.asked.close();
    drop(served.asked.try_recv());
    for asking in [waiting, post(&served)] {
        let (status, _, body) = read_answer(asking);
        assert!(status == 503 && body.contains("\"error\":\"stopping\""), "{body}");
    }
}

/// The description of the API has exactly the routes that exist.
#[test]
fn the_description_has_every_route_and_method() {
    let described: serde_json::Value = serde_json::from_str(page::OPENAPI).unwrap();
    assert_eq!(described["openapi"], "3.1.0");
    assert_eq!(described["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut expected = std::collections::BTreeSet::new();
    for (path, methods, _) in routes::routes() {
        expected.extend(methods.iter().map(|method| format!("{method} {path}")));
    }
    let paths = described["paths"].as_object().unwrap();
    let found = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
    });
    assert_eq!(found.collect::<std::collections::BTreeSet<_>>(), expected);
}

/// The methods that [`routes::routes`] names are those that are answered.
#[test]
fn a_route_has_the_methods_that_it_names_and_no_others() {
    let mut served = Served::start("{bind: '127.0.0.1:0', token: {file: token}}");
    served.asked.close();
    let token = "Authorization: Bearer a-token-of-some-length-0123456789";
    for (path, methods, _) in routes::routes().into_iter().filter(|(path, ..)| *path != "/api/events") {
        let path = path.replace("{id}", "1").replace("{group}", "office");
        for method in ["get", "post", "delete", "put"] {
            let head = format!("{} {path} HTTP/1.1\r\nHost: localhost\r\n{token}\r\n", method.to_uppercase());
            let status = served.status(&format!("{head}Content-Length: 0\r\n\r\n"));
            assert_eq!(status != 405, methods.contains(&method), "{method} {path}: {status}");
        }
    }
}

/// A caller that was disconnected for newer connections. A file that is edited but not read would change the next
/// reload.
#[test]
fn an_edit_that_has_begun_is_finished_for_nobody_too() {
    let mut served = Served::start("{bind: '127.0.0.1:0', token: {file: token}}");
    let body = "{\"cidr\": \"198.51.100.7\"}";
    let request = format!(
        "POST /api/groups/office/entries HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Authorization: Bearer a-token-of-some-length-0123456789\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let before_it = served.state.edits.blocking_lock();
    let mut asker = served.connect();
    asker.write_all(request.as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(300));
    let others: Vec<_> = (0..100).map(|_| served.connect()).collect();
    let mut answer = Vec::new();
    // An end or a reset.
    let _ = asker.read_to_end(&mut answer);
    assert!(answer.is_empty(), "it was not pushed out: {}", String::from_utf8_lossy(&answer));
    drop(before_it);
    let asked_by = Instant::now() + Duration::from_secs(20);
    while served.asked.try_recv().is_err() {
        assert!(Instant::now() < asked_by, "no reload was asked for");
        thread::sleep(Duration::from_millis(10));
    }
    let text = std::fs::read_to_string(served.dir.path().join("portcullis.yaml")).unwrap();
    assert!(text.contains("198.51.100.7"), "{text}");
    drop(others);
}
