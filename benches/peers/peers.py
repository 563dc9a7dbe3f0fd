"""The forwarders that are compared: how each is configured and started, one worker each."""

import os
import random
import socket
import subprocess
import time


def free_port():
    """Below the ephemeral range, so that no outgoing connection takes it meanwhile."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Peer:
    """A running process with the port it serves. `pids` are its processes, for /proc."""

    def __init__(self, name, port, command, **options):
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise SystemExit(f"{name} does not listen on {port}: {' '.join(command)}")

    @property
    def pids(self):
        me = str(self.process.pid)
        children = open(f"/proc/{me}/task/{me}/children").read().split()
        return [me, *children]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def redis(folder, binary):
    port = free_port()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
               "--dir", folder, "--maxclients", "12000"]
    return Peer("direct", port, command)


def portcullis_acl(folder, upstream, binary):
    """With command rules and key patterns."""
    return portcullis(folder, upstream, binary, "portcullis-acl", 'acl: "@public ~user:* ~key:*"')


def portcullis(folder, upstream, binary, name="portcullis", more=""):
    port, admin = free_port(), free_port()
    config = write(folder, f"{name}.yaml", f"""
listeners:
  - name: public
    bind: 127.0.0.1:{port}
    upstream: main
    allow: [127.0.0.1]
    refusal: close
    {more}
upstreams:
  main:
    address: 127.0.0.1:{upstream}
admin: {{bind: 127.0.0.1:{admin}}}
audit: {{path: {folder}/{name}.log}}
workers: 1
""")
    return Peer(name, port, [binary, "run", "--config", config])


def haproxy(folder, upstream):
    port = free_port()
    config = write(folder, "haproxy.cfg", f"""
global
  nbthread 1
  maxconn 5000
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen redis
  bind 127.0.0.1:{port}
  tcp-request connection reject if !{{ src 127.0.0.1 }}
  server redis 127.0.0.1:{upstream}
""")
    return Peer("haproxy", port, ["haproxy", "-f", config])


def nginx(folder, upstream):
    port = free_port()
    config = write(folder, "nginx.conf", f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 15000; }}
stream {{
  log_format plain '$remote_addr $status $bytes_sent $bytes_received';
  access_log {folder}/nginx-access.log plain;
  server {{
    listen 127.0.0.1:{port};
    allow 127.0.0.1;
    deny all;
    tcp_nodelay on;
    proxy_pass 127.0.0.1:{upstream};
  }}
}}
""")
    return Peer("nginx", port, ["nginx", "-c", config])


def rinetd(folder, upstream):
    port = free_port()
    config = write(folder, "rinetd.conf", f"127.0.0.1 {port} 127.0.0.1 {upstream}\nallow 127.0.0.1\n")
    return Peer("rinetd", port, ["rinetd", "-f", "-c", config])


def twemproxy(folder, upstream):
    port, stats = free_port(), free_port()
    config = write(folder, "nutcracker.yml", f"""
redis:
  listen: 127.0.0.1:{port}
  hash: fnv1a_64
  distribution: ketama
  redis: true
  tcpkeepalive: true
  servers:
    - 127.0.0.1:{upstream}:1
""")
    command = ["nutcracker", "-c", config, "-s", str(stats), "-m", "16384"]
    return Peer("twemproxy", port, command)
