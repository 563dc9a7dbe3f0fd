
// The view of the connected clients.

async function loadClients() {
  const form = new FormData($("search"));
  const query = new URLSearchParams({ after: pages.at(-1), limit: PAGE });
  for (const [name, value] of form) if (value.trim() !== "") query.set(name, value.trim());
  const found = await api(`/api/clients?${query}`);
  const filtered = query.has("q") || query.has("listener");
  const columns = [
    ["Client", (row) => number(row.id), "number"],
    ["Address", (row) => [mono(row.address), row.sender ? h("div", { class: "muted" }, `by ${row.sender}`) : null]],
    ["Listener", (row) => mono(row.listener)],
    ["User", (row) => row.user],
    ["Name", (row) => [row.name, row.library ? h("div", { class: "muted" }, row.library) : null]],
    ["State", (row) => (row.state === "normal" ? "" : row.state)],
    ["Connected", (row) => span(row.age_seconds), "number"],
    ["Idle", (row) => span(row.idle_seconds), "number"],
    ["Admitted by", (row) => [row.group ? mono(row.group) : null, row.entry ? h("div", null, mono(row.entry)) : null]],
  ];
  if (isOperator()) columns.push(["", (row) => button("Disconnect", `close-${row.id}`, `Disconnect client ${row.id}`, () => disconnect(row), "small danger"), "actions"]);
  const list = found.clients.length > 0 ? table("Connected clients", columns, found.clients)
    : state(filtered ? "No connected client matches." : "No client is connected.");
  const turn = (text, key, to) => h("button", { type: "button", "data-key": key, disabled: to === null, onclick: () => { pages = to; refreshClients(); } }, text);
  fill($("client-list"), list, h("div", { class: "row between" },
    h("span", { class: "muted" }, `${number(found.matched)} ${found.matched === 1 ? "client" : "clients"}${filtered ? " match" : ""}, page ${pages.length}`
      + (found.missing > 0 ? `; ${number(found.missing)} could not be looked at in time` : "")),
    h("span", { class: "row" },
      turn("First", "first", pages.length > 1 ? [0] : null),
      turn("Previous", "previous", pages.length > 1 ? pages.slice(0, -1) : null),
      turn("Next", "next", found.next === null ? null : [...pages, found.next]))));
}

const refreshClients = () => load($("client-list"), loadClients);

async function disconnect(row) {
  const text = `${row.address} on ${row.listener}. A client may connect again; to keep it out, change the lists.`;
  await confirm(`Disconnect client ${row.id}?`, text, "Disconnect", async () => {
    await api(`/api/clients/${row.id}/close`, "POST");
    toast(`Client ${row.id} is disconnected.`);
  });
  refreshClients();
}
