//! A master with two replicas, and three sentinels that monitor them. Each process has a loopback address of its own,
//! which differs from the proxy's: a test can search what a client reads for the addresses behind the proxy.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tempfile::TempDir;

use crate::certificates::{Authority, Leaf, Pair};
use crate::client::Client;
use crate::gate::GateBuilder;
use crate::ports;
use crate::process::Process;
use crate::redis::Redis;
use crate::sentinels::MASTER;
use crate::wait::{eventually, eventually_within, within_patience};

const SERVERS: u8 = 3;
const SENTINELS: u8 = 3;

/// The number of sentinels that must agree that the master is down.
const QUORUM: u8 = 2;

/// The longest time until a former master follows the new one. The sentinels make it a replica after ten seconds, and then
/// it loads all data, on a busy machine beside the load of a test.
const UNTIL_REPLICA: Duration = Duration::from_secs(90);

/// The longest time until the sentinels agree on another master. A sentinel that gets no processor for two seconds stops
/// acting for half a minute (its TILT mode), more than once on a busy machine.
const UNTIL_SWITCH: Duration = Duration::from_secs(120);

/// Builds [`Masters`].
#[derive(Clone)]
pub struct MastersBuilder {
    password: Option<String>,
    sentinel_password: Option<String>,
    down_after: u32,
    failover_timeout: u32,
    lines: Vec<String>,
    tls: Option<Tls>,
}

/// One certificate of all servers and sentinels, and who trusts it.
#[derive(Clone)]
struct Tls {
    pair: Pair,
    ca: String,
    client: Arc<ClientConfig>,
}

impl MastersBuilder {
    /// Allows TCP only with TLS: for clients, between servers, and between sentinels.
    pub fn tls(mut self) -> Self {
        let authority = Authority::new("servers and sentinels");
        let names: Vec<String> = (0..SERVERS + SENTINELS).map(|number| ip(number).to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pair = authority.issue(Leaf::server(&names));
        self.tls = Some(Tls { pair, ca: authority.pem(), client: authority.client() });
        self
    }

    /// Sets the password of the servers.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Sets the password of the sentinels.
    pub fn sentinel_password(mut self, password: &str) -> Self {
        self.sentinel_password = Some(password.to_owned());
        self
    }

    /// Sets the time in milliseconds after which a silent master is down.
    pub const fn down_after(mut self, milliseconds: u32) -> Self {
        self.down_after = milliseconds;
        self
    }

    /// Sets the time in milliseconds after which a failover that does not proceed is given up.
    pub const fn failover_timeout(mut self, milliseconds: u32) -> Self {
        self.failover_timeout = milliseconds;
        self
    }

    /// Adds a line to the redis.conf of each server.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Starts all processes. Returns when the replicas have the master's data, and each sentinel knows the others and
    /// both replicas.
    pub fn start(self) -> Masters {
        let master = self.server(0, None);
        let replicas = (1..SERVERS).map(|number| self.server(number, Some(master.address())));
        let servers: Vec<Redis> = replicas.collect();
        let servers: Vec<Redis> = std::iter::once(master).chain(servers).collect();
        let directory = tempfile::tempdir().expect("a scratch directory");
        let mut masters = Masters { sentinels: Vec::new(), servers, builder: self, directory };
        masters.await_replicas();
        masters.sentinels = (0..SENTINELS).map(|number| Sentinel::reserved(number, &masters)).collect();
        for number in 0..usize::from(SENTINELS) {
            masters.start_sentinel(number);
        }
        masters.await_sentinels();
        masters
    }

    fn server(&self, number: u8, master: Option<SocketAddr>) -> Redis {
        // The master would see the source address of the replica's connection, which is 127.0.0.1.
        let announced = format!("replica-announce-ip {}", ip(number));
        let mut builder = Redis::builder().at(ip(number)).line(&announced).line("repl-diskless-sync-delay 0");
        if let Some(password) = &self.password {
            builder = builder.password(password).line(&format!("masterauth {password}"));
        }
        if let Some(Tls { pair, ca, .. }) = &self.tls {
            builder = builder.tls(pair, ca).line("tls-replication yes");
        }
        if let Some(master) = master {
            builder = builder.line(&format!("replicaof {}", words(master)));
        }
        self.lines.iter().fold(builder, |builder, line| builder.line(line)).start()
    }
}

/// One sentinel, which may be stopped.
struct Sentinel {
    process: Option<Process>,
    ip: IpAddr,
    address: SocketAddr,
    id: String,
}

impl Sentinel {
    fn reserved(number: u8, masters: &Masters) -> Self {
        fs::create_dir(masters.directory.path().join(number.to_string())).expect("writable");
        let ip = ip(SERVERS + number);
        let address = SocketAddr::new(ip, ports::free());
        Self { process: None, ip, address, id: format!("{number:040x}") }
    }
}

/// Returns an IPv4 address as Redis writes it in its configuration: `127.0.1.1 6379`.
fn words(address: SocketAddr) -> String {
    address.to_string().replace(':', " ")
}

fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, number + 1).into()
}

