
// The view of what happens now.

function showTiles() {
  const history = status.history;
  const most = (values, shown) => shown(Math.max(...values.map((value) => value ?? 0), 0));
  const tile = (title, now, unit, values, shown) => h("div", { class: "tile" },
    h("h3", null, title),
    h("p", { class: "value" }, now === undefined ? "–" : shown(now), unit ? h("small", null, ` ${unit}`) : null),
    chart(values, `${title} in the last hour, at most ${most([...values, now], shown)}`),
    h("p", { class: "muted" }, values.length > 1 ? `at most ${most([...values, now], shown)} in ${span(Math.ceil(values.length * history.step_seconds / 60) * 60)}`
      : "the chart begins now"));
  fill($("tiles"),
    tile("Clients", sample?.clients ?? status.clients, `of ${number(status.limit_clients)}`, history.clients, number),
    tile("Commands per second", sample?.commands_per_second, null, history.commands_per_second, number),
    tile("Time to reply, p99", sample?.p99_seconds, `p50 ${seconds(sample?.p50_seconds)}`, history.p99_seconds, seconds),
    tile("Refused per second", sample?.refused_per_second,
      sample?.denied_per_second ? `clients, ${number(sample.denied_per_second)} commands` : "clients", history.refused_per_second, number));
}

function showUpstreams() {
  const live = new Map((sample?.upstreams ?? []).map((upstream) => [upstream.name, upstream]));
  const rows = status.upstreams.map((upstream) => {
    const now = live.get(upstream.name);
    return { ...upstream, ...now, tls: upstream.tls, addresses: upstream.addresses, master: upstream.master, connections: { ...upstream.connections, ...now?.connections } };
  });
  const health = (row) => {
    if (row.up === null) return badge("not probed yet", "warn");
    return row.up ? badge("up", "good") : badge(`down: ${row.kind}`, "bad");
  };
  const errors = (row) => Object.entries(row.errors).filter(([, count]) => count > 0).map(([kind, count]) => `${kind} ${number(count)}`).join(", ");
  const columns = [
    ["Upstream", (row) => mono(row.name)],
    ["Health", (row) => [health(row), row.used ? null : h("span", { class: "muted" }, " no listener uses it")]],
    ["Since", (row) => when(row.since)],
    ["Connections", (row) => `${number((row.connections.idle ?? 0) + (row.connections.used ?? 0) + (row.connections.pooled ?? 0))} ${row.connections.kind ?? ""}`],
    ["Errors since start", errors],
  ];
  if (rows.some((row) => row.sentinels)) columns.push(["Sentinels", (row) => (row.sentinels ? `${row.sentinels.naming} of ${row.sentinels.configured} name a master` : "")]);
  if (rows.some((row) => Number.isInteger(row.failovers))) columns.push(["Failovers", (row) => (Number.isInteger(row.failovers) ? number(row.failovers) : ""), "number"]);
  const address = (row) => (row.master ? ["master ", mono(row.master)]
    : (row.addresses ?? []).map((one) => h("div", null, mono(one), row.tls ? " TLS" : "")));
  if (isOperator()) columns.splice(1, 0, ["Address", (row) => (row.nodes ? `${row.nodes.length} nodes, below` : address(row))]);
  fill($("upstreams"), rows.length > 0 ? table("Upstreams", columns, rows) : state("The configuration has no upstream."),
    rows.filter((row) => row.nodes).flatMap(nodesOf));
}

/** The nodes of a cluster, those in trouble first. */
function nodesOf(upstream) {
  const isMaster = (node) => node.role === "master";
  const rank = (node) => (node.health === "up" ? 2 : 0) + (isMaster(node) ? 0 : 1);
  const nodes = upstream.nodes.map((node, place) => ({ node, place }))
    .sort((one, other) => rank(one.node) - rank(other.node) || one.place - other.place).map(({ node }) => node);
  const columns = [
    ["Role", (node) => node.role],
    ["Health", (node) => (node.health === "up" ? badge("up", "good") : badge(node.health, node.health === "down" ? "bad" : "warn"))],
    ["Last probe", (node) => node.link],
    ["Slots", (node) => (node.slot_count > 0 ? `${number(node.slot_count)}: ${node.slots}` : "")],
  ];
  if (isOperator()) columns.unshift(["Node", (node) => [mono(node.address), node.reached_at === node.address ? null : h("div", { class: "muted" }, `reached at ${node.reached_at}`)]]);
  const masters = nodes.filter(isMaster).length;
  const uncovered = SLOTS - nodes.reduce((sum, node) => sum + node.slot_count, 0);
  return [
    h("h3", null, "Nodes of ", mono(upstream.name)),
    nodes.length === 0 ? state("No node has answered yet.") : h("p", { class: "muted" }, `${number(masters)} masters, ${number(nodes.length - masters)} replicas`,
      uncovered > 0 ? [". ", badge(`${number(uncovered)} slots have no owner`, "bad")] : ""),
    nodes.length === 0 ? null : table(`Nodes of ${upstream.name}`, columns, nodes.slice(0, NODES)),
    nodes.length > NODES ? state(`and ${number(nodes.length - NODES)} more: /api/upstreams has all`) : null,
  ];
}

function showListeners() {
  const live = new Map((sample?.listeners ?? []).map((listener) => [listener.name, listener]));
  const now = (row) => live.get(row.name);
  fill($("listeners"), table("Listeners", [
    ["Listener", (row) => mono(row.name)],
    ["Address", (row) => row.binds.map((bind) => h("div", null, mono(bind), row.tls ? " TLS" : ""))],
    ["Upstream", (row) => mono(row.upstream)],
    ["Login", (row) => row.auth],
    ["Clients", (row) => `${number(now(row)?.clients ?? row.clients)} of ${number(row.limit_clients)}`, "number"],
    ["Commands/s", (row) => (now(row) ? number(now(row).commands_per_second) : "–"), "number"],
    ["p50", (row) => seconds(now(row)?.p50_seconds), "number"],
    ["p99", (row) => seconds(now(row)?.p99_seconds), "number"],
    ["From / to clients", (row) => (now(row) ? `${bytes(now(row).bytes_from_clients_per_second)}/s / ${bytes(now(row).bytes_to_clients_per_second)}/s` : "–"), "number"],
  ], status.listeners));
}

function showRefusals() {
  const rows = status.listeners.flatMap((listener) => Object.entries(listener.refused)
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => ({ listener: listener.name, reason, count })));
  fill($("refusals"), rows.length > 0
    ? [table("Refused connections", [
      ["Listener", (row) => mono(row.listener)],
      ["Reason", (row) => row.reason.replaceAll("_", " ")],
      ["Since start", (row) => number(row.count), "number"],
    ], rows), h("p", { class: "muted" }, h("a", { href: "#access", "data-key": "refused-sources" }, "Sources that were refused last"))]
    : state("No connection was refused since the start."));
  fill($("commands"), status.refused_commands.length > 0
    ? table("Refused commands", [
      ["Command", (row) => mono(row.command.toUpperCase())],
      ["Listener", (row) => mono(row.listener)],
      ["Reason", (row) => row.reason],
      ["Since start", (row) => number(row.count), "number"],
    ], status.refused_commands.slice(0, 50))
    : state("The proxy has refused no command since the start."));
}
