//! `portcullis import` on generated configurations. rinetd, nginx and HAProxy run beside a gate that runs the imported
//! file. The test tries every address that a file names, and its neighbours, at both. The gate must refuse every client
//! that the program refuses. The test also counts the other clients that the gate admits, because a gate that admits no
//! client proves nothing.
//!
//! `E2E_SEED` and `E2E_IMPORT_ROUNDS` select other configurations and longer runs.

mod haproxy;
mod nginx;
mod rinetd;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use e2e::random::number;
use e2e::{Process, Random, Redis, eventually, namespace, ports};
use socket2::{Domain, Socket, Type};

use super::{binary, installed, run, text};

/// The number of configurations of each program in an ordinary run, which takes about ten seconds.
const ROUNDS: u64 = 25;
/// The most addresses that are tried at each port.
const MOST_PROBES: usize = 48;
/// The time limit for an answer that must come, on a machine under load.
const LONG: Duration = Duration::from_secs(10);
/// The time limit for an answer that may not come. A program that needs longer gets a second chance.
const SHORT: Duration = Duration::from_millis(100);
/// The addresses of the program and of the gate. No generated rule names them.
const PLACES: [[&str; 2]; 2] = [["10.255.0.1", "2001:db8:ffff::1"], ["10.255.0.2", "2001:db8:ffff::2"]];
/// The networks that rules name. Some contain others, so that the order of rules matters.
const NETS: [&str; 16] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.0/25",
    "10.1.2.128/25",
    "10.1.2.4/30",
    "10.1.2.3/32",
    "10.1.2.4/32",
    "10.2.0.0/15",
    "10.9.9.9/32",
    "10.128.0.0/9",
    "10.20.0.0/22",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1:2::/64",
    "2001:db8:1::7/128",
];
/// The number of IPv4 networks in `NETS`.
const V4_NETS: usize = 12;

/// A generated configuration. In its files `{ip}` and `{ip6}` stand for the address to listen on, `{port0}` and so on
/// for a port, and `{server}` and `{server_port}` for Redis.
struct Case {
    /// The configuration, and the other files that it names.
    files: Vec<(&'static str, String)>,
    /// The ports in use. The program always listens on the first one.
    ports: Vec<Port>,
}

#[derive(Clone, Copy)]
struct Port {
    v6: bool,
    /// Whether connections to the port may begin with a PROXY header.
    proxied: bool,
}

/// The results of all probes.
#[derive(Debug, Default)]
struct Tally {
    both: u64,
    /// The probes in `both` that had a PROXY header.
    behind: u64,
    program_only: u64,
    neither: u64,
    /// The number of configurations with which the program does not start.
    rejected: u64,
}

/// A program under test.
struct Program {
    name: &'static str,
    path: &'static str,
    arguments: &'static [&'static str],
    generate: fn(&mut Random) -> Case,
    /// Whether the program reads PROXY headers.
    proxies: bool,
}

#[test]
fn rinetd_refuses_no_client_that_gets_in_here() {
    compare(&Program {
        name: "rinetd",
        path: "/usr/sbin/rinetd",
        arguments: &["-f", "-c", "old.conf"],
        generate: rinetd::generate,
        proxies: false,
    });
}

#[test]
fn nginx_refuses_no_client_that_gets_in_here() {
    compare(&Program {
        name: "nginx",
        path: "/usr/sbin/nginx",
        arguments: &["-p", ".", "-c", "old.conf"],
        generate: nginx::generate,
        proxies: true,
    });
}

#[test]
fn haproxy_refuses_no_client_that_gets_in_here() {
    compare(&Program {
        name: "haproxy",
        path: "/usr/sbin/haproxy",
        arguments: &["-db", "-f", "old.conf"],
        generate: haproxy::generate,
        proxies: true,
    });
}

