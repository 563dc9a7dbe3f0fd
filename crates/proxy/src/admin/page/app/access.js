
// The view of who is allowed: explain, refused and blocked sources, groups.

async function explain(event) {
  event.preventDefault();
  const query = new URLSearchParams();
  for (const [name, value] of new FormData($("explain"))) if (value.trim() !== "") query.set(name, value.trim());
  try {
    const answer = await api(`/api/explain?${query}`);
    const why = (row) => [row.rule ? ["entry ", mono(row.rule.entry), row.rule.group ? [" of group ", mono(row.rule.group)] : " in the listener", " ", place(row.rule)] : "no entry matches"];
    const verdict = (allowed) => (allowed ? badge("allowed", "good") : badge("refused", "bad"));
    const more = (facts) => (facts ? [verdict(facts.allowed), ` ${(facts.reason ?? "").replaceAll("_", " ")}`] : "");
    const any = (of) => answer.listeners.some(of);
    fill($("explained"), table(`Decision about ${answer.source}`, [
      ["Listener", (row) => mono(row.listener)],
      ["Address", (row) => verdict(row.allowed)],
      ["Because", (row) => why(row).flat(3)],
      any((row) => row.rule?.note) ? ["Note", (row) => row.rule?.note] : null,
      any((row) => row.until) ? ["Until", (row) => (row.until ? when(row.until) : "")] : null,
      any((row) => row.user) ? ["User", (row) => more(row.user)] : null,
      any((row) => row.command) ? ["Command", (row) => [more(row.command), row.command?.reply ? h("div", null, mono(row.command.reply)) : null].flat()] : null,
    ].filter(Boolean), answer.listeners));
  } catch (problem) {
    fill($("explained"), h("p", { class: "error" }, problem.message));
  }
}

function showRefused() {
  const rows = status.refused_sources;
  const entry = (row) => (row.entry === null ? null : [mono(yaml(row.entry)), " ",
    button("Copy", `copy-${row.listener}-${row.reason}-${row.entry}`, `Copy the entry for ${row.entry}`, () => copy(yaml(row.entry))),
    isOperator() ? [" ", button("Add", `add-${row.listener}-${row.reason}-${row.entry}`, `Add ${row.entry} to a group`, () => openAdd(row.entry, row.listener))] : null].flat());
  fill($("refused"), rows.length > 0 ? table("Sources that were refused last", [
    ["Source", (row) => mono(row.source)],
    ["Listener", (row) => mono(row.listener)],
    ["Reason", (row) => row.reason.replaceAll("_", " ")],
    ["Times", (row) => number(row.count), "number"],
    ["Last", (row) => when(row.last_seen)],
    ["Entry that would admit it", entry],
  ], rows) : state("No source was refused since the start."));
}

async function loadBlocked() {
  const found = await api("/api/sources");
  const columns = [
    ["Source", (row) => mono(row.source)],
    ["Listener", (row) => mono(row.listener)],
    ["Reason", () => "too many failed logins"],
    ["Time left", (row) => span(row.seconds_left), "number"],
  ];
  if (isOperator()) columns.push(["", (row) => button("Unblock", `unblock-${row.listener}-${row.source}`, `Unblock ${row.source}`, () => unblock(row)), "actions"]);
  const more = found.total - found.blocked.length;
  fill($("blocked"), found.blocked.length > 0 ? table("Blocked sources", columns, found.blocked) : state("No source is blocked."),
    more > 0 ? state(`and ${number(more)} more`) : null);
}

async function unblock(row) {
  try {
    await api("/api/sources/unblock", "POST", { source: row.source, listener: row.listener });
    toast(`${row.source} is unblocked.`);
  } catch (problem) {
    toast(problem.message);
  }
  load($("blocked"), loadBlocked);
}

