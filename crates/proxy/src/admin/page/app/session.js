
// Log in, log out, and the question before a change.

function askForToken() {
  stop();
  setLive("logged out", "warn");
  $("login").hidden = false;
  $("logout").hidden = true;
  if (!$("login-dialog").open) $("login-dialog").showModal();
}

async function login(event) {
  event.preventDefault();
  const form = $("login-form");
  const error = form.querySelector(".error");
  error.textContent = "";
  try {
    await api("/api/session", "POST", { token: form.elements.token.value });
  } catch (problem) {
    error.textContent = problem.code === 401 ? "This is not the token." : problem.message;
    form.elements.token.select();
    return;
  }
  form.reset();
  $("login-dialog").close();
  start();
}

async function logout() {
  try {
    await api("/api/session", "DELETE");
  } catch {
    // The session has ended already.
  }
  location.reload();
}

/** Asks before a change. Returns once the change is made or cancelled. */
function confirm(title, text, action, work) {
  const dialog = $("confirm-dialog");
  const error = dialog.querySelector(".error");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-button").textContent = action;
  error.textContent = "";
  openDialog(dialog);
  return new Promise((done) => {
    $("confirm-form").onsubmit = async (event) => {
      event.preventDefault();
      try {
        await work();
        dialog.close();
      } catch (problem) {
        error.textContent = problem.message;
      }
    };
    dialog.onclose = done;
  });
}
