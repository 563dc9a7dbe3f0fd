
// Loading, following the events, and the choice of the view.

function setLive(text, kind) {
  $("live").textContent = text;
  $("live").className = `badge ${kind}`;
  document.body.classList.toggle("offline", kind === "bad");
}

function showStatus() {
  $("version").textContent = `${status.version} · up ${span(status.uptime_seconds)}`;
  $("login").hidden = true;
  $("logout").hidden = !(status.token && isOperator());
  fill($("notice"),
    status.draining ? h("p", { class: "notice" }, "The proxy is shutting down: it accepts no new client.") : null,
    status.token ? null : h("p", { class: "notice" }, "This page is read-only, because the configuration has no admin token. To make changes, set one and reload: ",
      mono("admin: {token: {file: /run/secrets/admin}}")));
  const select = $("search").elements.listener;
  const names = status.listeners.map((listener) => listener.name);
  if ([...select.options].slice(1).map((option) => option.value).join() !== names.join()) {
    const chosen = select.value;
    fill(select, h("option", { value: "" }, "all"), names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
  }
  showTiles();
  showUpstreams();
  showListeners();
  showRefusals();
  showRefused();
  showReloads();
}

async function refreshStatus() {
  lastRefresh = Date.now();
  await load($("tiles"), async () => {
    status = await api("/api/status");
    showStatus();
  });
}

async function refreshAll() {
  await refreshStatus();
  if (!status) return;
  load($("groups"), loadGroups);
  load($("blocked"), loadBlocked);
  load($("config"), loadConfig);
  refreshSamples();
  refreshClients();
}

/** Whether someone marks text, to copy it. A new table in its place would end that. */
const isSelecting = () => !getSelection().isCollapsed;

/** What changed since the last sample decides what is loaded again. */
function onSample(next) {
  const before = sample;
  sample = next;
  setLive(next.draining ? "shutting down" : "live", next.draining ? "warn" : "good");
  if (!status || isSelecting()) return;
  const refused = (of) => (of?.listeners ?? []).reduce((sum, listener) => sum + listener.refused_total, 0);
  if (before && (before.generation !== next.generation || before.reloads !== next.reloads)) {
    refreshAll();
  } else if (Date.now() - lastRefresh > (before && refused(before) !== refused(next) ? 2000 : STATUS_EVERY)) {
    refreshStatus();
  } else {
    showTiles();
    showUpstreams();
    showListeners();
  }
}

function stop() {
  stream?.close();
  stream = null;
  sample = null;
}

/** Follows the events. A browser connects again by itself, except after an error of HTTP. */
function follow() {
  stop();
  const source = new EventSource("/api/events");
  stream = source;
  let lost = false;
  source.addEventListener("sample", (event) => onSample(JSON.parse(event.data)));
  source.addEventListener("open", () => {
    setLive("live", "good");
    if (lost) refreshAll();
    lost = false;
  });
  source.addEventListener("error", () => {
    lost = true;
    sample = null;
    setLive("offline, trying again", "bad");
    if (source.readyState === EventSource.CLOSED && stream === source) setTimeout(start, 2000);
  });
}

async function start() {
  try {
    await api("/api/status");
  } catch (problem) {
    if (problem.code === 401) return;
    setLive("offline, trying again", "bad");
    if (!status) fill($("notice"), h("p", { class: "notice" }, problem.message));
    setTimeout(start, 2000);
    return;
  }
  await refreshAll();
  follow();
}

function showView() {
  const wanted = location.hash.slice(1);
  const view = VIEWS.includes(wanted) ? wanted : VIEWS[0];
  for (const name of VIEWS) {
    $(`view-${name}`).hidden = name !== view;
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  if (status && view === "clients") refreshClients();
  if (status && view === "commands") refreshSamples();
}

$("search").addEventListener("submit", (event) => event.preventDefault());
$("search").addEventListener("input", () => {
  clearTimeout(refreshClients.timer);
  refreshClients.timer = setTimeout(() => { pages = [0]; refreshClients(); }, 250);
});
$("explain").addEventListener("submit", explain);
$("add-form").addEventListener("submit", add);
$("add-form").elements.span.addEventListener("change", (event) => { $("until-label").hidden = event.target.value !== "at"; });
$("login-form").addEventListener("submit", login);
$("login").addEventListener("click", () => $("login-dialog").showModal());
$("logout").addEventListener("click", logout);
for (const cancel of document.querySelectorAll("dialog button[value=cancel]")) {
  cancel.addEventListener("click", () => cancel.closest("dialog").close());
}
addEventListener("hashchange", showView);
// A page that is not seen takes no samples.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) stop();
  else if (status) start();
});
setInterval(() => {
  if (document.hidden || !stream || isSelecting() || document.querySelector("dialog[open]")) return;
  if (!$("view-clients").hidden) refreshClients();
  if (!$("view-commands").hidden) refreshSamples();
  if (!$("view-access").hidden) load($("blocked"), loadBlocked);
}, LISTS_EVERY);
showView();
start();
