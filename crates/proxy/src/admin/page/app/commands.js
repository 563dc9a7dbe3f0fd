
// The view of commands that stood out: slow ones, large ones, and keys that are used much.

async function loadSlow() {
  const found = await api("/api/slowlog");
  const value = ["Time to reply", (row) => seconds(row.seconds), "number"];
  fill($("slow"), found.threshold_seconds === null ? state("observe.slow is off.") : samples(found, found.slowest, "/api/slowlog", value,
    `From ${seconds(found.threshold_seconds)} on, the slowest of the last hour first. In a pipeline the first command that was late is named.`,
    "No command was slow."));
}

async function loadLarge() {
  const found = await api("/api/bigkeys");
  const value = ["Size", (row) => `${bytes(row.bytes)} ${row.of}`, "number"];
  fill($("large"), found.threshold_bytes === null ? state("observe.large is off.") : samples(found, found.largest, "/api/bigkeys", value,
    `From ${bytes(found.threshold_bytes)} on, the largest of the last hour first.`, "No request or reply was large."));
}

const samplesShown = () => (matchMedia("(max-width: 720px)").matches ? SAMPLES_ON_A_PHONE : SAMPLES);

function samples(found, highest, path, value, text, none) {
  const rows = highest.slice(0, samplesShown());
  const others = found.newest.filter((row) => !rows.some((known) => known.time === row.time && known.source === row.source));
  const newest = others.slice(0, samplesShown());
  const more = (all, shown) => (all.length > shown.length ? state(`and ${number(all.length - shown.length)} more at ${path}`) : null);
  const columns = [
    ["Time", (row) => when(row.time)],
    value,
    ["Command", (row) => (row.command ? mono(row.command.toUpperCase()) : "–")],
    ["Client", (row) => [mono(row.source), row.user ? h("div", { class: "muted" }, row.user) : null]],
    ["Listener", (row) => mono(row.listener)],
  ];
  if (isOperator()) columns.splice(3, 0, ["Key", (row) => (row.key ? mono(row.key) : null)]);
  if (rows.length === 0 && newest.length === 0) return state(none);
  return [h("p", { class: "muted" }, text), table("The highest", columns, rows), more(highest, rows),
    newest.length > 0 ? [h("h3", null, "The newest besides these"), table("The newest", columns, newest), more(others, newest)] : null].flat();
}

async function loadHot() {
  const found = await api("/api/hotkeys");
  if (!found.counted) return fill($("hot"), state("Set observe: {hot: on} to count one command in 64 by its keys."));
  if (!isOperator()) return fill($("hot"), state("Log in to see keys."));
  const rows = found.listeners.flatMap((listener) => listener.keys.map((key) => ({ ...key, listener: listener.listener })));
  rows.sort((one, other) => other.commands - one.commands);
  return fill($("hot"), rows.length === 0 ? state("No key was counted often enough yet.") : [
    h("p", { class: "muted" }, `Estimates: one command in ${found.sampled_of} is counted. Counts are halved every ten minutes, so that recent use weighs most.`),
    table("Keys that are used much", [
      ["Key", (row) => mono(row.key)],
      ["Listener", (row) => mono(row.listener)],
      ["Commands, about", (row) => number(row.commands), "number"],
      rows.some((row) => row.error > 0) ? ["Of other keys, at most", (row) => (row.error > 0 ? number(row.error) : ""), "number"] : null,
    ].filter(Boolean), rows.slice(0, samplesShown()))]);
}

function refreshSamples() {
  load($("slow"), loadSlow);
  load($("large"), loadLarge);
  load($("hot"), loadHot);
}
