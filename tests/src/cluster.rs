//! A cluster of three masters and three replicas. Each node has a loopback address of its own, which differs from the
//! proxy's: a test can search what a client reads for the addresses behind the proxy.

mod resharding;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::certificates::{Authority, Leaf, Pair};
use crate::client::Client;
use crate::gate::GateBuilder;
use crate::redis::Redis;
use crate::reply::Reply;
use crate::server::Server;
use crate::wait::{eventually, eventually_within};

/// The beginning of the address of each node.
pub const INNER: &str = "127.0.2.";

/// The number of slots of a cluster.
pub const SLOTS: u16 = 16_384;

const MASTERS: usize = 3;

/// The highest number of nodes of a test, which a certificate has the addresses of.
const MOST: u8 = 9;

/// Longer than Redis tries a planned failover.
const FAILOVER_LIMIT: Duration = Duration::from_secs(6);

/// The planned failovers that are tried until one succeeds.
const MOST_FAILOVERS: u32 = 4;

/// The keys that one MIGRATE moves.
const KEYS: usize = 100;

/// Builds [`Cluster`].
#[derive(Clone)]
pub struct ClusterBuilder {
    password: Option<String>,
    lines: Vec<String>,
    tls: Option<(Pair, String)>,
    replicas: bool,
    is_ipv6: bool,
    server: Option<Server>,
}

impl ClusterBuilder {
    /// Lets all nodes listen on ::1.
    pub const fn ipv6(mut self) -> Self {
        self.is_ipv6 = true;
        self
    }

    /// Uses this binary for all nodes, in place of [`Server::of_clusters`].
    pub fn server(mut self, server: &Server) -> Self {
        self.server = Some(server.clone());
        self
    }

    fn ip(&self, number: u8) -> IpAddr {
        if self.is_ipv6 { Ipv6Addr::LOCALHOST.into() } else { ip(number) }
    }

    /// Lets the nodes announce names, which no name server has.
    pub fn host_names(self) -> Self {
        self.line("cluster-announce-hostname node-{n}.example")
            .line("cluster-preferred-endpoint-type hostname")
    }

    /// Allows TCP only with TLS, for clients and between nodes. The certificate has all addresses.
    pub fn tls(mut self) -> Self {
        let authority = Authority::new("nodes");
        let names: Vec<String> = (0..MOST).map(|number| ip(number).to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.tls = Some((authority.issue(Leaf::peer(&names)), authority.pem()));
        self
    }

    /// Allows TCP only with TLS, with a certificate that has these names and no address.
    pub fn tls_for(mut self, names: &[&str]) -> Self {
        let authority = Authority::new("nodes");
        self.tls = Some((authority.issue(Leaf::peer(names)), authority.pem()));
        self
    }

    /// Sets the password of all nodes.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Adds a line to the redis.conf of each node. `{n}` is the number of the node, from 1.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Lets no node take another one for dead soon, for tests in which none fails. On a busy machine, nodes may be silent
    /// for longer than the usual second.
    pub fn patient(self) -> Self {
        self.line("cluster-node-timeout 3000")
    }

    /// Leaves out the replicas, for tests that need none.
    pub const fn without_replicas(mut self) -> Self {
        self.replicas = false;
        self
    }

    /// Starts all nodes. Returns when each of them knows all others, all slots have an owner, and the replicas have
    /// the data of their masters.
    pub fn start(self) -> Cluster {
        let count = if self.replicas { 2 * MASTERS } else { MASTERS };
        let mut cluster = Cluster { nodes: Vec::new(), builder: self };
        for _ in 0..count {
            cluster.start_node();
        }
        for master in 0..MASTERS {
            let (start, end) = initial_slots(master);
            // Each master needs an epoch of its own, or the nodes would have to agree on them first.
            cluster.call(master, &format!("CLUSTER SET-CONFIG-EPOCH {}", master + 1));
            cluster.call(master, &format!("CLUSTER ADDSLOTSRANGE {start} {end}"));
        }
        (1..count).for_each(|node| cluster.meet(0, node));
        cluster.await_members(count);
        for replica in MASTERS..count {
            cluster.replicate(replica, replica - MASTERS);
        }
        cluster.await_ok();
        cluster
    }
}

/// Returns the slots that a master has at the beginning, the ends included.
fn initial_slots(master: usize) -> (u16, u16) {
    let border = |number: usize| {
        u16::try_from((usize::from(SLOTS) * number + MASTERS / 2) / MASTERS).expect("few slots")
    };
    (border(master), border(master + 1) - 1)
}

fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 2, number + 1).into()
}

