
// Elements of the page, and small charts.

/** Makes an element. Children are elements or texts; null is left out. */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Replaces the content of a node. The focus stays on the element with the same key, or at least in its section. */
function fill(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement : null;
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
  if (focused) focusAgain(focused, node);
}

/**
 * Focuses the element that took the place of another one in a node. Where there is none, or it is off, the next Tab goes
 * on from the group of the element, or from the title of the section.
 */
function focusAgain(former, node) {
  const find = (key) => (key ? node.querySelector(`[data-key="${CSS.escape(key)}"]:not(:disabled)`) : null);
  const group = former.closest("details")?.dataset.group;
  const next = find(former.dataset.key) ?? find(group && `group-${group}`) ?? node.closest("section")?.querySelector("h2");
  if (next?.tagName === "H2") next.tabIndex = -1;
  next?.focus();
}

/** Opens a dialog. When it closes, the focus is back at the button that opened it, which a list may have replaced. */
function openDialog(dialog) {
  const opener = document.activeElement;
  const section = opener.closest("section");
  dialog.addEventListener("close", () => {
    if (section && !opener.isConnected) focusAgain(opener, section);
  }, { once: true });
  dialog.showModal();
}

/** Makes a table. A column is [title, function of the row, class]. Empty cells are hidden on a phone. */
function table(label, columns, rows) {
  const head = columns.map(([title, , kind]) => h("th", { scope: "col", class: kind }, title));
  const body = rows.map((row) => h("tr", null, columns.map(([title, cell, kind]) => {
    const content = [cell(row)].flat().filter((part) => part !== null && part !== undefined && part !== "");
    const empty = content.length === 0 ? " empty" : "";
    return h("td", { class: (kind ?? "") + empty, "data-label": title }, h("span", null, content));
  })));
  const list = h("table", { class: "cards", "aria-label": label }, h("thead", null, h("tr", null, head)), h("tbody", null, body));
  return h("div", { class: "scroll" }, list);
}

const state = (text) => h("p", { class: "state" }, text);
const badge = (text, kind) => h("span", { class: `badge ${kind ?? ""}` }, text);
const mono = (text) => h("code", null, text);
const button = (text, key, label, onclick, kind) =>
  h("button", { type: "button", class: kind ?? "small", "data-key": key, "aria-label": label, onclick }, text);

/** The points that a chart has room for: ten minutes at first, then what there is, up to an hour. */
const chartPoints = (values) => Math.max(values.length, 60);

/** A small chart of numbers; null is a gap. */
function chart(values, label) {
  const [width, height] = [360, 48];
  const NS = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(NS, "svg");
  const set = (element, attributes) => {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  set(svg, { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", class: "chart", role: "img", "aria-label": label });
  const top = Math.max(...values.map((value) => value ?? 0), 0);
  const x = (index) => width - (values.length - 1 - index) * (width / (chartPoints(values) - 1));
  const y = (value) => height - 2 - (top > 0 ? value / top : 0) * (height - 6);
  let path = "";
  let area = "";
  let begun = false;
  values.forEach((value, index) => {
    if (value === null) {
      if (begun) area += `L${x(index - 1).toFixed(1)} ${height}Z`;
      begun = false;
      return;
    }
    const point = `${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    area += begun ? `L${point}` : `M${x(index).toFixed(1)} ${height}L${point}`;
    path += `${begun ? "L" : "M"}${point}`;
    begun = true;
  });
  if (begun) area += `L${width} ${height}Z`;
  const draw = (name, attributes) => svg.append(set(document.createElementNS(NS, name), attributes));
  draw("line", { x1: 0, x2: width, y1: height - 1, y2: height - 1 });
  draw("path", { d: area, class: "area" });
  draw("path", { d: path });
  return svg;
}
