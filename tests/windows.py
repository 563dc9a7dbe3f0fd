#!/usr/bin/env python3
"""Runs portcullis.exe under wine before a Redis of Linux, on loopback. Started by tests/windows.sh.

    tests/windows.py PORTCULLIS_EXE REDIS_SERVER WINE
"""

import shlex
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

# wine takes seconds for its first process on a busy machine.
PATIENCE = 60
PASSWORD = "a-password-of-redis"
TOKEN = "0123456789abcdef0123456789abcdef"
CLIENTS = 1000
# With each event, the server of wine 8 looks at every socket. A thousand events at once are a minute of its time.
AT_ONCE = 20
PIPELINE = 20_000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(what, test):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = test()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"not within {PATIENCE} s: {what}")


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def windows_path(path):
    return "Z:" + str(path).replace("/", "\\")


class Client:
    """A connection that speaks RESP, as far as these tests need it."""

    def __init__(self, port, source="127.0.0.1", tls=None):
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(source, 0))
        self.socket = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        words = [word.encode() for word in words]
        parts = [b"*%d\r\n" % len(words)] + [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
        self.socket.sendall(b"".join(parts))

    def receive(self):
        line = self.file.readline()
        if not line:
            raise EOFError
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return None if rest == b"-1" else [self.receive() for _ in range(int(rest))]
        return line[:-2].decode()

    def ask(self, *words):
        self.send(*words)
        return self.receive()

    def close(self):
        self.file.close()
        self.socket.close()


class Gate:
    """The files of a gate, and its program."""

    def __init__(self, directory, wine, binary, redis):
        self.directory, self.wine, self.binary = directory, wine, binary
        self.plain, self.secure, self.admin = free_port(), free_port(), free_port()
        (directory / "groups").mkdir()
        self.group = directory / "groups" / "office.txt"
        self.group.write_bytes(b"# the office\r\n127.0.0.1  # this host\r\n")
        (directory / "password.txt").write_bytes(PASSWORD.encode() + b"\r\n")
        (directory / "token.txt").write_bytes(TOKEN.encode() + b"\r\n")
        certificate(directory)
        self.yaml = f"""\
listeners:
  - {{name: plain, bind: 127.0.0.1:{self.plain}, upstream: main, auth: trust, allow: [office]}}
  - name: secure
    bind: 127.0.0.1:{self.secure}
    upstream: main
    auth: trust
    allow: [office]
    tls: {{cert: 'tls\\server.pem', key: 'tls\\server.key'}}
upstreams:
  main:
    address: 127.0.0.1:{redis}
    connect_timeout: 20s
    credentials: {{password: {{file: '{windows_path(directory)}\\password.txt'}}}}
groups:
  office: {{file: 'groups\\office.txt'}}
admin: {{bind: 127.0.0.1:{self.admin}, token: {{file: token.txt}}}}
audit: {{path: 'audit.log', commands: all, keys: plain}}
limits: {{clients: 2000}}
"""
        self.write("gate.yaml", self.yaml)

    def write(self, name, text):
        (self.directory / name).write_bytes(text.replace("\n", "\r\n").encode())

    def command(self, *words, code=0):
        """Runs a command to its end, and returns what it prints."""
        return "".join(self.outputs(*words, code=code))

    def outputs(self, *words, code=0):
        """Runs a command to its end, and returns its standard output and its standard error."""
        done = subprocess.run([self.wine, self.binary, *words], cwd=self.directory, capture_output=True, timeout=PATIENCE,
                              stdin=subprocess.DEVNULL)
        texts = [text.decode(errors="replace").replace("\r\n", "\n") for text in (done.stdout, done.stderr)]
        if done.returncode != code:
            raise SystemExit(f"{words}: exit code {done.returncode}, not {code}:\n{texts[0]}{texts[1]}")
        return texts

    @contextmanager
    def running(self):
        log = open(self.directory / "gate.log", "ab")
        with log:
            process = subprocess.Popen([self.wine, self.binary, "run", "--config", "gate.yaml"], cwd=self.directory,
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                eventually("the gate listens", lambda: process.poll() is not None or can_connect(self.secure))
                if process.poll() is not None:
                    raise SystemExit("the gate ended:\n" + self.log())
                yield process
            except BaseException:
                print(self.log(), file=sys.stderr)
                raise
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait(PATIENCE)

    def log(self):
        return (self.directory / "gate.log").read_text(errors="replace")

    def client(self, source="127.0.0.1"):
        return Client(self.plain, source)

    def is_admitted(self, source):
        client = self.client(source)
        try:
            return client.ask("PING") == "+PONG"
        except (EOFError, OSError):
            return False
        finally:
            client.close()


def certificate(directory):
    (directory / "tls").mkdir()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout",
                    directory / "tls" / "server.key", "-out", directory / "tls" / "server.pem"],
                   check=True, capture_output=True)