fn compare(program: &Program) {
    if !installed(program.name) {
        return;
    }
    namespace::alone(&format!("imports from {} beside the program itself are", program.name), || {
        // The namespace has every address of these networks.
        namespace::ip(&["route", "add", "local", "10.0.0.0/8", "dev", "lo"]);
        namespace::ip(&["-6", "route", "add", "local", "2001:db8::/32", "dev", "lo"]);
        fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").expect("permitted in a namespace of our own");
        let redis = Redis::plain();
        let (seed, rounds) = (number("E2E_SEED", 1), number("E2E_IMPORT_ROUNDS", ROUNDS));
        let mut tally = Tally::default();
        for round in 0..rounds {
            let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(round));
            let case = (program.generate)(&mut random);
            program.round(&case, &redis, &mut random, &mut tally);
        }
        let Tally { both, behind, program_only, neither, rejected } = tally;
        let told = format!(
            "{}: {both} admitted by both ({behind} with a PROXY header), {program_only} by the program only, {neither} by neither, \
             {rejected} of {rounds} configurations rejected by the program",
            program.name
        );
        writeln!(std::io::stderr(), "{told}").expect("standard error");
        assert!(rejected * 4 <= rounds, "too many configurations are broken: {told}");
        assert!(both * 4 >= both + program_only, "the gate admits too few clients to prove anything: {told}");
        assert!(behind > 0 || !program.proxies, "no client behind a load balancer gets in: {told}");
        assert!(neither > 0, "the program refuses no client: {told}");
    });
}

impl Program {
    fn round(&self, case: &Case, redis: &Redis, random: &mut Random, tally: &mut Tally) {
        let numbers: Vec<u16> = case.ports.iter().map(|_| ports::free()).collect();
        let directory = tempfile::tempdir().expect("a scratch directory");
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        case.write(&old, PLACES[0], &numbers, redis);
        case.write(&new, PLACES[1], &numbers, redis);
        let environment = [("OFFICE".to_owned(), "10.1.2.0/24".to_owned())];
        let mut process = Process::start(&old, "peer", self.path.as_ref(), self.arguments, &environment);
        if await_start(&mut process, PLACES[0][0], numbers[0]) == Started::Ended {
            tally.rejected += 1;
            let told = process.stderr() + &process.stdout();
            // This output shows a mistake of the generator.
            writeln!(std::io::stderr(), "{} rejects its file: {told}", self.name).expect("standard error");
            return;
        }
        let (_gate, shown) = self.import(&new, numbers[0]);
        assert_closed(&old, &new, &shown);
        for (port, number) in case.ports.iter().zip(&numbers) {
            for probe in case.probes(*port, random) {
                let [to_program, to_gate] = PLACES.map(|places| {
                    let ip = places[usize::from(port.v6)].parse().expect("an address");
                    SocketAddr::new(ip, *number)
                });
                let patience = if probe.binary { SHORT } else { LONG };
                let gate = probe.is_served(to_gate, patience);
                // Under load a program may need longer than the short time. Then it gets a second chance, and its rules
                // must refuse the client again.
                let program =
                    probe.is_served(to_program, patience) || gate && probe.is_served(to_program, LONG);
                match (program, gate) {
                    (true, true) => {
                        tally.both += 1;
                        tally.behind += u64::from(probe.header.is_some());
                    }
                    (true, false) => tally.program_only += 1,
                    (false, false) => tally.neither += 1,
                    (false, true) => panic!(
                        "{} refuses {probe:?} at port {number}, and the gate admits it\n{}\n{shown}",
                        self.name,
                        fs::read_to_string(new.join("old.conf")).expect("readable")
                    ),
                }
            }
        }
    }

    /// Imports the file in `directory` and runs the result. Also returns the output of the import.
    fn import(&self, directory: &Path, port: u16) -> (Process, String) {
        let old = directory.join("old.conf").display().to_string();
        let imported = run(&["import", self.name, &old]);
        let shown = format!("{}\n{}", text(&imported.stdout), text(&imported.stderr));
        assert_eq!(imported.status.code(), Some(0), "{shown}");
        fs::write(directory.join("portcullis.yaml"), &imported.stdout).expect("writable");
        let mut gate = Process::start(directory, "gate", binary().as_os_str(), ["run"], &[]);
        assert!(await_start(&mut gate, PLACES[1][0], port) == Started::Listens, "{shown}\n{}", gate.stderr());
        (gate, shown)
    }
}

