// The status page in a real browser: node page.mjs PORTCULLIS REDIS_SERVER CHROMIUM
//
// Starts servers of its own on free ports of loopback. Prints a line for each part, and exits 0 only if all parts hold.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { tabTo, worksByKeyboard } from "./page-keyboard.mjs";

const [GATE, REDIS, CHROMIUM] = process.argv.slice(2);
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TOKEN = "a-token-of-some-length-0123456789";
const HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>";
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const PATIENCE = 20_000;

const directory = mkdtempSync(join(tmpdir(), "portcullis-page-"));
const children = new Set();
const clients = new Set();

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

function start(program, words) {
  const child = spawn(program, words, { stdio: ["ignore", "ignore", "pipe"] });
  child.said = "";
  child.stderr.on("data", (text) => { child.said += text; });
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

async function stop(child) {
  const gone = new Promise((done) => child.once("exit", done));
  child.kill("SIGKILL");
  await gone;
}

async function eventually(what, check) {
  const end = Date.now() + PATIENCE;
  let last;
  while (Date.now() < end) {
    try {
      const found = await check();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`${what}: not within ${PATIENCE} ms${last ? ` (${last.message})` : ""}`);
}

/** Opens a client of the gate. `from` is its address. */
async function client(port, from, ...commands) {
  const socket = connect({ port, host: "127.0.0.1", localAddress: from });
  socket.read_ = "";
  socket.on("data", (bytes) => { socket.read_ += bytes; });
  socket.on("error", () => {});
  socket.once("close", () => { socket.gone = true; clients.delete(socket); });
  clients.add(socket);
  await new Promise((done) => socket.once("connect", done));
  for (const command of commands) {
    const words = command.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    socket.write(`*${words.length}\r\n${words.join("")}`);
  }
  return socket;
}

const ports = { redis: await freePort(), gate: await freePort(), users: await freePort(), admin: await freePort() };

function configuration(token) {
  return `
listeners:
  - {name: public, bind: "127.0.0.1:${ports.gate}", upstream: main, allow: [office], auth: trust, acl: "@public"}
  - name: users
    bind: "127.0.0.1:${ports.users}"
    upstream: main
    allow: [office]
    auth: users
    users: [reporting]
    limits: {per_source: {auth_failures: 2/1m, block_for: 10m}}
upstreams:
  main: {address: "127.0.0.1:${ports.redis}"}
users:
  reporting: {password: {sha256: "${"5e".repeat(32)}"}}
groups:
  office:
    note: ${JSON.stringify(HOSTILE)}
    entries:
      - {cidr: 127.0.0.1, note: ${JSON.stringify(HOSTILE)}}
      - {cidr: 192.0.2.0/24, owner: ops, until: ${new Date(Date.now() + 86_400_000).toISOString().slice(0, 19)}Z}
      - 127.0.0.3
  branch: [198.51.100.7]
admin: {bind: "127.0.0.1:${ports.admin}"${token ? ", token: {file: token}" : ""}}
audit: {path: "${join(directory, "audit.log")}"}
observe: {large: 64KiB, hot: on, keys: plain}
`;
}

const file = join(directory, "portcullis.yaml");
writeFileSync(join(directory, "token"), TOKEN);

async function startGate(token) {
  writeFileSync(file, configuration(token));
  const gate = start(GATE, ["run", "--config", file]);
  await eventually("the gate is ready", async () => {
    assert.equal(gate.exitCode, null, gate.said);
    return (await fetch(`${ADMIN}/ready`)).status === 200;
  });
  return gate;
}

const ADMIN = `http://127.0.0.1:${ports.admin}`;
const errors = [];

async function openPage(browser, options) {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: ADMIN });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => errors.push(`script: ${error}`));
  page.on("console", (line) => {
    // A refused login and a restart are part of the test; the browser logs each as an error.
    const expected = /Failed to load resource/;
    if (line.type() === "error" && !expected.test(line.text())) errors.push(`console: ${line.text()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(ADMIN)) errors.push(`a request to ${request.url()}`);
  });
  return page;
}

const view = async (page, name) => {
  await page.click(`nav a[href="#${name}"]`);
  await page.waitForSelector(`#view-${name}:not([hidden])`);
};

const text = (page, selector) => page.locator(selector).innerText();
const has = (page, selector, part) => eventually(`${part} in ${selector}`, async () => (await text(page, selector)).includes(part));

async function logIn(page) {
  await page.waitForSelector("#login-dialog[open]");
  await page.fill("#login-form input[name=token]", TOKEN);
  await page.press("#login-form input[name=token]", "Enter");
  await page.waitForSelector("#login-dialog:not([open])", { state: "attached" });
  await has(page, "#live", "live");
}

// ---- Parts ----------------------------------------------------------------------------------------------------

async function readsWithoutToken(browser) {
  const gate = await startGate(false);
  const page = await openPage(browser);
  await page.goto(`${ADMIN}/`);
  await has(page, "#live", "live");
  await has(page, "#notice", "read-only");
  await has(page, "#upstreams", "up");
  for (const name of ["clients", "configuration", "access"]) await view(page, name);
  await page.click("#groups summary >> nth=0");
  await has(page, "#groups", "127.0.0.3");
  assert.equal(await page.locator("main button:visible", { hasText: /Add|Remove|Disconnect|Unblock|Reload/ }).count(), 0);
  const whole = await page.content();
  assert.ok(!whole.includes(`127.0.0.1:${ports.redis}`), "the address of Redis is not in the page");
  await page.context().close();
  await stop(gate);
}

async function logsInAndOut(browser) {
  const page = await openPage(browser);
  await page.goto(`${ADMIN}/`);
  await page.waitForSelector("#login-dialog[open]");
  await page.fill("#login-form input[name=token]", "wrong-token-of-some-length-012345");
  await page.click("#login-form button");
  await has(page, "#login-form .error", "This is not the token.");
  await logIn(page);
  const [cookie] = await page.context().cookies();
  assert.ok(cookie.httpOnly && cookie.sameSite === "Strict", JSON.stringify(cookie));
  assert.equal(await page.evaluate(() => document.cookie), "", "a script does not see the cookie");
  await page.click("#logout");
  await page.waitForSelector("#login-dialog[open]");
  const old = await fetch(`${ADMIN}/api/status`, { headers: { Cookie: `${cookie.name}=${cookie.value}` } });
  assert.equal(old.status, 401, "an old cookie");
  await page.context().close();
}

/** A page of another origin, which the operator visits while the session is open, posts a form and a request. */
async function refusesOtherSites(page) {
  const other = createServer((socket) => {
    socket.on("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
      + `<form method=post action="${ADMIN}/api/reload"><input name=a></form>`));
    socket.on("error", () => {});
  }).listen(0, "127.0.0.1");
  await new Promise((done) => other.once("listening", done));
  const foreign = await page.context().newPage();
  await foreign.goto(`http://localhost:${other.address().port}/`);
  const before = readFileSync(join(directory, "audit.log"), "utf8").split('"event":"reload"').length;
  const answer = await foreign.evaluate((to) => fetch(`${to}/api/reload`, { method: "POST", credentials: "include", mode: "no-cors" }).then((response) => response.type, String), ADMIN);
  assert.equal(answer, "opaque", "another site cannot read the answer");
  await Promise.all([foreign.waitForNavigation(), foreign.evaluate(() => document.querySelector("form").submit())]);
  assert.equal(readFileSync(join(directory, "audit.log"), "utf8").split('"event":"reload"').length, before, "no reload took place");
  await foreign.close();
  await new Promise((done) => other.close(done));
}

async function updatesLive(page) {
  await view(page, "overview");
  const some = [];
  for (let number = 0; number < 7; number += 1) some.push(await client(ports.gate, "127.0.0.1", ["PING"]));
  await has(page, "#tiles .tile >> nth=0", "7");
  await has(page, "#upstreams", `127.0.0.1:${ports.redis}`);
  for (const one of some) one.destroy();
  await eventually("the clients are gone", async () => (await text(page, "#tiles .tile >> nth=0")).includes("\n0"));
  const denied = await client(ports.gate, "127.0.0.1", ["CONFIG", "GET", "*"]);
  await has(page, "#commands", "CONFIG");
  denied.destroy();
}

async function showsSamples(page) {
  const large = await client(ports.gate, "127.0.0.1", ["SET", HOSTILE, "v".repeat(100_000)]);
  await eventually("Redis has the value", () => large.read_ === "+OK\r\n");
  const many = Array.from({ length: 400 }, () => ["GET", "hot:1"]);
  const busy = await client(ports.gate, "127.0.0.1", ...many);
  await eventually("all replies", () => busy.read_.length >= 400 * 5);
  await view(page, "commands");
  await has(page, "#large", "KiB request");
  assert.ok((await text(page, "#large")).includes(HOSTILE), "the key is shown as it is");
  await has(page, "#hot", "hot:1");
  // Redis answers no client for a while.
  const pausing = await client(ports.redis, "127.0.0.1", ["CLIENT", "PAUSE", "300"]);
  await eventually("Redis pauses", () => pausing.read_ === "+OK\r\n");
  const late = await client(ports.gate, "127.0.0.1", ["GET", "first"], ["GET", `slow:${HOSTILE}`]);
  await has(page, "#slow", "GET");
  assert.match(await text(page, "#slow"), /\d ms/);
  for (const one of [large, busy, pausing, late]) one.destroy();
}

async function findsAndDisconnects(page) {
  const named = await client(ports.gate, "127.0.0.1", ["CLIENT", "SETNAME", HOSTILE.replaceAll(" ", "_")]);
  const other = await client(ports.gate, "127.0.0.3", ["PING"]);
  await view(page, "clients");
  await has(page, "#client-list", "127.0.0.3");
  await page.fill("#search input[name=q]", "<IMG_");
  await has(page, "#client-list", "1 client match");
  assert.ok((await text(page, "#client-list")).includes("<script>"), "the name is shown as it is");
  await page.click("#client-list button:has-text('Disconnect')");
  await page.click("#confirm-button");
  await eventually("the client is disconnected", () => named.gone);
  assert.ok(!other.gone);
  await has(page, "#client-list", "No connected client matches.");
  await page.fill("#search input[name=q]", "");
  other.destroy();
}

async function explains(page) {
  await view(page, "access");
  await page.fill("#explain input[name=ip]", "192.0.2.9");
  await page.press("#explain input[name=ip]", "Enter");
  await has(page, "#explained", "192.0.2.0/24");
  await page.fill("#explain input[name=ip]", "203.0.113.9");
  await page.fill("#explain input[name=command]", "CONFIG GET x");
  await page.click("#explain button");
  await has(page, "#explained", "refused");
  await page.fill("#explain input[name=ip]", "nonsense");
  await page.click("#explain button");
  await has(page, "#explained .error", "is not an address");
}

async function addsAndRemoves(page) {
  const refused = await client(ports.gate, "127.0.0.9");
  await eventually("it is refused", () => refused.read_.startsWith("-DENIED"));
  await has(page, "#refused", "127.0.0.9");
  await page.click("#refused button[aria-label='Copy the entry for 127.0.0.9']");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "- 127.0.0.9");
  await page.click("#refused button[aria-label='Add 127.0.0.9 to a group']");
  assert.equal(await page.inputValue("#add-form select[name=group]"), "office");
  await page.fill("#add-form input[name=note]", HOSTILE);
  await page.selectOption("#add-form select[name=span]", "8h");
  await page.press("#add-form input[name=note]", "Enter");
  await has(page, "#toast", "127.0.0.9 is added to office.");
  const admitted = await client(ports.gate, "127.0.0.9", ["PING"]);
  await eventually("it is admitted", () => admitted.read_.startsWith("+PONG"));
  assert.match(readFileSync(file, "utf8"), /127\.0\.0\.9.*until/);

  const office = page.locator("details[data-group=office]");
  if (!(await office.getAttribute("open"))) await office.locator("summary").click();
  await office.locator("button[aria-label='Remove 127.0.0.9 from office']").click();
  await page.click("#confirm-button");
  await eventually("its client is disconnected", () => admitted.gone);
  assert.ok(!readFileSync(file, "utf8").includes("127.0.0.9"));

  await office.locator("button:has-text('Add an entry')").click();
  await page.fill("#add-form input[name=cidr]", "10.1.2.3/8");
  await page.click("#add-form button.primary");
  await has(page, "#add-form .error", "10.0.0.0/8");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#add-dialog:not([open])", { state: "attached" });
}

