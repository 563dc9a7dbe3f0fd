
// Numbers, times and places in words.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const number = (value) => (value >= 100 ? WHOLE : TENTHS).format(value ?? 0);

function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
  return value < 1 ? `${number(value * 1000)} ms` : `${number(value)} s`;
}

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${number(value)} ${units[unit]}`;
}

function span(total) {
  if (total === null || total === undefined) return "–";
  const steps = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = Math.max(steps.findIndex(([size]) => total >= size), 0);
  if (total < 1) return "0 s";
  const [size, unit] = steps[at];
  const rest = steps[at + 1] ? Math.floor((total % size) / steps[at + 1][0]) : 0;
  return `${Math.floor(total / size)} ${unit}${rest > 0 ? ` ${rest} ${steps[at + 1][1]}` : ""}`;
}

/** A moment as people say it, with the exact time for a pointer. */
function when(text) {
  if (!text) return "–";
  const away = (Date.now() - Date.parse(text)) / 1000;
  const words = away >= 0 ? `${span(away)} ago` : `in ${span(-away)}`;
  return h("time", { datetime: text, title: text }, words);
}

/** The place of an entry. The whole path is there for a pointer. */
function place(rule) {
  if (!rule?.file) return null;
  const name = rule.file.split("/").at(-1);
  return h("code", { title: rule.file }, rule.line ? `${name}:${rule.line}` : name);
}

/** The entry as it stands in the configuration file. */
const yaml = (entry) => (entry.includes(":") ? `- "${entry}"` : `- ${entry}`);
