//! Starting, draining, stopping, and running out of file descriptors.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::client::command;
use e2e::{Client, Gate, Redis, Reply, eventually, holds_for, ports};
use rustix::process::Signal;

/// No command is in progress, so the proxy closes idle clients and exits.
#[test]
fn an_idle_gate_stops_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let redis = Redis::plain();
        let mut gate = Gate::before(&redis).start();
        let mut used = gate.connect();
        used.assert_reply("PING", "+PONG");
        let mut unused = gate.connect();
        let started = Instant::now();
        gate.process().signal(signal);
        assert_eq!(gate.process().wait().code(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
        used.assert_closed();
        unused.assert_closed();
    }
}

/// A slow client still receives its reply of 64 MiB completely. Meanwhile new clients are not served.
#[test]
fn pending_replies_are_finished() {
    const SIZE: u64 = 64 * 1024 * 1024;
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    let mut client = gate.connect();
    client.assert_reply(&format!("SETRANGE big {} x", SIZE - 1), &format!(":{SIZE}"));
    client.send("GET big");
    client.assert_recv_raw(format!("${SIZE}\r\n").as_bytes());
    gate.process().signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(gate.process().ended(), None, "ended with a reply in flight");
    assert!(!is_served(&gate), "a new client is served while draining");
    client.read_through(SIZE, |_| ());
    client.assert_recv_raw(b"\r\n");
    client.assert_closed();
    assert_eq!(gate.process().wait().code(), Some(0));
}

/// Returns a client with an unread reply of 64 MiB, so that the proxy has something to finish.
fn with_a_reply_in_flight(gate: &Gate) -> (Client, u64) {
    const SIZE: u64 = 64 * 1024 * 1024;
    let mut client = gate.connect();
    client.assert_reply(&format!("SETRANGE big {} x", SIZE - 1), &format!(":{SIZE}"));
    client.send("GET big");
    client.assert_recv_raw(format!("${SIZE}\r\n").as_bytes());
    (client, SIZE)
}

/// A terminal sends SIGINT to the whole process group, and a wrapper repeats it. Together they are one request to stop.
#[test]
fn interrupts_at_once_are_one() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    let (mut client, size) = with_a_reply_in_flight(&gate);
    for _ in 0..3 {
        gate.process().signal(Signal::INT);
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(gate.process().ended(), None, "ended with a reply in flight");
    client.read_through(size, |_| ());
    client.assert_recv_raw(b"\r\n");
    client.assert_closed();
    assert_eq!(gate.process().wait().code(), Some(0));
}

/// A second Ctrl-C, while the proxy drains, stops it at once.
#[test]
fn a_later_interrupt_is_a_second_one() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    let (_client, _) = with_a_reply_in_flight(&gate);
    gate.process().signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(gate.process().ended(), None, "ended with a reply in flight");
    gate.process().signal(Signal::INT);
    assert_eq!(gate.process().wait().code(), Some(1));
}

/// Scripts for other servers send these signals to reopen logs. A closed terminal causes SIGPIPE.
#[test]
fn signals_for_other_programs_do_not_end_it() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    let mut client = gate.connect();
    for signal in [Signal::USR1, Signal::USR2, Signal::PIPE] {
        gate.process().signal(signal);
    }
    for name in ["SIGUSR1", "SIGUSR2"] {
        eventually("the log says so", || gate.stderr().contains(&format!("{name} is ignored")).then_some(()));
    }
    client.assert_reply("PING", "+PONG");
    assert_eq!(gate.process().ended(), None);
}

fn is_served(gate: &Gate) -> bool {
    let Ok(stream) = std::net::TcpStream::connect(gate.address()) else { return false };
    drop(stream);
    let mut client = gate.connect();
    let _ = client.try_send_raw(&command("PING"));
    client.read_to_end().0.starts_with(b"+PONG")
}