pub struct Masters {
    // Dropped before the directory: the processes must have ended when it is removed.
    sentinels: Vec<Sentinel>,
    servers: Vec<Redis>,
    builder: MastersBuilder,
    directory: TempDir,
}

impl Masters {
    pub fn builder() -> MastersBuilder {
        MastersBuilder {
            password: None,
            sentinel_password: None,
            // Shorter times make the sentinels take a busy machine for a dead master.
            down_after: 2000,
            failover_timeout: 20_000,
            lines: Vec::new(),
            tls: None,
        }
    }

    /// Starts servers and sentinels without passwords.
    pub fn plain() -> Self {
        Self::builder().start()
    }

    /// Returns a proxy whose upstream `main` is this master. The upstream's password is set, if there is one.
    pub fn gate(&self) -> GateBuilder {
        let nodes: Vec<String> = self.sentinel_addresses().iter().map(ToString::to_string).collect();
        let servers = self.servers.iter().map(Redis::address);
        let mut gate = GateBuilder::default().hides(servers.chain(self.sentinel_addresses()));
        let mut credentials = "";
        if let Some(password) = &self.builder.sentinel_password {
            gate = gate.secret(password).file("sentinel", password);
            credentials = ", credentials: {password: {file: sentinel}}";
        }
        let mut tls = "";
        if let Some(Tls { ca, .. }) = &self.builder.tls {
            gate = gate.file("ca.pem", ca).upstream("tls: {ca: ca.pem}");
            tls = ", tls: {ca: ca.pem}";
        }
        let nodes = nodes.join(", ");
        let gate =
            gate.upstream(&format!("sentinel: {{master: {MASTER}, nodes: [{nodes}]{credentials}{tls}}}"));
        self.builder.password.iter().fold(gate, |gate, password| gate.password(password))
    }

    /// Returns the servers. The first one is the master at the beginning.
    pub fn servers(&self) -> &[Redis] {
        &self.servers
    }

    pub fn server(&mut self, index: usize) -> &mut Redis {
        &mut self.servers[index]
    }

    /// Returns the index of the server that most sentinels name as the master.
    pub fn master(&self) -> usize {
        let votes: Vec<usize> =
            (0..self.sentinels.len()).filter_map(|sentinel| self.master_of(sentinel)).collect();
        let count = |server: &usize| votes.iter().filter(|vote| *vote == server).count();
        (0..self.servers.len()).max_by_key(count).expect("there are servers")
    }