async function unblocks(page) {
  const guesses = await client(ports.users, "127.0.0.3", ["AUTH", "reporting", "one"], ["AUTH", "reporting", "two"]);
  await eventually("the source is blocked", () => guesses.gone);
  await has(page, "#blocked", "127.0.0.3");
  await page.click("#blocked button:has-text('Unblock')");
  await has(page, "#blocked", "No source is blocked.");
}

async function showsTheConfiguration(page) {
  await view(page, "configuration");
  await has(page, "#config", "limits:");
  assert.ok(!(await page.content()).includes(TOKEN), "the token is not in the page");
  writeFileSync(file, configuration(true).replace("[198.51.100.7]", "[10.1.2.3/8]"));
  await has(page, "#reloads", "host bits are set");
  writeFileSync(file, configuration(true));
  await page.click("#reloads button:has-text('Reload now')");
  await has(page, "#toast", "");
}

/** As many clients as the open files allow, up to 10,000. */
async function staysUsable(page) {
  const { limit_clients: limit } = await page.evaluate(() => fetch("/api/status").then((answer) => answer.json()));
  const count = Math.min(10_000, limit - 100);
  const some = [];
  for (let begun = 0; begun < count; begun += 250) {
    some.push(...await Promise.all(Array.from({ length: Math.min(250, count - begun) }, () => client(ports.gate, "127.0.0.3"))));
  }
  const named = await client(ports.gate, "127.0.0.1", ["CLIENT", "SETNAME", "needle"]);
  await view(page, "clients");
  const begin = Date.now();
  await has(page, "#client-list", `${new Intl.NumberFormat("en").format(count + 1)} clients, page 1`);
  assert.equal(await page.locator("#client-list tbody tr").count(), 50);
  await page.click("#client-list button:has-text('Next')");
  await has(page, "#client-list", "page 2");
  await page.fill("#search input[name=q]", "needle");
  await has(page, "#client-list", "1 client match");
  const found = Date.now() - begin;
  await page.fill("#search input[name=q]", "");
  await view(page, "overview");
  const longest = await page.evaluate(() => new Promise((done) => {
    const tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map((task) => task.duration))).observe({ entryTypes: ["longtask"] });
    setTimeout(() => done(Math.max(0, ...tasks)), 5000);
  }));
  console.log(`  with ${count} clients: list, next page and search in ${found} ms; the longest task in 5 s of live updates: ${Math.round(longest)} ms`);
  assert.ok(found < 10_000 && longest < 1000, `${found} ms, ${longest} ms`);
  for (const one of [...some, named]) one.destroy();
  await eventually("the clients are gone", async () => (await text(page, "#tiles .tile >> nth=0")).includes("\n0"));
}