impl Case {
    fn write(&self, directory: &Path, place: [&str; 2], numbers: &[u16], redis: &Redis) {
        fs::create_dir(directory).expect("writable");
        for (name, text) in &self.files {
            let mut text = text.replace("{ip}", place[0]).replace("{ip6}", place[1]);
            text = text.replace("{dir}", &directory.display().to_string());
            text = text.replace("{server}", &redis.address().to_string());
            text = text.replace("{server_port}", &redis.address().port().to_string());
            for (at, number) in numbers.iter().enumerate() {
                text = text.replace(&format!("{{port{at}}}"), &number.to_string());
            }
            fs::write(directory.join(name), text).expect("writable");
        }
    }

    /// Returns clients for a port: at the edges of the networks that files name, and inside and outside them.
    fn probes(&self, port: Port, random: &mut Random) -> Vec<Probe> {
        let mut sources: Vec<IpAddr> = Vec::new();
        let nets = NETS.iter().chain([&"10.77.0.0/16", &"2001:db8:77::/48"]);
        for net in nets.filter(|net| net.contains(':') == port.v6) {
            sources.extend(around(net, random));
        }
        sources.sort();
        sources.dedup();
        let mut probes: Vec<Probe> =
            sources.iter().map(|from| Probe { from: *from, header: None, binary: false }).collect();
        if port.proxied {
            let mut clients: Vec<IpAddr> = sources.clone();
            for net in NETS.iter().filter(|net| net.contains(':') != port.v6) {
                clients.extend(around(net, random));
            }
            let embedding: Vec<IpAddr> = clients.iter().flat_map(|client| embedding(*client)).collect();
            clients.extend(embedding);
            for _ in 0..MOST_PROBES * 2 {
                let (from, client) = (*random.pick(&sources), *random.pick(&clients));
                probes.push(Probe { from, header: Some(client), binary: random.one_in(2) });
            }
            while probes.len() > MOST_PROBES * 2 {
                probes.swap_remove(random.below(probes.len()));
            }
            return probes;
        }
        while probes.len() > MOST_PROBES {
            probes.swap_remove(random.below(probes.len()));
        }
        probes
    }
}

/// Returns the first and the last address of a network, their neighbours, and one address inside, if a socket can be
/// bound to them.
fn around(net: &str, random: &mut Random) -> Vec<IpAddr> {
    let (ip, len) = net.split_once('/').expect("a network");
    let len: u32 = len.parse().expect("a length");
    let inside = random.below(1 << 16);
    match ip.parse().expect("an address") {
        IpAddr::V4(ip) => {
            let first = ip.to_bits();
            let last = first | u32::MAX.checked_shr(len).unwrap_or(0);
            let inside = first + u32::try_from(inside).expect("16 bits") % (last - first).max(1);
            let all = [first, first.wrapping_sub(1), last, last.wrapping_add(1), inside];
            let own = all.into_iter().filter(|bits| bits >> 24 == 10);
            // Nothing can be sent from the first and the last address of the whole network.
            own.filter(|bits| *bits != 10 << 24 && *bits != (11 << 24) - 1)
                .map(|bits| Ipv4Addr::from_bits(bits).into())
                .collect()
        }
        IpAddr::V6(ip) => {
            let first = ip.to_bits();
            let last = first | u128::MAX.checked_shr(len).unwrap_or(0);
            let inside = first + inside as u128 % (last - first).max(1);
            let all = [first, first.wrapping_sub(1), last, last.wrapping_add(1), inside];
            let own = all.into_iter().filter(|bits| bits >> 96 == 0x2001_0db8);
            own.map(|bits| Ipv6Addr::from_bits(bits).into()).collect()
        }
    }
}

/// Returns IPv6 addresses that contain an IPv4 address: mapped, 6to4 and IPv4-compatible.
fn embedding(client: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V4(ip) = client else { return Vec::new() };
    let bits = u128::from(ip.to_bits());
    let forms = [0xffff << 32 | bits, 0x2002 << 112 | bits << 80 | 1, bits];
    forms.into_iter().map(|bits| Ipv6Addr::from_bits(bits).into()).collect()
}

/// A client, and the address in its PROXY header, if it sends one.
#[derive(Clone, Copy, Debug)]
struct Probe {
    from: IpAddr,
    header: Option<IpAddr>,
    /// Whether the header has version 2.
    binary: bool,
}

