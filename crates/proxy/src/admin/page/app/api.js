
// Requests to the API, and messages about them.

class Problem extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

async function api(path, method = "GET", body) {
  const headers = { "X-Portcullis": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, credentials: "same-origin", body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, "The proxy does not answer.");
  }
  let answer = null;
  try {
    answer = await response.json();
  } catch {
    // The status says enough.
  }
  if (response.ok) return answer;
  if (response.status === 401 && path !== "/api/session") askForToken();
  const hint = answer?.hint ? ` ${answer.hint}` : "";
  const problems = (answer?.problems ?? []).map((problem) => ` ${problem.file}:${problem.line}: ${problem.message}`);
  throw new Problem(response.status, `${answer?.message ?? `The proxy answered ${response.status}.`}${hint}${problems.join("")}`);
}

/** Loads a part of the page, and shows the error and a way to try again where it fails. */
async function load(node, work) {
  try {
    await work();
  } catch (problem) {
    if (problem.code === 401) fill(node, state("Log in to see this."));
    else if (problem.code === 0 && node.dataset.loaded) return;
    else fill(node, h("p", { class: "error" }, problem.message), button("Try again", "retry", null, () => load(node, work)));
    return;
  }
  node.dataset.loaded = "yes";
}

const isOperator = () => status?.access === "full";

function toast(text) {
  const node = $("toast");
  node.textContent = text;
  node.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { node.hidden = true; }, 6000);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS a browser has no clipboard for scripts.
    const field = h("textarea", { readonly: true });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  toast(`Copied: ${text}`);
}
