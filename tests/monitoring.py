"""Runs every expression of the dashboard against a real Prometheus that reads a gate under load.

    tests/monitoring.py PORTCULLIS REDIS_SERVER

Exits 1 if an expression fails or returns no series. tests/monitoring.sh starts it.
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

TOP = pathlib.Path(__file__).resolve().parent.parent
DASHBOARD = TOP / "deploy/grafana/portcullis.json"
DOCS = TOP / "docs"
PAGE = DOCS / "monitoring.md"
ALERTS = TOP / "deploy/prometheus/alerts.yaml"
# Grafana's variables, as a dashboard of the last minute has them.
VARIABLES = {"$__rate_interval": "10s", "$__range": "1m", "$instance": ".*", "$listener": ".*", "$upstream": ".*"}
# The nodes of the cluster.
NODES = ["node0", "node1"]
# How long the load runs at most. Prometheus reads the gate each second.
LIMIT_SECONDS = 60

GATE = """
listeners:
  - {{name: public, bind: "127.0.0.1:{public}", upstream: main, auth: trust, allow: [{{group: office}}], acl: "+@all -@scripting -flushall",
     shadow: {{allow: [203.0.113.9]}}}}
  - {{name: logins, bind: "127.0.0.1:{logins}", upstream: watched, auth: users, users: [app],
     allow: [127.0.0.1], limits: {{per_source: {{auth_failures: 3/1m, block_for: 1m}}}}}}
  - {{name: sharded, bind: "127.0.0.1:{sharded}", upstream: sharded, auth: trust, allow: [127.0.0.1]}}
  - {{name: broken, bind: "127.0.0.1:{broken}", upstream: broken, auth: trust, allow: [127.0.0.1]}}
  - {{name: secure, bind: "127.0.0.1:{secure}", upstream: main, auth: trust, allow: [127.0.0.1],
     tls: {{cert: cert.pem, key: key.pem}}}}
users:
  app: {{password: {{file: password}}}}
upstreams:
  main: {{address: "localhost:{redis}"}}
  broken: {{address: "127.0.0.1:{nothing}", failover_wait: off}}
  sharded: {{cluster: {{nodes: ["127.0.0.1:{node0}", "127.0.0.1:{node1}"]}}}}
  watched: {{sentinel: {{master: mymaster, nodes: ["127.0.0.1:{sentinel}"]}}}}
groups:
  office:
    entries: [{{cidr: 127.0.0.1, until: 2099-01-01T00:00:00Z}}, {{host: localhost, private: true}}]