impl Probe {
    /// Returns whether a PING is answered. `patience` is the time after which the client closes its write side.
    fn is_served(&self, to: SocketAddr, patience: Duration) -> bool {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(self.from, 0).into()).expect("an address of the namespace");
        if socket.connect(&to.into()).is_err() {
            return false;
        }
        let mut stream = TcpStream::from(socket);
        let mut bytes = self.header.map_or_else(Vec::new, |client| header(client, self.binary));
        bytes.extend(b"*1\r\n$4\r\nPING\r\n");
        // A refused client may be disconnected before this write.
        let _ = stream.write_all(&bytes);
        // If a header of version 2 is not read, Redis waits for the end of a line because of the NUL in it. The end of
        // the stream ends this wait.
        let mut answer = [0; 7];
        let mut read = 0;
        for patience in [patience, LONG] {
            stream.set_read_timeout(Some(patience)).expect("a timeout");
            while read < answer.len() {
                match stream.read(&mut answer[read..]) {
                    Ok(0) => return false,
                    Ok(count) => read += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return false,
                }
            }
            if read == answer.len() {
                return answer == *b"+PONG\r\n";
            }
            let _ = stream.shutdown(Shutdown::Write);
        }
        panic!("{self:?}: neither served nor closed");
    }
}

/// Returns whether a PING on a unix socket is answered.
fn is_served_at(path: &Path) -> bool {
    let mut stream = UnixStream::connect(path).expect("the gate listens");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    // A refused client may be disconnected before this write.
    let _ = stream.write_all(b"PING\r\n");
    let mut answer = Vec::new();
    let _ = stream.take(7).read_to_end(&mut answer);
    answer == b"+PONG\r\n"
}

/// Asserts that no user can open a socket of the gate who cannot open that of the program.
fn assert_closed(old: &Path, new: &Path, shown: &str) {
    let entries = fs::read_dir(new).expect("readable").map(|entry| entry.expect("readable"));
    for entry in entries.filter(|entry| entry.file_type().expect("known").is_socket()) {
        let [ours, theirs] = [new, old].map(|place| fs::metadata(place.join(entry.file_name())));
        let ours = ours.expect("a socket");
        let Ok(theirs) = theirs else {
            // The program has left the socket out. A listener that is in doubt may have one, and admits no client.
            assert!(!is_served_at(&entry.path()), "{}: {shown}", entry.path().display());
            continue;
        };
        let [group, others] = [0o070, 0o007].map(|bits| ours.mode() & bits & !theirs.mode() == 0);
        let same_group = ours.mode() & 0o070 == 0 || ours.gid() == theirs.gid();
        let modes = format!("{:o}, and {:o} of the program", ours.mode(), theirs.mode());
        assert!(group && others && same_group, "{}: mode {modes}\n{shown}", entry.path().display());
    }
}

/// Returns a PROXY header that names a client.
fn header(client: IpAddr, binary: bool) -> Vec<u8> {
    let to: IpAddr = match client {
        IpAddr::V4(_) => Ipv4Addr::new(10, 255, 0, 9).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 9).into(),
    };
    if !binary {
        let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
        return format!("PROXY {family} {client} {to} 1234 6379\r\n").into_bytes();
    }
    let addresses: Vec<u8> = [client, to]
        .iter()
        .flat_map(|ip| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        })
        .collect();
    let family = if client.is_ipv4() { 0x11 } else { 0x21 };
    let length = u8::try_from(addresses.len() + 4).expect("few");
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x21, family, 0, length][..], &addresses, &[4, 210, 24, 235]].concat()
}

/// The result of starting the program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Started {
    /// The program listens.
    Listens,
    /// The process has ended.
    Ended,
}

/// Waits until the program listens on the port or has ended.
fn await_start(process: &mut Process, ip: &str, port: u16) -> Started {
    eventually("the program listens", || {
        if process.ended().is_some() {
            return Some(Started::Ended);
        }
        // This connects and does not bind, because a bind would take the port away from the program for a moment.
        TcpStream::connect((ip, port)).is_ok().then_some(Started::Listens)
    })
}

/// Returns a random network, of IPv6 if `v6`.
fn net(random: &mut Random, v6: bool) -> &'static str {
    let nets = if v6 { &NETS[V4_NETS..] } else { &NETS[..V4_NETS] };
    random.pick::<&'static str>(nets)
}
