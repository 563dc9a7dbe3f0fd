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
# How long the load runs at most. Prometheus reads the gate each second.
LIMIT_SECONDS = 60

GATE = """
listeners:
  - {{name: public, bind: "127.0.0.1:{public}", upstream: main, auth: trust, allow: [{{group: office}}], acl: "+@all -@scripting -flushall",
     shadow: {{allow: [203.0.113.9]}}}}
  - {{name: logins, bind: "127.0.0.1:{logins}", upstream: watched, auth: users, users: [app],
     allow: [127.0.0.1], limits: {{per_source: {{auth_failures: 3/1m, block_for: 1m}}}}}}
  - {{name: broken, bind: "127.0.0.1:{broken}", upstream: broken, auth: trust, allow: [127.0.0.1]}}
  - {{name: secure, bind: "127.0.0.1:{secure}", upstream: main, auth: trust, allow: [127.0.0.1],
     tls: {{cert: cert.pem, key: key.pem}}}}
users:
  app: {{password: {{file: password}}}}
upstreams:
  main: {{address: "localhost:{redis}"}}
  broken: {{address: "127.0.0.1:{nothing}"}}
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

    def close(self):
        self.file.close()
        self.socket.close()


def load(ports, over):
    """Does what the panels show: commands, refusals, failed logins, errors and lost upstreams, until `over` is set."""
    staying = Client(ports["public"])
    turn = 0
    while not over.is_set():
        turn += 1
        for line in (f"SET key{turn % 9} value", f"GET key{turn % 9}", "INCR counter", "LPUSH counter x", "FLUSHALL"):
            staying.call(line)
        # The address is not in the list, the password is wrong, and the server does not run.
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
    staying.close()


def read(port, path, **query):
    """Returns the JSON answer of Prometheus. Raises `ValueError` with its text if it is an error."""
    url = f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
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
        ports = free_ports(["public", "logins", "broken", "secure", "redis", "nothing", "sentinel", "admin", "prometheus"])
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
        commands = [
            [redis, "--port", str(ports["redis"]), "--bind", "127.0.0.1", "--save", ""],
            [redis, "sentinel.conf", "--sentinel", "--bind", "127.0.0.1"],
            [binary, "run", "--config", "portcullis.yaml"],
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
             f"--web.listen-address=127.0.0.1:{ports['prometheus']}"],
        ]
        logs = [open(folder / f"log{index}", "w+") for index in range(len(commands))]
        started = []
        over = threading.Event()
        try:
            for command, log in zip(commands, logs):
                started.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
            await_port(ports["public"], started[2], logs[2])
            loader = threading.Thread(target=load, args=(ports, over), daemon=True)
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
            sys.exit(f"the gate ended: {log.read()}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the gate does not listen")


if __name__ == "__main__":
    main()