@contextmanager
def redis_server(program, directory, port):
    words = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD, "--dir", directory]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        eventually("Redis listens", lambda: can_connect(port))
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def commands(gate):
    """Commands that need no running gate."""
    assert "gate.yaml" in gate.command("check", "--config", windows_path(gate.directory / "gate.yaml")), "check names the file"
    text = gate.command("explain", "127.0.0.1", "--config", "gate.yaml", "--listener", "plain")
    assert "office" in text and "office.txt" in text, text
    gate.command("explain", "127.0.0.9", "--config", "gate.yaml", code=1)
    gate.command("groups", "add", "office", "127.0.0.8", "--note", "a test", "--config", "gate.yaml")
    entries = gate.group.read_bytes()
    assert b"127.0.0.8" in entries and entries.count(b"\n") == entries.count(b"\r\n") == 3, entries
    gate.command("groups", "remove", "office", "127.0.0.8", "--config", "gate.yaml")
    assert b"127.0.0.8" not in gate.group.read_bytes()
    assert "portcullis" in gate.command("version")
    print("check, explain and groups work with paths of Windows and CRLF")


def walks_through(gate, page):
    """The commands of windows.md import and of windows.md allow, as they are on the page."""
    rule = next(line for line in page.splitlines() if line.startswith("netsh interface portproxy add "))
    gate.write("portproxy.txt", f"{rule}\n")
    for words in commands_of(page, "import"):
        assert words[-2] == ">", words
        (gate.directory / words[-1]).write_text(gate.outputs(*words[1:-2])[0])
    yaml = (gate.directory / "portcullis.yaml").read_text()
    assert "address: 10.0.0.5:6379" in yaml and "allow: []" in yaml, yaml
    group = page.split("```yaml\n")[1].split("```")[0]
    gate.write("portcullis.yaml", yaml.replace("allow: []", "allow: [clients]") + group)
    for words in commands_of(page, "allow"):
        gate.command(*words[1:])
    assert "198.51.100.7" in (gate.directory / "portcullis.yaml").read_text()
    gate.command("explain", "192.0.2.1", code=1)
    (gate.directory / "portcullis.yaml").unlink()
    print("the commands of docs/windows.md work")


def commands_of(page, name):
    block = page.split(f"<!-- runs: tests/windows.py {name} -->\n```\n")[1].split("```")[0]
    return [shlex.split(line) for line in block.splitlines()]


def what_windows_lacks(gate):
    """Each key that needs what Windows lacks is an error with a remedy."""
    for name, old, new, message, hint in (
        ("bind", f"127.0.0.1:{gate.plain}", "'unix:/run/gate.sock'", "unix sockets", "TCP address"),
        ("reload", "admin:", "reload: signal\nadmin:", "signal", "reload: watch"),
        ("takeover", "admin:", "takeover: /run/gate.takeover\nadmin:", "takeover", "remove it"),
        ("syslog", "path: 'audit.log'", "path: syslog", "syslog", "syslog:HOST:PORT"),
    ):
        assert gate.yaml.count(old) == 1, name
        gate.write("lacks.yaml", gate.yaml.replace(old, new))
        text = gate.command("check", "--config", "lacks.yaml", code=78)
        assert message in text and hint in text, text
    (gate.directory / "lacks.yaml").unlink()
    gate.command("run", "--config", "gate.yaml", "--takeover", code=1)
    print("check reports keys that need unix sockets or signals")


def serves(gate):
    client = gate.client()
    assert client.ask("SET", "a", "1") == "+OK", "the password is added"
    assert client.ask("GET", "a") == "1"
    client.socket.sendall(b"*1\r\n$4\r\nPING\r\n" * PIPELINE)
    assert all(client.receive() == "+PONG" for _ in range(PIPELINE)), "a pipeline keeps its order"
    large = "x" * (4 << 20)
    assert client.ask("SET", "large", large) == "+OK" and client.ask("GET", "large") == large
    subscriber = gate.client()
    assert subscriber.ask("SUBSCRIBE", "news") == ["subscribe", "news", ":1"]
    assert client.ask("PUBLISH", "news", "hello") == ":1"
    assert subscriber.receive() == ["message", "news", "hello"]
    subscriber.close()
    client.close()
    assert not gate.is_admitted("127.0.0.9"), "127.0.0.9 is on no list"
    context = ssl.create_default_context(cafile=gate.directory / "tls" / "server.pem")
    secure = Client(gate.secure, tls=context)
    assert secure.ask("GET", "a") == "1", secure
    assert secure.ask("GET", "large") == large
    secure.close()
    print("commands, pipelines, large values, pub/sub and TLS work; a source on no list is refused")