async function loadGroups() {
  const found = await api("/api/groups");
  groups = found.groups.filter((group) => group.name !== "unix");
  const columns = [
    ["Entry", (row) => mono(row.entry)],
    ["Group", (row) => (row.group ? mono(row.group) : "")],
    ["Note", (row) => row.note],
    ["Owner", (row) => row.owner],
    ["Expires", (row) => when(row.until)],
    ["Written in", place],
  ];
  fill($("expiring"), found.expiring.length > 0 ? table("Entries that expire soon", columns, found.expiring)
    : state("No entry expires within 14 days."));
  const open = new Set([...$("groups").querySelectorAll("details[open]")].map((node) => node.dataset.group));
  const details = groups.map((group) => {
    const facts = [`${number(group.entries)} ${group.entries === 1 ? "entry" : "entries"}`, `${number(group.hits)} hits`,
      group.used_by.length > 0 ? `used by ${group.used_by.join(", ")}` : "not used",
      group.includes.length > 0 ? `includes ${group.includes.join(", ")}` : null, group.note, group.owner ? `owner ${group.owner}` : null];
    const content = h("div", null, state("Loading"));
    const node = h("details", { "data-group": group.name, open: open.has(group.name) },
      h("summary", { "data-key": `group-${group.name}` }, h("strong", null, group.name), " ",
        h("span", { class: "facts" }, facts.filter(Boolean).join(" · "), group.next_expiry ? [" · next expiry ", when(group.next_expiry)] : null)),
      content);
    const entries = () => load(content, () => loadGroup(group.name, content, 0));
    node.addEventListener("toggle", () => { if (node.open) entries(); });
    return node;
  });
  fill($("groups"), details.length > 0 ? details : state("The configuration has no group."));
}

async function loadGroup(name, content, offset) {
  const group = await api(`/api/groups/${encodeURIComponent(name)}?offset=${offset}&limit=100`);
  const columns = [
    ["Entry", (row) => [mono(row.entry), row.host ? h("div", { class: "muted" }, row.host) : null]],
    ["Note", (row) => row.note],
    ["Owner", (row) => row.owner],
    ["Expires", (row) => (row.until ? when(row.until) : "never")],
    ["Written in", place],
  ];
  if (isOperator()) columns.push(["", (row) => (row.host ? null : button("Remove", `remove-${name}-${row.entry}`, `Remove ${row.entry} from ${name}`, () => removeEntry(name, row.entry), "small danger")), "actions"]);
  const shown = offset + group.entries_shown.length;
  const turn = (text, key, to) => h("button", { type: "button", "data-key": key, disabled: to === null, onclick: () => load(content, () => loadGroup(name, content, to)) }, text);
  const paged = offset > 0 || group.entries_shown.length === 100;
  fill(content,
    group.entries_shown.length > 0 ? table(`Entries of ${name}`, columns, group.entries_shown) : state("The group has no entry of its own."),
    h("div", { class: "row between" },
      isOperator() ? button("Add an entry", `new-${name}`, `Add an entry to ${name}`, () => openAdd("", null, name), "primary") : h("span"),
      paged ? h("span", { class: "row" }, h("span", { class: "muted" }, `${offset + 1} to ${shown}`),
        turn("Previous", "back", offset > 0 ? Math.max(offset - 100, 0) : null),
        turn("Next", "more", group.entries_shown.length === 100 ? shown : null)) : null));
}

async function removeEntry(group, entry) {
  await confirm(`Remove ${entry} from ${group}?`, "Clients that no other entry admits are disconnected.", "Remove", async () => {
    told(await api(`/api/groups/${encodeURIComponent(group)}/entries/remove`, "POST", { cidr: entry }), `${entry} is removed from ${group}.`);
  });
  refreshAccess();
}

/** Says what became of an edit: the reload may have rejected it. */
function told(answer, text) {
  const reload = answer.reload ?? {};
  const warnings = (answer.warnings ?? []).join(" ");
  if (reload.result === "rejected") toast("The file is changed, but the reload was rejected. See Configuration.");
  else toast(`${text} ${warnings}`.trim());
}

function openAdd(cidr, listener, group) {
  const dialog = $("add-dialog");
  const form = $("add-form");
  form.reset();
  const usual = group ?? groups.find((one) => one.used_by.includes(`${listener}.allow`))?.name;
  fill(form.elements.group, groups.map((one) => h("option", { value: one.name, selected: one.name === usual }, one.name)));
  form.elements.cidr.value = cidr;
  form.querySelector(".error").textContent = "";
  $("until-label").hidden = true;
  openDialog(dialog);
  (cidr ? form.elements.note : form.elements.cidr).focus();
}

async function add(event) {
  event.preventDefault();
  const form = $("add-form");
  const { group, cidr, note, span: length, until } = form.elements;
  const body = { cidr: cidr.value.trim() };
  if (note.value.trim() !== "") body.note = note.value.trim();
  const end = length.value === "at" ? until.value.trim() : length.value;
  if (end !== "") body.until = end;
  try {
    told(await api(`/api/groups/${encodeURIComponent(group.value)}/entries`, "POST", body), `${body.cidr} is added to ${group.value}.`);
    $("add-dialog").close();
    refreshAccess();
  } catch (problem) {
    form.querySelector(".error").textContent = problem.message;
  }
}

function refreshAccess() {
  load($("groups"), loadGroups);
  load($("blocked"), loadBlocked);
  refreshStatus();
}