pub struct Cluster {
    nodes: Vec<Node>,
    builder: ClusterBuilder,
}

/// One node, which may be stopped.
struct Node {
    server: Redis,
    id: String,
    is_running: bool,
}

impl Cluster {
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            password: None,
            lines: Vec::new(),
            tls: None,
            replicas: true,
            is_ipv6: false,
            server: None,
        }
    }

    /// Starts three masters and three replicas without passwords. Node 3 is the replica of node 0, and so on.
    pub fn plain() -> Self {
        Self::builder().start()
    }

    /// Returns a proxy whose upstream `main` is this cluster, with `auth: trust`. The upstream's password is set, if
    /// there is one.
    pub fn gate(&self) -> GateBuilder {
        let nodes: Vec<String> = (0..MASTERS).map(|node| self.address(node).to_string()).collect();
        self.gate_by(&nodes)
    }

    /// Returns a proxy like [`Self::gate`] that reads from replicas.
    pub fn replica_gate(&self) -> GateBuilder {
        let nodes: Vec<String> = (0..MASTERS).map(|node| self.address(node).to_string()).collect();
        self.gate_with(&nodes, ", read_from: replicas")
    }

    /// Returns a proxy that finds this cluster by these nodes.
    pub fn gate_by<S: AsRef<str>>(&self, nodes: &[S]) -> GateBuilder {
        self.gate_with(nodes, "")
    }

    /// `more` are further keys of `cluster`.
    fn gate_with<S: AsRef<str>>(&self, nodes: &[S], more: &str) -> GateBuilder {
        let nodes: Vec<String> = nodes.iter().map(|node| format!("\"{}\"", node.as_ref())).collect();
        let mut gate = GateBuilder::default().listener("auth: trust");
        if let Some((_, ca)) = &self.builder.tls {
            gate = gate.file("ca.pem", ca);
        }
        let hidden = (0..self.nodes.len()).map(|node| self.address(node));
        let gate = gate.upstream(&format!("cluster: {{nodes: [{}]{more}}}", nodes.join(", "))).hides(hidden);
        self.builder.password.iter().fold(gate, |gate, password| gate.password(password))
    }

    /// Returns the key `translate` for the names of the masters ([`ClusterBuilder::host_names`]).
    pub fn translation(&self) -> String {
        let pair = |node| {
            let address = self.address(node);
            format!("\"node-{}.example:{}\": \"{address}\"", node + 1, address.port())
        };
        let pairs: Vec<String> = (0..MASTERS).map(pair).collect();
        format!("translate: {{{}}}", pairs.join(", "))
    }

    /// Returns the number of nodes that were started, those that were removed too.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn node(&self, index: usize) -> &Redis {
        &self.nodes[index].server
    }

    pub fn address(&self, index: usize) -> SocketAddr {
        self.node(index).address()
    }

    fn ip(&self, index: usize) -> IpAddr {
        self.builder.ip(u8::try_from(index).expect("few nodes"))
    }

    pub fn id(&self, index: usize) -> &str {
        &self.nodes[index].id
    }

    /// Returns the reply of a node to a command, on its unix socket.
    pub fn call(&self, index: usize, command: &str) -> String {
        self.node(index).control().call(command).text()
    }

    /// Starts a node that knows no other. Returns its index.
    pub fn start_node(&mut self) -> usize {
        let index = self.nodes.len();
        let number = u8::try_from(index).expect("few nodes");
        assert!(number < MOST, "a certificate has {MOST} addresses");
        let ip = self.builder.ip(number);
        let mut builder = Redis::builder()
            .server(&self.builder.server.clone().unwrap_or_else(Server::of_clusters))
            .at(ip)
            .line("cluster-enabled yes\ncluster-node-timeout 1000\nrepl-diskless-sync-delay 0")
            // A replica that moves to another master by itself would surprise a test.
            .line("cluster-allow-replica-migration no")
            .line(&format!("cluster-announce-ip {ip}"));
        if let Some(password) = &self.builder.password {
            builder = builder.password(password).line(&format!("masterauth {password}"));
        }
        if let Some((pair, ca)) = &self.builder.tls {
            builder = builder.tls(pair, ca).line("tls-replication yes\ntls-cluster yes");
        }
        let number = (number + 1).to_string();
        let lines = self.builder.lines.iter().map(|line| line.replace("{n}", &number));
        let server = lines.fold(builder, |builder, line| builder.line(&line)).start();
        let id = server.control().call("CLUSTER MYID").text();
        self.nodes.push(Node { server, id, is_running: true });
        index
    }

    /// Starts a node without slots, and adds it to the cluster. Returns its index.
    pub fn add_master(&mut self) -> usize {
        let index = self.start_node();
        self.meet(self.running(), index);
        self.await_members(self.members());
        // A node that has just started serves no slot for two seconds.
        self.await_ok();
        index
    }

    /// Starts a node, and adds it to the cluster as a replica. Returns its index.
    pub fn add_replica(&mut self, master: usize) -> usize {
        let index = self.add_master();
        self.replicate(index, master);
        self.await_ok();
        index
    }

    /// Removes a node without slots from the cluster, and stops it.
    pub fn remove(&mut self, index: usize) {
        let id = self.nodes[index].id.clone();
        self.kill(index);
        for other in self.all_running() {
            self.call(other, &format!("CLUSTER FORGET {id}"));
        }
    }

    /// Ends a node as kill -9 does.
    pub fn kill(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.server.kill();
        node.is_running = false;
    }

    /// Starts a node again that was killed, with its state.
    pub fn start_again(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.server.start_again(&[], true);
        node.is_running = true;
    }

    /// Makes a replica the master in place of its own master, which agrees. Returns when it is the master. The
    /// masters vote for replicas only, and once in two node timeouts for the same slots.
    #[track_caller]
    pub fn failover(&self, replica: usize) {
        let id = self.id(replica);
        eventually("all nodes know the replica as one", || {
            let knows = |node: usize| {
                let nodes = self.call(node, "CLUSTER NODES");
                nodes.lines().any(|line| line.starts_with(id) && line.contains("slave "))
            };
            self.all_running().into_iter().all(knows).then_some(())
        });
        let mut asked = None;
        eventually_within(MOST_FAILOVERS * FAILOVER_LIMIT, "the replica is the master", || {
            if self.is_master(replica) && asked.is_some() {
                return Some(());
            }
            if asked.is_none_or(|asked: Instant| asked.elapsed() > FAILOVER_LIMIT)
                && self.call(replica, "CLUSTER FAILOVER") == "OK"
            {
                asked = Some(Instant::now());
            }
            None
        });
    }

    fn is_master(&self, index: usize) -> bool {
        self.call(index, "INFO replication").contains("role:master\r\n")
    }

    /// Waits until a node is a master.
    #[track_caller]
    pub fn await_master(&self, index: usize) {
        eventually("the replica is the master", || self.is_master(index).then_some(()));
    }

    /// Returns the index of the owner of a slot, as most running nodes see it.
    pub fn owner(&self, slot: u16) -> usize {
        let votes: Vec<usize> =
            self.all_running().into_iter().filter_map(|node| self.owner_for(node, slot)).collect();
        let count = |node: &usize| votes.iter().filter(|vote| *vote == node).count();
        (0..self.nodes.len()).max_by_key(count).expect("there are nodes")
    }

    /// Returns the index of the owner of a slot as one node sees it.
    pub fn owner_for(&self, node: usize, slot: u16) -> Option<usize> {
        let nodes = self.call(node, "CLUSTER NODES");
        let owns = |line: &&str| {
            line.split(' ').skip(8).filter(|word| !word.starts_with('[')).any(|range| {
                let (start, end) = range.split_once('-').unwrap_or((range, range));
                let number = |text: &str| text.parse::<u16>().expect("a slot");
                (number(start)..=number(end)).contains(&slot)
            })
        };
        let id = nodes.lines().find(owns)?.split(' ').next()?;
        self.nodes.iter().position(|node| node.id == id)
    }

    /// Moves a slot with its keys to another node.
    pub fn move_slot(&self, slot: u16, to: usize) {
        let from = self.begin_move(slot, to);
        while self.move_keys(slot, from, to) > 0 {}
        self.end_move(slot, from, to);
    }

    /// Begins to move a slot. Returns the index of its owner, which answers ASK for keys that it does not have.
    pub fn begin_move(&self, slot: u16, to: usize) -> usize {
        self.await_epoch();
        let from = self.owner(slot);
        let (source, target) = (&self.nodes[from].id, &self.nodes[to].id);
        assert_eq!(self.call(to, &format!("CLUSTER SETSLOT {slot} IMPORTING {source}")), "OK");
        assert_eq!(self.call(from, &format!("CLUSTER SETSLOT {slot} MIGRATING {target}")), "OK");
        from
    }

    /// Moves some keys of a slot. Returns how many.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize) -> usize {
        let mut source = self.node(from).control();
        let reply = source.call(&format!("CLUSTER GETKEYSINSLOT {slot} {KEYS}"));
        let keys: Vec<String> = reply.items().iter().map(Reply::text).collect();
        if keys.is_empty() {
            return 0;
        }
        let (host, port) = (self.ip(to).to_string(), self.address(to).port().to_string());
        let mut command = vec!["MIGRATE", &host, &port, "", "0", "5000"];
        command.extend(self.builder.password.iter().flat_map(|password| ["AUTH", password]));
        command.push("KEYS");
        command.extend(keys.iter().map(String::as_str));
        let command: Vec<&[u8]> = command.into_iter().map(str::as_bytes).collect();
        source.send_args(&command);
        let reply = source.recv().text();
        assert!(reply == "OK" || reply == "NOKEY", "{reply}");
        keys.len()
    }

    /// Ends the move of a slot: the new owner first, so that no node ever has an owner that does not know it.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) {
        let mut nodes = vec![to, from];
        nodes.extend(self.all_running().into_iter().filter(|node| *node != from && *node != to));
        for node in nodes {
            // A replica refuses it, and hears of it from its master.
            self.call(node, &format!("CLUSTER SETSLOT {slot} NODE {}", self.nodes[to].id));
        }
    }

    /// Waits until all running nodes say that the cluster is well, and all running replicas have the data.
    #[track_caller]
    pub fn await_ok(&self) {
        eventually("the cluster is well", || {
            self.all_running()
                .into_iter()
                .all(|node| {
                    let is_ok = self.call(node, "CLUSTER INFO").contains("cluster_state:ok\r\n");
                    let replication = self.call(node, "INFO replication");
                    let is_master = replication.contains("role:master\r\n");
                    is_ok && (is_master || replication.contains("master_link_status:up\r\n"))
                })
                .then_some(())
        });
    }

    /// Returns a client of a node's TCP address.
    pub fn client(&self, index: usize) -> Client {
        Client::tcp(self.address(index))
    }

    fn members(&self) -> usize {
        self.all_running().len()
    }

    fn all_running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_running).collect()
    }

    fn running(&self) -> usize {
        self.all_running().into_iter().next().expect("a node runs")
    }

    fn meet(&self, known: usize, new: usize) {
        let (ip, port) = (self.ip(new), self.address(new).port());
        assert_eq!(self.call(known, &format!("CLUSTER MEET {ip} {port}")), "OK");
    }

    fn replicate(&self, replica: usize, master: usize) {
        let id = &self.nodes[master].id;
        eventually("the replica follows its master", || {
            (self.call(replica, &format!("CLUSTER REPLICATE {id}")) == "OK").then_some(())
        });
    }

    /// Waits until every node has heard of the last move. A node that has not heard of it takes the next slot with an
    /// epoch that is too low, and then the nodes never agree on the owner.
    #[track_caller]
    pub fn await_epoch(&self) {
        let epoch = |node| {
            let info = self.call(node, "CLUSTER INFO");
            let line = info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
            line.and_then(|epoch| epoch.trim().parse::<u64>().ok()).expect("an epoch")
        };
        eventually("the nodes have one epoch", || {
            let mut epochs: Vec<_> = self.all_running().into_iter().map(epoch).collect();
            epochs.dedup();
            (epochs.len() == 1).then_some(())
        });
    }

    /// Waits until each running node is connected to this number of nodes, itself included.
    #[track_caller]
    fn await_members(&self, count: usize) {
        eventually("the nodes know each other", || {
            let knows_all = |node: usize| {
                let nodes = self.call(node, "CLUSTER NODES");
                let members = nodes.lines().filter(|line| !line.is_empty());
                let is_known = |line: &&str| line.contains(" connected") && !line.contains("handshake");
                members.clone().filter(is_known).count() >= count && members.count() == count
            };
            self.all_running().into_iter().all(knows_all).then_some(())
        });
    }
}

/// Prints what each node of a failed test knows of the others.
#[expect(clippy::print_stderr, reason = "the output of a failed test")]
impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // A panic on this thread would end the process.
        std::thread::scope(|scope| {
            let printed = scope.spawn(|| {
                for node in self.all_running() {
                    eprintln!("node {node}:\n{}", self.call(node, "CLUSTER NODES"));
                }
            });
            let _ = printed.join();
        });
    }
}