def many(gate):
    clients = []
    while len(clients) < CLIENTS:
        more = [gate.client() for _ in range(AT_ONCE)]
        for client in more:
            client.send("PING")
        assert all(client.receive() == "+PONG" for client in more)
        clients += more
    for client in clients[::CLIENTS // AT_ONCE]:
        assert client.ask("PING") == "+PONG"
    for client in clients:
        client.close()
    print(f"{CLIENTS} clients at once are served")


def reloads(gate):
    gate.group.write_bytes(b"127.0.0.1\r\n127.0.0.9\r\n")
    eventually("a changed file admits its entries", lambda: gate.is_admitted("127.0.0.9"))
    gate.command("groups", "remove", "office", "127.0.0.9", "--config", "gate.yaml")
    eventually("a removed entry is refused", lambda: not gate.is_admitted("127.0.0.9"))
    gate.write("gate.yaml", gate.yaml.replace("upstream: main, auth: trust", "upstream: nowhere, auth: trust"))
    eventually("a bad file is reported", lambda: "reload rejected" in gate.log())
    assert gate.is_admitted("127.0.0.1"), "the old configuration stays in force"
    gate.write("gate.yaml", gate.yaml)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"http://127.0.0.1:{gate.admin}/api/reload", method="POST", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.status == 200, answer.status
    print("changed files are read, bad ones are refused, and the endpoint reloads")


def asks_the_running_gate(gate):
    gate.command("ready", "--config", "gate.yaml")
    text = gate.command("status", "--config", "gate.yaml")
    assert "plain" in text and "main" in text, text
    text = gate.command("check", "--config", "gate.yaml")
    assert "already" not in text, text
    text = gate.command("run", "--config", "gate.yaml", code=1)
    assert "in use by the running process of this configuration" in text or "running process" in text, text
    print("ready, status and check find the running gate, and a second one does not start")


def is_a_service(gate):
    """The service manager of wine keeps no account and no restarts, and ends services with the last other process."""
    text = gate.command("service", "install", "--config", "gate.yaml", "--log", "log")
    assert "installed" in text and "gate.yaml" in text, text
    try:
        assert "running" in gate.command("service", "start")
        assert "Running" in gate.command("service", "status")
        assert "stopped" in gate.command("service", "stop")
        log = "".join(file.read_text() for file in (gate.directory / "log").iterdir())
        assert "listening" in log and "drained" in log, log
    finally:
        gate.command("service", "uninstall")
    gate.command("service", "status", code=1)
    print("the service is installed, starts, stops with a drain, and is removed")


def drains(gate, process):
    blocked = gate.client()
    blocked.send("BLPOP", "list", "2")
    time.sleep(0.5)
    # wine makes Ctrl-C of it.
    process.send_signal(signal.SIGINT)
    eventually("the gate listens no more", lambda: not can_connect(gate.plain))
    assert blocked.receive() is None, "the pending command gets its reply"
    assert process.wait(PATIENCE) == 0, gate.log()
    assert "drained" in gate.log(), gate.log()
    audit = (gate.directory / "audit.log").read_text()
    assert '"event":"accepted"' in audit and '"event":"refused"' in audit, audit[:400]
    print("Ctrl-C drains, and the audit file has its lines")


def main():
    binary, program, wine = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as directory:
        redis = free_port()
        gate = Gate(Path(directory), wine, binary, redis)
        commands(gate)
        walks_through(gate, (Path(__file__).parent.parent / "docs" / "windows.md").read_text())
        what_windows_lacks(gate)
        with redis_server(program, directory, redis), gate.running() as process:
            serves(gate)
            reloads(gate)
            asks_the_running_gate(gate)
            drains(gate, process)
        is_a_service(gate)
        # A gate of its own: the server of wine needs long to close so many sockets.
        with redis_server(program, directory, redis), gate.running():
            many(gate)


if __name__ == "__main__":
    main()
