"""The compared peers: the configurations and commands of Redis and the forwarders, one worker each."""

import os
import random
import socket
import subprocess

from process import Peer

# Enough for 9000 clients and as many connections to Redis, also all at once.
FILES, BACKLOG = 20000, 4096


def start(name, folder, upstream, options, tls=None):
    """The peer of that name before the port `upstream`; `tls` is a certificate and its key."""
    if name.startswith("portcullis"):
        return portcullis(name, folder, upstream, options.portcullis, tls)
    return {"haproxy": haproxy, "nginx": nginx, "rinetd": rinetd, "twemproxy": twemproxy, "envoy": envoy}[name](
        folder, upstream, options, tls)


# The additional lines of each portcullis in its listener and its upstream.
PORTCULLIS = {
    "portcullis": ("", ""),
    "portcullis-shared": ("auth: trust", "connections: shared"),
    "portcullis-acl": ('acl: "@public ~user:* ~key:*"', ""),
    "portcullis-cluster": ("auth: trust", ""),
}
# Measured in these cases only.
ONLY = {"portcullis-acl": {"get-p64"}}
# Before a cluster, in the part of that name.
OF_CLUSTERS = ["portcullis", "portcullis-cluster", "envoy-cluster", "predixy"]
NAMES = [*(name for name in PORTCULLIS if name not in OF_CLUSTERS[1:]), "haproxy", "nginx", "rinetd", "twemproxy",
         "envoy"]
DEFAULT = ["portcullis", "portcullis-shared", "portcullis-acl", "haproxy", "nginx", "rinetd", "twemproxy"]
WITH_TLS = ["portcullis", "portcullis-shared", "haproxy", "nginx"]


def redis(folder, binary, cluster=False):
    port = free_port()
    more = []
    if cluster:
        # A node keeps its state in its directory.
        folder = os.path.join(folder, f"node-{port}")
        os.makedirs(folder)
        more = ["--cluster-enabled", "yes", "--cluster-node-timeout", "15000"]
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
               "--dir", folder, "--maxclients", "12000", "--tcp-backlog", str(BACKLOG), *more]
    return Peer("direct", port, command)


def of_cluster(name, folder, nodes, options, plain):
    """The proxy of that name before a cluster; `portcullis` is before the Redis `plain`."""
    addresses = [f"127.0.0.1:{node.port}" for node in nodes]
    if name == "portcullis":
        return portcullis(name, folder, plain.port, options.portcullis, None)
    if name == "portcullis-cluster":
        return portcullis(name, folder, addresses, options.portcullis, None)
    return {"envoy-cluster": envoy_cluster, "predixy": predixy}[name](folder, addresses, options)


def portcullis(name, folder, upstream, binary, tls):
    port, admin = free_port(), free_port()
    listener, connections = PORTCULLIS[name]
    tls_key = f"tls: {{cert: {tls[0]}, key: {tls[1]}}}" if tls else ""
    # Logs are not beside the configuration, because its directory is watched.
    logs = os.path.join(folder, "log")
    os.makedirs(logs, exist_ok=True)
    place = f"address: 127.0.0.1:{upstream}" if isinstance(upstream, int) else f"cluster: {{nodes: {upstream}}}"
    config = write(folder, f"{name}{'-tls' if tls else ''}.yaml", f"""
listeners:
  - name: public
    bind: 127.0.0.1:{port}
    upstream: main
    allow: [127.0.0.1]
    refusal: close
    {listener}
    {tls_key}
upstreams:
  main:
    {place}
    {connections}
admin: {{bind: 127.0.0.1:{admin}}}
audit: {{path: {logs}/{name}.log}}
workers: 1
""")
    checked = subprocess.run([binary, "check", "--config", config], capture_output=True, text=True)
    if checked.returncode:
        said = next((line for line in checked.stderr.splitlines() if " error: " in line), checked.stderr.strip())
        raise SystemExit(f"{name}: this binary refuses its configuration: {said.split(' error: ')[-1]}")
    return Peer(name, port, [binary, "run", "--config", config], tls=bool(tls))


def haproxy(folder, upstream, _options, tls):
    port = free_port()
    # One file has both, the certificate first.
    certificate = f" ssl crt {join(folder, 'haproxy.pem', tls)}" if tls else ""
    config = write(folder, f"haproxy{'-tls' if tls else ''}.cfg", f"""
global
  nbthread 1
  maxconn 9500
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen redis
  bind 127.0.0.1:{port}{certificate}
  tcp-request connection reject if !{{ src 127.0.0.1 }}
  server redis 127.0.0.1:{upstream}
""")
    return Peer("haproxy", port, ["haproxy", "-f", config], tls=bool(tls))


