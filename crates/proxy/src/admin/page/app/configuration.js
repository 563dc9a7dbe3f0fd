
// The view of the configuration and of its reloads.

function showReloads() {
  const result = (row) => badge(row.result, { applied: "good", rejected: "bad" }[row.result]);
  const list = (texts) => (texts.length > 0 ? h("ul", null, texts.map((text) => h("li", null, text))) : null);
  const what = (row) => [
    list((row.groups ?? []).map((group) => `${group.group}: ${number(group.gained)} gained, ${number(group.lost)} lost${group.changed ? `, ${number(group.changed)} with another end` : ""}`)),
    list(row.changes ?? []),
    list((row.not_applied ?? []).map((text) => `applied only after a restart: ${text}`)),
    row.cut ? h("div", null, `${number(row.cut)} clients disconnected`) : null,
    list((row.problems ?? []).map((problem) => `${problem.file}:${problem.line}:${problem.column}: ${problem.message ?? problem.severity}${problem.hint ? ` – ${problem.hint}` : ""}`)),
    row.error ? h("div", { class: "error" }, row.error) : null,
  ];
  fill($("reloads"),
    status.reloads.length > 0 ? table("Last reloads", [
      ["Time", (row) => when(row.time)],
      ["Result", result],
      ["Trigger", (row) => row.trigger],
      ["Generation", (row) => number(row.generation), "number"],
      ["What", what],
    ], status.reloads) : state("The configuration was not reloaded since the start."),
    isOperator() ? h("div", { class: "row between" }, button("Reload now", "reload", null, reloadNow, "primary")) : null);
}

async function reloadNow() {
  try {
    const report = await api("/api/reload", "POST");
    toast(report.result === "unchanged" ? "No file has changed." : `Configuration ${report.generation} is in force.`);
  } catch (problem) {
    toast(problem.code === 422 ? "The reload was rejected. The configuration in force stays." : problem.message);
  }
  refreshAll();
}

/** Writes a value in the manner of YAML, for reading. */
function outline(value, depth = 0) {
  const pad = "  ".repeat(depth);
  const isEmpty = (one) => !Array.isArray(one) && Object.keys(one).length === 0;
  const plain = (one) => (one === null ? "off" : Array.isArray(one) ? `[${one.map(plain).join(", ")}]` : typeof one === "object" ? "{}" : String(one));
  const flat = (one) => one === null || typeof one !== "object" || isEmpty(one) || (Array.isArray(one) && one.every((part) => part === null || typeof part !== "object"));
  const nameFirst = ([one], [other]) => (other === "name") - (one === "name");
  return Object.entries(value).sort(nameFirst).map(([key, one]) => {
    if (flat(one)) return `${pad}${key}: ${plain(one)}\n`;
    if (!Array.isArray(one)) return `${pad}${key}:\n${outline(one, depth + 1)}`;
    return `${pad}${key}:\n${one.map((part) => `${pad}  - ${outline(part, depth + 2).trimStart()}`).join("")}`;
  }).join("");
}

/** Returns the values that are not the usual ones; undefined if there are none. */
function differing(own, usual) {
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const values = Object.entries(own).map(([key, value]) => [key, isObject(value) && isObject(usual?.[key]) ? differing(value, usual[key])
    : JSON.stringify(value) === JSON.stringify(usual?.[key]) ? undefined : value]).filter(([, value]) => value !== undefined);
  return values.length > 0 ? Object.fromEntries(values) : undefined;
}

async function loadConfig() {
  const { generation, path, files, ...config } = await api("/api/config");
  for (const listener of config.listeners) listener.limits = differing(listener.limits, config.limits) ?? "as of the process";
  fill($("config"),
    h("p", null, "Generation ", h("strong", null, number(generation)), ", read from ", mono(path), files.length > 1 ? ` and ${number(files.length - 1)} more files` : ""),
    files.length > 1 ? h("ul", null, files.map((file) => h("li", null, mono(file)))) : null,
    h("p", { class: "muted" }, isOperator() ? "With defaults. Secrets read ***." : "With defaults. Secrets read ***. Addresses of upstreams and command rules are shown after a login."),
    h("pre", { tabindex: "0", "data-key": "config", "aria-label": "Configuration in force" }, outline(config)));
}