admin: {{bind: "127.0.0.1:{admin}"}}
audit: {{path: audit.log}}
"""


def free_ports(names):
    """Returns a free port of loopback for each name."""
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in names}
    ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}
    for sock in sockets.values():
        sock.close()
    return ports


class Client:
    """A client that sends inline commands."""

    def __init__(self, port, source="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), 5, (source, 0))
        self.file = self.socket.makefile("rb")

    def call(self, line):
        """Sends a command. Returns the first line of its reply, which is empty if the gate closes the connection."""
        self.socket.sendall(line.encode() + b"\r\n")
        first = self.file.readline().strip()
        if first.startswith(b"$") and first != b"$-1":
            self.file.readline()
        return first

    def text(self, line):
        """Sends a command. Returns its reply, which is a bulk string."""
        self.socket.sendall(line.encode() + b"\r\n")
        length = int(self.file.readline().lstrip(b"$"))
        return self.file.read(length + 2).decode().strip()

    def close(self):
        self.file.close()
        self.socket.close()


class Cluster:
    """Two nodes of a Redis Cluster, which share the slots."""

    # The slot of MOVED_KEY.
    MOVED_KEY, MOVED_SLOT = "foo", 12182

    def __init__(self, ports):
        self.nodes = [Client(ports[name]) for name in NODES]
        for epoch, (node, (first, last)) in enumerate(zip(self.nodes, ((0, 8191), (8192, 16383))), 1):
            node.call(f"CLUSTER SET-CONFIG-EPOCH {epoch}")
            node.call(f"CLUSTER ADDSLOTSRANGE {first} {last}")
        self.ids = [node.text("CLUSTER MYID") for node in self.nodes]
        self.owner = 1
        self.nodes[0].call(f"CLUSTER MEET 127.0.0.1 {ports['node1']} {ports['node1_bus']}")
        # A node says so when it knows all slots.
        for _ in range(200):
            if all("cluster_state:ok" in node.text("CLUSTER INFO") for node in self.nodes):
                return
            time.sleep(0.1)
        sys.exit("the nodes do not form a cluster")

    def move_slot(self):
        """Moves the empty slot to the other node. The gate hears of it when it asks the old owner for the key."""
        old, new = self.owner, 1 - self.owner
        self.nodes[new].call(f"CLUSTER SETSLOT {self.MOVED_SLOT} IMPORTING {self.ids[old]}")
        self.nodes[old].call(f"CLUSTER SETSLOT {self.MOVED_SLOT} MIGRATING {self.ids[new]}")
        for node in (new, old):
            self.nodes[node].call(f"CLUSTER SETSLOT {self.MOVED_SLOT} NODE {self.ids[new]}")
        self.owner = new


def load(ports, cluster, over):
    """Does what the panels show: commands, refusals, logins, errors, lost upstreams and slots that move, until `over`
    is set."""
    staying, user, sharded = Client(ports["public"]), Client(ports["logins"]), Client(ports["sharded"])
    user.call('AUTH app "a long password"')
    turn = 0
    while not over.is_set():
        turn += 1
        for line in (f"SET key{turn % 9} value", f"GET key{turn % 9}", "INCR counter", "LPUSH counter x", "FLUSHALL"):
            staying.call(line)
        user.call("PING")
        if turn % 10 == 0:
            cluster.move_slot()
        sharded.call(f"GET {Cluster.MOVED_KEY}")
        # The address is not in the list, the password is wrong, and the server does not run. None of them waits, so that
        # slots move often enough for a rate.
        for port, source, line in (("public", "127.0.0.7", "PING"), ("logins", "127.0.0.1", f"AUTH app wrong{turn}"),
                                   ("broken", "127.0.0.1", "PING")):
            try:
                client = Client(ports[port], source)
                client.call(line)
                client.close()
            except OSError:
                # A refused connection may be reset before the command is sent.
                pass
        time.sleep(0.05)
    for client in (staying, user, sharded):
        client.close()


def read(port, path, **query):
    """Returns the JSON answer of Prometheus. Raises `ValueError` with its text if it is an error."""
    url = f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        if error.code == 503:
            # Prometheus listens, and does not answer yet.
            return []
        raise ValueError(json.load(error)["error"]) from error
    except OSError:
        # Prometheus is starting.
        return []


def filled(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    if "$" in expression:
        sys.exit(f"a variable that this script does not know: {expression}")
    return expression


def expressions():
    """Returns the expressions of the dashboard and of the pages, each with the title of its panel or its page."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = [(panel["title"], filled(target["expr"])) for panel in dashboard["panels"] for target in panel.get("targets", [])]
    found += [(f"annotation {note['name']}", filled(note["expr"])) for note in dashboard["annotations"]["list"]]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            series = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            found.append((f"variable {variable['name']}", f"group by ({series[2]}) ({filled(series[1])})"))
    for page in sorted(DOCS.rglob("*.md")):
        blocks = re.findall(r"^```promql\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        found += [(page.name, filled(block.strip().replace("[5m]", "[10s]"))) for block in blocks]
    return found


def check_page():
    """Exits with a message unless docs/monitoring.md has a row for each alert, and no others."""
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    rows = re.findall(r"^\| `(Portcullis\w+)`", PAGE.read_text(), re.MULTILINE)
    if alerts != rows:
        sys.exit(f"docs/monitoring.md does not list the alerts in their order: {sorted(set(alerts) ^ set(rows)) or 'other order'}")
    print(f"ok: docs/monitoring.md has the {len(alerts)} alerts")


def change_configuration(folder, ports):
    """Changes the configuration as soon as Prometheus has read the gate: the dashboard marks reloads."""
    for _ in range(LIMIT_SECONDS):
        if (data := read(ports["prometheus"], "/api/v1/query", query="portcullis_build_info")) and data["result"]:
            break
        time.sleep(1)
    new = folder / "portcullis.yaml.new"
    new.write_text((folder / "portcullis.yaml").read_text().replace("203.0.113.9", "203.0.113.10"))
    new.rename(folder / "portcullis.yaml")


def check_dashboard(prometheus):
    """Exits with a message if an expression returns no series within the limit."""
    missing = dict.fromkeys(expressions())
    count = len(missing)
    end = time.monotonic() + LIMIT_SECONDS
    while missing and time.monotonic() < end:
        time.sleep(1)
        now = time.time()
        for title, expression in list(missing):
            try:
                data = read(prometheus, "/api/v1/query_range", query=expression, start=now - LIMIT_SECONDS, end=now, step=1)
            except ValueError as error:
                sys.exit(f"{title}: {expression}: {error}")
            if data and data["result"]:
                del missing[(title, expression)]
    if missing:
        sys.exit("no series for:\n" + "\n".join(f"  {title}: {expression}" for title, expression in missing))
    print(f"ok: each of the {count} expressions of the dashboard and of the pages has series")


def check_names(admin):
    """Exits with a message if alerts or dashboard name a metric that the gate does not have."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE portcullis_")}
    named = set(re.findall(r"\bportcullis_\w+", DASHBOARD.read_text() + ALERTS.read_text()))
    named = {name.removesuffix("_bucket") for name in named} - {"portcullis_build_info"}
    if unknown := named - names:
        sys.exit(f"the gate has no such metrics: {sorted(unknown)}")
    print(f"ok: the gate has the {len(named)} metrics that alerts and dashboard name")


def main():
    binary, redis = sys.argv[1:]
    check_page()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        ports = free_ports(["public", "logins", "sharded", "broken", "secure", "redis", "nothing", "sentinel", "node0", "node1",
                            "node0_bus", "node1_bus", "admin", "prometheus"])
        (folder / "portcullis.yaml").write_text(GATE.format(**ports))
        (folder / "password").write_text("a long password\n")
        (folder / "password").chmod(0o600)
        (folder / "sentinel.conf").write_text(f"port {ports['sentinel']}\nsentinel monitor mymaster 127.0.0.1 {ports['redis']} 1\n")
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: portcullis\n"
            f"    static_configs: [{{targets: ['127.0.0.1:{ports['admin']}']}}]\n")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
                        "-subj", "/CN=gate.example", "-days", "30"], cwd=folder, check=True, capture_output=True)
        (folder / "key.pem").chmod(0o600)
        started = []
        over = threading.Event()

        def start(port, *command):
            """Starts a server, and waits until it listens."""
            log = open(folder / f"log{len(started)}", "w+")
            started.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
            await_port(ports[port], started[-1], log)

        try:
            for node in NODES:
                start(node, redis, "--port", str(ports[node]), "--bind", "127.0.0.1", "--save", "", "--cluster-enabled", "yes",
                      "--cluster-port", str(ports[f"{node}_bus"]), "--cluster-config-file", f"{node}.conf")
            cluster = Cluster(ports)
            start("redis", redis, "--port", str(ports["redis"]), "--bind", "127.0.0.1", "--save", "")
            start("sentinel", redis, "sentinel.conf", "--sentinel", "--bind", "127.0.0.1")
            start("public", binary, "run", "--config", "portcullis.yaml")
            start("prometheus", "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                  f"--web.listen-address=127.0.0.1:{ports['prometheus']}")
            loader = threading.Thread(target=load, args=(ports, cluster, over), daemon=True)
            loader.start()
            check_names(ports["admin"])
            change_configuration(folder, ports)
            check_dashboard(ports["prometheus"])
        finally:
            over.set()
            for process in started:
                process.terminate()
            for process in started:
                process.wait(20)


def await_port(port, process, log):
    for _ in range(200):
        if process.poll() is not None:
            log.seek(0)
            sys.exit(f"{process.args[0]} ended: {log.read()}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{process.args[0]} does not listen")


if __name__ == "__main__":
    main()
