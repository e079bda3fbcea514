// The page: which models there are, which one is looked at. Nothing is kept beyond the tab.

import { el, field, say } from "./elements.js";
import { ModelView } from "./model.js";
import { get, onToken, setToken } from "./service.js";

const EVERY = 5000; // milliseconds between looks at what is served
const WORDS = { AVAILABLE: "ready", LOADING: "loading", START: "waiting", UNLOADING: "going", END: "not served" };

const [list, main, empty, service, token] = ["models", "main", "empty", "service", "token"].map((id) => document.getElementById(id));
const [frame, links] = [".frame", ".links"].map((selector) => document.querySelector(selector));
const views = new Map(); // by name and version: what is drawn and typed there stays while others are looked at
let models = [];
let shown = "";

/** What the address asks for: "#/name" or "#/name/3". */
function asked() {
  const [name, version] = location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
  return { name: name || models[0]?.name, version: version ? Number(version) : null };
}

function address(name, version = null) {
  return `#/${encodeURIComponent(name)}${version === null ? "" : `/${version}`}`;
}

function available(model) {
  return model.versions.filter((version) => version.state === "AVAILABLE");
}

function badge(model) {
  const best = available(model)[0] ?? model.versions[0];
  const broken = available(model).length > 0 && model.versions.some((version) => version.state === "END" && version.message);
  const word = best ? WORDS[best.state] ?? best.state.toLowerCase() : "not served";
  return el("span", { class: `badge ${best?.state === "AVAILABLE" ? (broken ? "warn" : "good") : best?.state === "END" || !best ? "bad" : "wait"}` }, broken ? `${word}, another version is broken` : word);
}

function listModels() {
  const { name } = asked();
  list.replaceChildren(...models.map((model) => {
    const versions = available(model).map((version) => version.version);
    return el("li", {}, el("a", { href: address(model.name), "aria-current": model.name === name ? "page" : null },
      el("span", { class: "name" }, model.name), el("span", { class: "versions" }, versions.length ? `v${versions.join(", v")}` : ""), badge(model)));
  }));
}

/** Looks at what is served; says what has changed. */
async function look() {
  try {
    const found = await get("page/models");
    const before = JSON.stringify(models);
    models = found.models;
    service.textContent = `${found.service}: ${found.ready ? "ready" : "loading"}, ${models.length} model${models.length === 1 ? "" : "s"}`;
    service.className = `state ${found.ready ? "good" : "wait"}`;
    token.hidden = true;
    frame.hidden = false;
    if (JSON.stringify(models) !== before) await changed();
  } catch (error) {
    service.textContent = error.status === 401 ? "a token is asked for" : error.message;
    service.className = "state bad";
  }
}

async function changed() {
  listModels();
  await show();
}

function nothing(words) {
  shown = "";
  for (const view of views.values()) view.element.hidden = true;
  empty.hidden = false;
  empty.textContent = words;
}

/** Shows what the address asks for. */
async function show(focus = false) {
  if (!models.length) return nothing("No model is served.");
  const { name, version } = asked();
  const model = models.find((one) => one.name === name);
  if (!model) return nothing(`There is no model called ${name}.`);
  const number = version ?? available(model)[0]?.version;
  if (number === undefined) return nothing(model.versions.map((one) => `${name} is not served: ${one.message || WORDS[one.state]}`).join("\n"));
  const key = `${name}/${version === null ? "newest " : ""}${number}`;
  if (!views.has(key)) {
    try {
      const view = new ModelView(await get(`page/models/${encodeURIComponent(name)}/versions/${number}`), version);
      if (views.has(key)) return undefined; // asked for twice meanwhile
      views.set(key, view);
      main.append(view.element);
    } catch (error) {
      return nothing(`${name}: ${error.message}`);
    }
  }
  if (shown && shown !== key && shown.split("/")[0] === name) say(`Version ${number} of ${name} is shown.`);
  shown = key;
  empty.hidden = true;
  document.title = `${name} · fastlstm`;
  for (const [one, view] of views) {
    view.element.hidden = one !== key;
    if (one !== key) view.leave();
  }
  chooser(views.get(key), model, version);
  if (focus) views.get(key).element.querySelector("h2").focus();
  return undefined;
}

/** Which version is looked at, and what is wrong with others. */
function chooser(view, model, version) {
  const options = [el("option", { value: "", selected: version === null }, "the newest"),
    ...available(model).map((one) => el("option", { value: one.version, selected: one.version === version }, `version ${one.version}`))];
  const select = el("select", { onchange: () => (location.hash = address(model.name, select.value === "" ? null : select.value)) }, ...options);
  const wrong = model.versions.filter((one) => one.state !== "AVAILABLE" && one.message);
  view.versions.replaceChildren(available(model).length > 1 || version !== null ? field("Version", select) : "",
    ...wrong.map((one) => el("p", { class: "error" }, `version ${one.version}: ${one.message}`)));
}

onToken(() => {
  token.hidden = false;
  frame.hidden = true;
  links.hidden = true; // a browser that follows them sends no token
});
token.addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = document.getElementById("token-value");
  setToken(input.value);
  await look();
  document.getElementById("token-error").textContent = token.hidden ? "" : "The service does not take this token.";
  if (token.hidden) main.focus();
});
addEventListener("hashchange", () => {
  listModels();
  show(true);
});

/** Nobody looks at what is hidden; and without a token there is nothing to see. */
function lookIfSeen() {
  if (document.visibilityState === "visible" && token.hidden) look();
}

document.addEventListener("visibilitychange", lookIfSeen);
setInterval(lookIfSeen, EVERY);
look();