def nginx(folder, upstream, _options, tls):
    port = free_port()
    name = f"nginx{'-tls' if tls else ''}"
    certificate = f"ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]};" if tls else ""
    certificate += " ssl_protocols TLSv1.2 TLSv1.3;" if tls else ""
    config = write(folder, f"{name}.conf", f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile {FILES};
pid {folder}/{name}.pid;
error_log {folder}/{name}-error.log;
events {{ worker_connections {FILES}; }}
stream {{
  log_format plain '$remote_addr $status $bytes_sent $bytes_received';
  access_log {folder}/{name}-access.log plain;
  server {{
    listen 127.0.0.1:{port}{' ssl' if tls else ''} backlog={BACKLOG};
    {certificate}
    allow 127.0.0.1;
    deny all;
    tcp_nodelay on;
    proxy_timeout 1h;
    proxy_pass 127.0.0.1:{upstream};
  }}
}}
""")
    return Peer("nginx", port, ["nginx", "-c", config], tls=bool(tls))


def rinetd(folder, upstream, _options, _tls):
    port = free_port()
    config = write(folder, "rinetd.conf", f"127.0.0.1 {port} 127.0.0.1 {upstream}\nallow 127.0.0.1\n")
    return Peer("rinetd", port, ["rinetd", "-f", "-c", config])


def twemproxy(folder, upstream, _options, _tls):
    port, stats = free_port(), free_port()
    config = write(folder, "nutcracker.yml", f"""
redis:
  listen: 127.0.0.1:{port}
  hash: fnv1a_64
  distribution: ketama
  redis: true
  tcpkeepalive: true
  backlog: {BACKLOG}
  servers:
    - 127.0.0.1:{upstream}:1
""")
    command = ["nutcracker", "-c", config, "-s", str(stats), "-m", "16384"]
    return Peer("twemproxy", port, command, sources=False)


def envoy(folder, upstream, options, _tls):
    port = free_port()
    config = write(folder, "envoy.yaml", f"""
static_resources:
  listeners:
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.redis_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
                stat_prefix: redis
                settings: {{op_timeout: 60s}}
                prefix_routes: {{catch_all_route: {{cluster: redis}}}}
  clusters:
    - name: redis
      type: STATIC
      connect_timeout: 2s
      load_assignment:
        cluster_name: redis
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
""")
    command = [options.envoy, "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "off"]
    return Peer("envoy", port, command, sources=False)


def envoy_cluster(folder, addresses, options):
    port = free_port()
    hosts = [address.split(":") for address in addresses]
    endpoints = "".join(f"""
              - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {at}}}}}}}"""
                        for host, at in hosts)
    config = write(folder, "envoy-cluster.yaml", f"""
static_resources:
  listeners:
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.redis_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
                stat_prefix: redis
                settings: {{op_timeout: 60s, enable_redirection: true}}
                prefix_routes: {{catch_all_route: {{cluster: redis}}}}
  clusters:
    - name: redis
      connect_timeout: 2s
      lb_policy: CLUSTER_PROVIDED
      cluster_type:
        name: envoy.clusters.redis
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig
          cluster_refresh_rate: 10s
      load_assignment:
        cluster_name: redis
        endpoints:
          - lb_endpoints:{endpoints}
""")
    command = [options.envoy, "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "off"]
    return Peer("envoy-cluster", port, command, sources=False)


def predixy(folder, addresses, _options):
    port = free_port()
    servers = "".join(f"    + {address}\n" for address in addresses)
    config = write(folder, "predixy.conf", f"""
Bind 127.0.0.1:{port}
WorkerThreads 1
ClusterServerPool {{
  MasterReadPriority 60
  StaticSlaveReadPriority 0
  DynamicSlaveReadPriority 0
  RefreshInterval 1
  ServerTimeout 0
  ServerFailureLimit 10
  ServerRetryTimeout 1
  KeepAlive 120
  Servers {{
{servers}  }}
}}
Authority {{
  Auth {{
    Mode write
  }}
}}
""")
    return Peer("predixy", port, ["predixy", config], sources=False)


def certificate(folder):
    """A certificate and its key, made for this run."""
    cert, key = os.path.join(folder, "server.pem"), os.path.join(folder, "server.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "60", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-out", cert, "-keyout", key], check=True, capture_output=True)
    return cert, key


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


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def join(folder, name, paths):
    text = ""
    for path in paths:
        with open(path) as file:
            text += file.read()
    return write(folder, name, text)
