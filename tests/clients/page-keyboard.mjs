// The parts of page.mjs that use the keyboard alone.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

/** Presses Tab until the focus is on an element. Nothing else moves the focus. */
export async function tabTo(page, selector) {
  for (let pressed = 0; pressed < 300; pressed += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) return;
  }
  throw new Error(`Tab does not reach ${selector}`);
}

/** Walks through a view with Tab: each control has the focus once, in the order of the page, and shows it. */
async function reachesEachControl(page, { ADMIN, has }, name) {
  await page.goto(`${ADMIN}/?${name}#${name}`);
  await has(page, "#live", "live");
  await page.waitForFunction((view) => ![...document.querySelectorAll(`#view-${view} section > div > .state`)].some((state) => state.textContent === "Loading"), name);
  if (name === "access") await page.evaluate(() => document.querySelector("#groups details").setAttribute("open", ""));
  if (name === "access") await has(page, "#groups", "127.0.0.3");
  if (name === "configuration") await has(page, "#config", "limits:");
  const seen = [];
  for (let pressed = 0; pressed < 400; pressed += 1) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(() => {
      const of = (element) => element.dataset.key ?? (element.id || element.name || element.getAttribute("href") || element.tagName);
      const element = document.activeElement;
      if (element === document.body) return null;
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      const { x, y, width, height } = element.getBoundingClientRect();
      const top = document.elementFromPoint(x + width / 2, y + Math.min(height / 2, 12));
      return { of: of(element), outline: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2, uncovered: element.contains(top) };
    });
    // Before the first control and after the last one, the browser itself has the focus.
    if (!focused && seen.length === 0) continue;
    if (!focused || focused.of === seen[0]) break;
    assert.ok(focused.outline, `${name}: ${focused.of} does not show the focus`);
    assert.ok(focused.uncovered, `${name}: ${focused.of} is covered while it has the focus`);
    seen.push(focused.of);
  }
  const controls = await page.evaluate(() => [...document.querySelectorAll("a[href], button:enabled, input, select, summary, [tabindex='0']")]
    .filter((element) => element.checkVisibility())
    .map((element) => element.dataset.key ?? (element.id || element.name || element.getAttribute("href") || element.tagName)));
  // A table that is too wide for its place is reached as well, to scroll it.
  assert.deepEqual(seen.filter((one) => controls.includes(one)), controls, name);
  return controls.length;
}

/** Everything that a pointer can do, with Tab, Enter, Space and Escape alone. */
export async function worksByKeyboard({ ADMIN, TOKEN, DESKTOP, PHONE, ports, file, client, openPage, has, eventually }, browser) {
  const crowd = await Promise.all(Array.from({ length: 60 }, () => client(ports.gate, "127.0.0.3", ["PING"])));
  (await client(ports.gate, "127.0.0.9")).destroy();
  await client(ports.users, "127.0.0.3", ["AUTH", "reporting", "one"], ["AUTH", "reporting", "two"]);
  const page = await openPage(browser, { reducedMotion: "reduce" });
  const press = async (selector, key) => {
    await tabTo(page, selector);
    await page.keyboard.press(key);
  };
  const isFocused = (what, selector) => eventually(what, () => page.evaluate((wanted) => document.activeElement.matches(wanted), selector));
  await page.goto(`${ADMIN}/`);
  await page.waitForSelector("#login-dialog[open]");
  await page.keyboard.type(TOKEN);
  await press("#login-form button", "Space");
  await has(page, "#live", "live");

  const counts = [];
  for (const viewport of [DESKTOP, PHONE]) {
    await page.setViewportSize(viewport);
    for (const name of ["overview", "commands", "clients", "access", "configuration"]) counts.push(await reachesEachControl(page, { ADMIN, has }, name));
  }
  await page.setViewportSize(DESKTOP);

  await page.goto(`${ADMIN}/?top`);
  await has(page, "#live", "live");
  await press("a.skip", "Enter");
  await isFocused("the content has the focus", "main");
  await press('nav a[href="#clients"]', "Enter");
  await has(page, "#client-list", "page 1");
  await press("button[data-key=next]", "Enter");
  await has(page, "#client-list", "page 2");
  // There is no third page, and the focus does not start over.
  await isFocused("the list keeps the focus", "#clients-title");
  await press("button[data-key=first]", "Space");
  await has(page, "#client-list", "page 1");
  await tabTo(page, "input[name=q]");
  await page.keyboard.type("127.0.0.3");
  await has(page, "#client-list", "60 clients match");
  await tabTo(page, "#client-list button.danger");
  const first = await page.evaluate(() => document.activeElement.dataset.key);
  await page.keyboard.press("Space");
  await page.waitForSelector("#confirm-dialog[open]");
  for (let pressed = 0; pressed < 5; pressed += 1) {
    await page.keyboard.press("Tab");
    assert.ok(await page.evaluate(() => document.activeElement === document.body || document.activeElement.closest("#confirm-dialog") !== null), "the dialog keeps the focus");
  }
  await page.keyboard.press("Escape");
  await page.waitForSelector("#confirm-dialog:not([open])", { state: "attached" });
  await isFocused("the button has the focus again", `[data-key="${first}"]`);
  await page.keyboard.press("Enter");
  await press("#confirm-button", "Enter");
  await has(page, "#client-list", "59 clients match");
  await isFocused("the list keeps the focus", "#clients-title");

  await press('nav a[href="#access"]', "Enter");
  await tabTo(page, "#explain input[name=ip]");
  await page.keyboard.type("192.0.2.9");
  await press("#explain button", "Space");
  await has(page, "#explained", "192.0.2.0/24");
  await press("button[aria-label='Copy the entry for 127.0.0.9']", "Enter");
  await has(page, "#toast", "Copied: - 127.0.0.9");
  await press("button[aria-label='Add 127.0.0.9 to a group']", "Space");
  await page.keyboard.type("by keyboard");
  await tabTo(page, "#add-form select[name=span]");
  await page.keyboard.press("ArrowDown");
  await press("#add-form button.primary", "Space");
  await has(page, "#toast", "127.0.0.9 is added to office.");
  assert.match(readFileSync(file, "utf8"), /127\.0\.0\.9.*by keyboard/);
  await press("#blocked button", "Enter");
  await has(page, "#blocked", "No source is blocked.");
  await press("summary[data-key=group-office]", "Space");
  await press("button[aria-label='Remove 127.0.0.9 from office']", "Enter");
  await press("#confirm-button", "Space");
  await has(page, "#toast", "127.0.0.9 is removed from office.");
  await isFocused("the group has the focus", "summary[data-key=group-office]");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("details[data-group=office]").getAttribute("open"), null, "Enter closes the group");

  await press('nav a[href="#configuration"]', "Enter");
  await press("button[data-key=reload]", "Space");
  await has(page, "#toast", "No file has changed.");
  await press("#logout", "Enter");
  await page.waitForSelector("#login-dialog[open]");
  await page.keyboard.press("Escape");
  await press("#login", "Enter");
  await page.waitForSelector("#login-dialog[open]");
  console.log(`  ${counts.join(", ")} controls in the views of a desktop and a phone`);
  for (const one of crowd) one.destroy();
  await page.context().close();
}
