// The frame: pages by the address's fragment, the token, the theme, the connection.

import { enter, leave, state, token, told } from "./api.js";
import { redraw } from "./charts.js";
import { explainPage } from "./explain.js";
import { flagsPage } from "./flags.js";
import { field } from "./dialogs.js";
import { attribute, h, shown, text } from "./dom.js";
import { servicePage } from "./service.js";
import { servicesPage } from "./services.js";
import * as words from "./words.js";

const main = document.getElementById("main");
const byId = (id) => document.getElementById(id);
let page = null;

function route() {
  const [name = "services", of, ...rest] = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean);
  const pages = { flags: flagsPage, explain: explainPage, services: servicesPage };
  if (name === "services" && of && rest.length === 0) {
    try {
      const service = decodeURIComponent(of);
      return [name, () => servicePage(service)];
    } catch {
      return [null, nowhere];
    }
  }
  return Object.hasOwn(pages, name) && !of ? [name, pages[name]] : [null, nowhere];
}

const nowhere = () => ({ title: "No such page", element: h("p", { class: "empty" }, "There is no such page."), leave: () => {} });

function show() {
  if (!state.caller) return;
  const [name, make] = route();
  const next = make();
  page?.leave();
  page = next;
  main.replaceChildren(page.element);
  document.title = `${page.title} · Serin`;
  for (const link of document.querySelectorAll("nav a")) attribute(link, "aria-current", link.dataset.page === name ? "page" : null);
}

function goTo() {
  show();
  // A screen reader begins with what is new.
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

// ---------------------------------------------------------------- token

function login(problem) {
  document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
  text(byId("told"), "");
  page?.leave();
  page = null;
  text(byId("caller"), "");
  shown(byId("leave"), false);
  shown(byId("lost"), false);
  text(byId("connection"), "");
  const input = h("input", { type: "password", name: "token", required: true, autocomplete: "current-password", spellcheck: "false" });
  const said = h("p", { class: "problem", role: "alert", hidden: !problem }, problem ?? "");
  const form = h(
    "form",
    { class: "login" },
    h("h1", {}, "Sign in"),
    field("Token", input, "One of admin.tokens. It stays in this tab and goes out in no address."),
    said,
    h("div", { class: "buttons" }, h("button", { class: "primary" }, "Sign in")),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    token.set(input.value.trim());
    await begin();
  });
  document.title = "Sign in · Serin";
  main.replaceChildren(form);
  input.focus();
}

let beginning = false;
// Whether a token was asked for: without tokens nobody signs in or out.
let signedIn = false;

// Also where a token's role has changed meanwhile.
told.addEventListener("entered", () => {
  text(byId("caller"), signedIn ? `${state.caller.name} (${state.caller.role})` : "");
  shown(byId("leave"), signedIn);
  show();
});

async function begin() {
  const had = token.get() !== null;
  beginning = true;
  try {
    signedIn = had;
    await enter();
  } catch (error) {
    if (error.status === 401 || error.status === 403) {
      token.clear();
      login(had ? error.message : null);
    } else {
      main.replaceChildren(h("p", { class: "empty" }, `Serin cannot be reached: ${error.message}`), h("button", { type: "button", class: "primary", onclick: begin }, "Try again"));
    }
  } finally {
    beginning = false;
  }
}

byId("leave").addEventListener("click", () => {
  signedIn = false;
  leave();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
told.addEventListener("unknown", () => {
  if (!beginning && !document.querySelector(".login")) login(signedIn ? "the token is not known any more" : null);
  signedIn = false;
});

// ---------------------------------------------------------------- connection

function connection() {
  const box = byId("connection");
  attribute(box, "class", `connection ${state.lost ? "gone" : "there"}`);
  text(box, state.lost ? "no connection" : "live");
  shown(byId("lost"), Boolean(state.lost));
  text(byId("lost"), state.lost ? `The connection is lost; what is shown is from ${words.time(state.asked)}. It is tried again every second.` : "");
}
told.addEventListener("connection", connection);
told.addEventListener("entered", connection);

let silence;
told.addEventListener("change", ({ detail }) => {
  const box = byId("told");
  text(box, `${detail.service ?? detail.flag ?? ""}: ${detail.text}`);
  attribute(box, "class", `told shown ${detail.kind}`);
  clearTimeout(silence);
  silence = setTimeout(() => attribute(box, "class", "told"), 6000);
});

// ---------------------------------------------------------------- theme

const THEMES = ["system", "light", "dark"];
const theme = () => localStorage.getItem("serin-theme") ?? "system";

function paint() {
  const now = theme();
  if (now === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = now;
  text(byId("theme"), `Theme: ${now}`);
  redraw();
}
byId("theme").addEventListener("click", () => {
  localStorage.setItem("serin-theme", THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  paint();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

addEventListener("hashchange", goTo);
paint();
begin();