/// A blocked command may still get its reply during the drain.
#[test]
fn a_blocked_command_may_finish() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    let mut client = gate.connect();
    client.send("BLPOP list 0");
    let mut control = redis.control();
    eventually("the client waits", || {
        control.call("INFO clients").text().contains("blocked_clients:1\r").then_some(())
    });
    gate.process().signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(200));
    control.assert_reply("RPUSH list x", ":1");
    client.assert_recv(r#"["list" "x"]"#);
    client.assert_closed();
    assert_eq!(gate.process().wait().code(), Some(0));
}

/// After the drain time the proxy disconnects the remaining clients. The exit code is still 0.
#[test]
fn subscribers_are_cut_after_the_drain_time() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).top("limits: {timeouts: {drain: 1s}}").start();
    let mut client = gate.connect();
    client.assert_reply("SUBSCRIBE c", r#"["subscribe" "c" :1]"#);
    let started = Instant::now();
    gate.process().signal(Signal::TERM);
    client.assert_closed();
    assert_eq!(gate.process().wait().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
}

#[test]
fn a_second_signal_stops_at_once() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    let mut client = gate.connect();
    client.send("BLPOP list 0");
    eventually("the client waits", || {
        redis.control().call("INFO clients").text().contains("blocked_clients:1\r").then_some(())
    });
    gate.process().signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(gate.process().ended(), None);
    let started = Instant::now();
    gate.process().signal(Signal::TERM);
    assert_eq!(gate.process().wait().code(), Some(1));
    assert!(started.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
}

/// Under load every client receives only complete replies, and only to its own commands.
#[test]
fn no_half_replies() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    let stop = AtomicBool::new(false);
    let begun = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|i| {
                let mut client = gate.connect();
                let (stop, begun) = (&stop, &begun);
                scope.spawn(move || load(&mut client, i, stop, begun))
            })
            .collect();
        eventually("all are served", || (begun.load(Ordering::Relaxed) == 8).then_some(()));
        std::thread::sleep(Duration::from_millis(300));
        gate.process().signal(Signal::TERM);
        let status = gate.process().wait();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(status.code(), Some(0));
        for worker in workers {
            assert!(worker.join().expect("whole replies") > 0);
        }
    });
}

/// Sends pipelines until the connection closes. Returns the number of replies read.
fn load(client: &mut Client, number: usize, stop: &AtomicBool, begun: &AtomicUsize) -> usize {
    let value = "x".repeat(3000);
    let mut replies = 0;
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let text = format!("{number}:{round}:{value}");
        let batch = command(&format!("ECHO {text}")).repeat(20);
        if client.try_send_raw(&batch).is_err() {
            break;
        }
        let due = format!("${}\r\n{text}\r\n", text.len()).repeat(20);
        let mut got = Vec::new();
        let ended = !client.read_up_to(due.len(), &mut got);
        assert!(due.as_bytes().starts_with(&got), "foreign bytes in the replies");
        let mut rest = &got[..];
        while !rest.is_empty() {
            let (_, length) = Reply::parse(rest).expect("half a reply");
            rest = &rest[length..];
            replies += 1;
        }
        if ended {
            break;
        }
        if round == 0 {
            begun.fetch_add(1, Ordering::Relaxed);
        }
        round += 1;
    }
    replies
}

/// Without free descriptors the proxy does not spin. It recovers when some are free again.
#[test]
fn out_of_file_descriptors() {
    let redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    let mut first = gate.connect();
    first.assert_reply("PING", "+PONG");
    let open =
        std::fs::read_dir(format!("/proc/{}/fd", gate.process().pid())).expect("the gate runs").count();
    let limit = open + 20;
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &gate.process().pid().to_string(), &format!("--nofile={limit}:{limit}")])
        .status()
        .expect("prlimit of util-linux starts");
    assert!(status.success());
    let crowd: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = gate.connect();
            let _ = client.try_send_raw(&command("PING"));
            client
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let share = gate.process().cpu_share_over(Duration::from_secs(1));
    assert!(share < 0.2, "the gate uses {:.0} % of a core without descriptors", share * 100.0);
    first.assert_reply("PING", "+PONG");
    drop(crowd);
    eventually("new clients are served", || {
        let mut client = gate.connect();
        client.try_send_raw(&command("PING")).ok()?;
        let mut got = Vec::new();
        (client.read_up_to(7, &mut got) && got == b"+PONG\r\n").then_some(())
    });
    assert_eq!(gate.get("/live").0, 200);
}