/** Text that someone marks stays marked while the page updates. */
async function keepsASelection(page) {
  await view(page, "overview");
  await page.locator("#upstreams code >> nth=0").selectText();
  await new Promise((done) => setTimeout(done, 2500));
  assert.equal(await page.evaluate(() => getSelection().toString()), "main");
  await page.evaluate(() => getSelection().removeAllRanges());
}

async function survivesARestart(page, gate) {
  await view(page, "overview");
  await stop(gate);
  await has(page, "#live", "offline");
  const next = await startGate(true);
  await logIn(page);
  await has(page, "#upstreams", "up");
  return next;
}

async function isAccessible(browser) {
  for (const [name, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
    for (const colorScheme of ["light", "dark"]) {
      // A colour that is still changing has no contrast to measure.
      const page = await openPage(browser, { viewport, colorScheme, reducedMotion: "reduce", bypassCSP: true });
      await page.goto(`${ADMIN}/`);
      await logIn(page);
      for (const part of ["overview", "commands", "clients", "access", "configuration"]) {
        await view(page, part);
        if (part === "access") {
          await page.fill("#explain input[name=ip]", "192.0.2.9");
          await page.click("#explain button");
          await page.click("#groups summary >> nth=0");
          await has(page, "#groups", "127.0.0.3");
        }
        if (part === "configuration") await has(page, "#config", "limits:");
        await page.evaluate(AXE);
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        const serious = violations.filter((one) => ["serious", "critical"].includes(one.impact));
        assert.deepEqual(serious.map((one) => `${one.id}: ${one.nodes[0].html}`), [], `${name} ${colorScheme} ${part}`);
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wider <= 0, `${name} ${part} is ${wider} pixels too wide`);
        if (process.env.PAGE_SCREENSHOTS) {
          const path = join(process.env.PAGE_SCREENSHOTS, `${part}-${name}-${colorScheme}.png`);
          await page.screenshot({ path, fullPage: true });
        }
      }
      await page.context().close();
    }
  }
}