    /// Returns the index of the server that one sentinel names as the master. `None` if the sentinel is stopped.
    pub fn master_of(&self, sentinel: usize) -> Option<usize> {
        self.sentinels[sentinel].process.as_ref()?;
        let named = self.sentinel(sentinel).call(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {MASTER}"));
        let named = named.to_string();
        let is_named =
            |server: &Redis| named == format!(r#"["{}"]"#, words(server.address()).replace(' ', r#"" ""#));
        self.servers.iter().position(is_named)
    }

    pub fn sentinel_addresses(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(|sentinel| sentinel.address).collect()
    }

    /// Returns a client of a sentinel that is logged in.
    pub fn sentinel(&self, index: usize) -> Client {
        let Sentinel { address, ip, .. } = &self.sentinels[index];
        let mut client = match &self.builder.tls {
            Some(tls) => Client::tls(*address, &tls.client, &ip.to_string()),
            None => Client::tcp(*address),
        };
        if let Some(password) = &self.builder.sentinel_password {
            client.assert_reply(&format!("AUTH {password}"), "+OK");
        }
        client
    }

    /// Starts a planned failover at a sentinel. Sentinel refuses it while another one is in progress, and while it
    /// does not know a replica that is fit.
    pub fn failover(&self, sentinel: usize) {
        eventually_within(UNTIL_SWITCH, "the sentinel begins a failover", || {
            let answer = self.sentinel(sentinel).call(&format!("SENTINEL FAILOVER {MASTER}")).to_string();
            assert!(
                answer == "+OK" || answer.starts_with("-INPROG") || answer.starts_with("-NOGOODSLAVE"),
                "{answer}"
            );
            (answer == "+OK").then_some(())
        });
    }

    /// Waits until all running sentinels name another master than `former`. Returns its index.
    #[track_caller]
    pub fn await_other_master(&self, former: usize) -> usize {
        eventually_within(UNTIL_SWITCH, "all sentinels name one other master", || {
            let mut named = (0..self.sentinels.len()).filter_map(|sentinel| self.master_of(sentinel));
            let first = named.next().filter(|first| *first != former)?;
            named.all(|other| other == first).then_some(first)
        })
    }

    /// Waits until the master has its two replicas, with all its data. After a failover it takes a while until the
    /// last replica follows the new master.
    #[track_caller]
    pub fn await_replicas(&self) {
        eventually_within(UNTIL_REPLICA, "one master has two replicas that are up to date", || {
            // A sentinel that makes a server a replica ends the connections of its clients.
            let info = |server: &Redis| {
                let mut client = self.try_control(server)?;
                client.send("INFO replication");
                client.try_recv().ok().map(|reply| reply.text())
            };
            let info: Vec<String> = self.servers.iter().filter_map(info).collect();
            let mut masters =
                self.servers.iter().zip(&info).filter(|(_, text)| text.contains("role:master\r\n"));
            let (master, _) = masters.next().filter(|_| info.len() == self.servers.len())?;
            let up = info.iter().filter(|text| text.contains("master_link_status:up")).count();
            let replicas = usize::from(SERVERS) - 1;
            (masters.next().is_none() && up == replicas && self.streams(master)).then_some(())
        });
    }

    /// Returns whether both replicas of a master get what is written. A master sends nothing to a replica that has loaded
    /// its data and has not said so, which takes up to a second; INFO then names it online.
    fn streams(&self, master: &Redis) -> bool {
        let streams = |mut client: Client| {
            client.send("PUBLISH replicas x");
            client.try_recv().ok()?;
            client.send("WAIT 2 100");
            client.try_recv().ok()
        };
        self.try_control(master).and_then(streams).is_some_and(|reply| reply.to_string() == ":2")
    }

    /// Returns a client of a server's unix socket that is logged in. `None`: the server ends its connections now.
    fn try_control(&self, server: &Redis) -> Option<Client> {
        let mut client = Client::try_unix(&server.socket())?;
        if let Some(password) = &self.builder.password {
            client.send(&format!("AUTH {password}"));
            client.try_recv().ok()?;
        }
        Some(client)
    }

    pub fn stop_sentinel(&mut self, index: usize) {
        self.sentinels[index].process = None;
    }

    /// Returns the process of a sentinel, to stop and continue it by signals.
    pub fn sentinel_process(&self, index: usize) -> &Process {
        self.sentinels[index].process.as_ref().expect("the sentinel runs")
    }

    /// Starts a sentinel with the state of its last run. At the first start it knows the first server as the master.
    pub fn start_sentinel(&mut self, index: usize) {
        let directory = self.directory.path().join(index.to_string());
        let configuration = directory.join("sentinel.conf");
        if let Some(Tls { pair, ca, .. }) = &self.builder.tls {
            fs::write(directory.join("tls.crt"), format!("{}{ca}", pair.cert)).expect("writable");
            fs::write(directory.join("tls.key"), &pair.key).expect("writable");
        }
        if !configuration.exists() {
            fs::write(&configuration, self.configuration(index)).expect("the scratch directory is writable");
        }
        let arguments = [configuration.as_os_str(), "--sentinel".as_ref()];
        let mut process = Process::start(&directory, "sentinel", "redis-server".as_ref(), arguments, &[]);
        let address = self.sentinels[index].address;
        let answers =
            within_patience(|| process.ended().is_some() || std::net::TcpStream::connect(address).is_ok());
        assert!(answers && process.ended().is_none(), "sentinel {index}: {}", process.stdout());
        self.sentinels[index].process = Some(process);
    }

    /// Returns the configuration of a sentinel that knows the others and the replicas. Otherwise it would find them
    /// within two seconds.
    fn configuration(&self, index: usize) -> String {
        let MastersBuilder { password, sentinel_password, down_after, failover_timeout, .. } = &self.builder;
        let Sentinel { ip, address, id, .. } = &self.sentinels[index];
        let directory = self.directory.path().join(index.to_string());
        let directory = directory.display();
        let port = match self.builder.tls {
            None => format!("port {}", address.port()),
            Some(_) => format!(
                "port 0\ntls-port {}\ntls-replication yes\ntls-auth-clients no\n\
                 tls-cert-file {directory}/tls.crt\ntls-key-file {directory}/tls.key\n\
                 tls-ca-cert-file {directory}/tls.crt",
                address.port()
            ),
        };
        let mut lines = vec![
            format!("{port}\nbind {ip}\nprotected-mode no\ndir {directory}"),
            format!("sentinel announce-ip {ip}\nsentinel myid {id}"),
        ];
        for (place, server) in self.servers.iter().map(Redis::address).enumerate() {
            let server = words(server);
            lines.push(match place {
                0 => format!("sentinel monitor {MASTER} {server} {QUORUM}"),
                _ => format!("sentinel known-replica {MASTER} {server}"),
            });
        }
        lines.push(format!("sentinel down-after-milliseconds {MASTER} {down_after}"));
        lines.push(format!("sentinel failover-timeout {MASTER} {failover_timeout}"));
        for other in self.sentinels.iter().filter(|other| other.id != *id) {
            lines.push(format!("sentinel known-sentinel {MASTER} {} {}", words(other.address), other.id));
        }
        lines.extend(password.iter().map(|password| format!("sentinel auth-pass {MASTER} {password}")));
        if let Some(password) = sentinel_password {
            lines.push(format!("requirepass {password}\nsentinel sentinel-pass {password}"));
        }
        lines.join("\n") + "\n"
    }

    /// Waits until each sentinel is connected to the servers and to the others, so that a failover can begin.
    #[track_caller]
    fn await_sentinels(&self) {
        eventually("the sentinels know each other", || {
            let ready = (0..self.sentinels.len()).all(|index| {
                let quorum = self.sentinel(index).call(&format!("SENTINEL CKQUORUM {MASTER}")).to_string();
                let info = self.sentinel(index).call("INFO sentinel").text();
                quorum.starts_with(&format!("+OK {SENTINELS}"))
                    && info.contains(&format!("status=ok,address={},slaves=2", self.servers[0].address()))
            });
            ready.then_some(())
        });
    }
}