/// If there are few descriptors at the start, the proxy lowers the number of clients and logs it, as Redis does.
#[test]
fn few_file_descriptors_from_the_start() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).under(["prlimit", "--nofile=200:200"]).start();
    // 48 descriptors are reserved, and a client has two; 10000 clients are the default.
    gate.assert_log(
        "limits.clients is lowered to 76, because the limit of open files is too low; raise it to 20048 (",
    );
    let mut served = Vec::new();
    let mut refused = 0;
    for _ in 0..100 {
        let mut client = gate.connect();
        let _ = client.try_send_raw(&command("PING"));
        let mut got = Vec::new();
        client.read_up_to(7, &mut got);
        if got == b"+PONG\r\n" { served.push(client) } else { refused += 1 }
    }
    assert!(served.len() > 10 && refused > 10, "{} served, {refused} refused", served.len());
    drop(served);
    eventually("new clients are served", || {
        let mut client = gate.connect();
        client.try_send_raw(&command("PING")).ok()?;
        let mut got = Vec::new();
        (client.read_up_to(7, &mut got) && got == b"+PONG\r\n").then_some(())
    });
}

/// `limits.clients`: the error is Redis's own, and a client that disconnects makes room for another one.
#[test]
fn too_many_clients() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).top("limits: {clients: 2}").start();
    let mut two = [gate.connect(), gate.connect()];
    for client in &mut two {
        client.assert_reply("PING", "+PONG");
    }
    let (got, _) = gate.connect().read_to_end();
    assert_eq!(String::from_utf8_lossy(&got), "-ERR max number of clients reached\r\n");
    gate.assert_metric("connections_refused_total", &[("reason", "limit")], 1.0);
    drop(two);
    eventually("there is room again", || {
        let mut client = gate.connect();
        client.try_send_raw(&command("PING")).ok()?;
        let mut got = Vec::new();
        (client.read_up_to(7, &mut got) && got == b"+PONG\r\n").then_some(())
    });
}

/// `idle`: silent clients are closed. Clients that wait for Redis or for messages are not.
#[test]
fn idle_clients_are_closed() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).top("limits: {timeouts: {idle: 1s}}").start();
    let mut idle = gate.connect();
    idle.assert_reply("PING", "+PONG");
    let mut blocked = gate.connect();
    blocked.send("BLPOP list 0");
    idle.assert_closed();
    holds_for(Duration::from_millis(300), "a blocked client is not idle", || {
        redis.control().call("INFO clients").text().contains("blocked_clients:1\r")
    });
    eventually("the event is counted", || {
        (gate.metric("connections_closed_total", &[("reason", "idle")]) == 1.0).then_some(())
    });
}

/// If the port is in use, the exit code is 1 and the error names the port.
#[test]
fn a_busy_port() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let yaml = format!(
        "listeners:\n  - {{name: public, bind: \"127.0.0.1:{port}\", upstream: main, allow: [127.0.0.1]}}\n\
         upstreams: {{main: {{address: \"127.0.0.1:{}\"}}}}\nadmin: off\n",
        ports::free()
    );
    std::fs::write(directory.path().join("portcullis.yaml"), yaml).expect("writable");
    let output = e2e::gate::portcullis(directory.path(), ["run"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&format!("127.0.0.1:{port}")) && told.to_lowercase().contains("in use"), "{told}");
}