/** What the page shows while it has nothing, gets nothing, or gets an error; and that each of these states ends. */
async function showsItsStates(browser, gate) {
  const pages = [];
  const picture = async (state) => {
    if (!process.env.PAGE_SCREENSHOTS) return;
    for (const [page, name] of pages) await page.screenshot({ path: join(process.env.PAGE_SCREENSHOTS, `state-${state}-${name}.png`) });
  };
  const all = (work) => Promise.all(pages.map(([page]) => work(page)));
  for (const [name, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
    for (const colorScheme of ["light", "dark"]) {
      pages.push([await openPage(browser, { viewport, colorScheme, reducedMotion: "reduce" }), `${name}-${colorScheme}`]);
    }
  }
  await all(async (page) => {
    await page.goto(`${ADMIN}/`);
    await logIn(page);
    await view(page, "clients");
    await has(page, "#client-list", "No client is connected.");
  });
  await picture("empty");
  await all(async (page) => {
    await page.route("**/api/**", () => {});
    await page.goto(`${ADMIN}/?loading#overview`);
    await has(page, "#tiles", "Loading");
    await has(page, "#live", "Loading");
  });
  await picture("loading");
  await all(async (page) => {
    await page.unrouteAll({ behavior: "ignoreErrors" });
    const broken = { status: 500, contentType: "application/json", body: '{"error": "internal", "message": "The list could not be made."}' };
    await page.route("**/api/clients**", (route) => route.fulfill(broken));
    await page.goto(`${ADMIN}/?error#clients`);
    await has(page, "#client-list", "The list could not be made.");
  });
  await picture("error");
  await all(async (page) => {
    await page.unrouteAll();
    await tabTo(page, "#client-list button[data-key=retry]");
    await page.keyboard.press("Enter");
    await has(page, "#client-list", "No client is connected.");
    await view(page, "overview");
  });
  await stop(gate);
  await all((page) => has(page, "#live", "offline"));
  await picture("offline");
  const next = await startGate(true);
  await all(logIn);
  for (const [page] of pages) await page.context().close();
  return next;
}

async function main() {
  start(REDIS, ["--port", String(ports.redis), "--bind", "127.0.0.1", "--dir", directory, "--save", ""]);
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  const part = async (name, work) => {
    const result = await work();
    console.log(`${name}: ok`);
    return result;
  };
  try {
    await part("reads without a token", () => readsWithoutToken(browser));
    let gate = await startGate(true);
    await part("logs in and out", () => logsInAndOut(browser));
    const page = await openPage(browser);
    await page.goto(`${ADMIN}/`);
    await logIn(page);
    await part("updates live", () => updatesLive(page));
    await part("shows large requests and hot keys", () => showsSamples(page));
    await part("keeps a selection", () => keepsASelection(page));
    await part("finds and disconnects clients", () => findsAndDisconnects(page));
    await part("explains", () => explains(page));
    await part("adds and removes entries", () => addsAndRemoves(page));
    await part("unblocks a source", () => unblocks(page));
    await part("shows configuration and reloads", () => showsTheConfiguration(page));
    await part("refuses other sites", () => refusesOtherSites(page));
    await part("stays usable with 10,000 clients", () => staysUsable(page));
    gate = await part("survives a restart", () => survivesARestart(page, gate));
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined, "no text became a script");
    await part("works by keyboard", () => worksByKeyboard({ ADMIN, TOKEN, DESKTOP, PHONE, ports, file, client, openPage, has, eventually }, browser));
    gate = await part("shows that it is empty, loading, offline or in error", () => showsItsStates(browser, gate));
    await part("is accessible, light and dark, on a desktop and a phone", () => isAccessible(browser));
    const foreign = errors.filter((error) => !error.includes("http://localhost:"));
    assert.deepEqual(foreign, [], "the browser reports no error");
    await stop(gate);
  } finally {
    await browser.close();
  }
}

let failed = null;
try {
  await main();
} catch (error) {
  failed = error;
}
for (const one of clients) one.destroy();
for (const child of children) {
  if (failed && child.said) console.error(child.said.split("\n").slice(-20).join("\n"));
  child.kill("SIGKILL");
}
rmSync(directory, { recursive: true, force: true });
if (failed) {
  console.error(failed);
  process.exit(1);
}
