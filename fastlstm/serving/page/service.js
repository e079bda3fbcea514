// What is asked of the service.

import { fromJSON } from "./values.js";

let token = ""; // in the memory of this tab alone
let whenAsked = () => {};

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Calls a function whenever the service asks for a token. */
export function onToken(function_) {
  whenAsked = function_;
}

export function setToken(value) {
  token = value;
}

export function hasToken() {
  return token !== "";
}

function headers(more = {}) {
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

async function fetched(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch {
    throw new Refused(0, "the service does not answer");
  }
  if (response.status === 401) whenAsked();
  return response;
}

/** Throws Refused with what the service says, unless it answers. */
async function answered(response) {
  if (response.ok) return response;
  let message = "";
  try {
    const body = await response.json();
    message = body.error ?? body.detail ?? "";
  } catch {
    // not in JSON: a proxy's words
  }
  throw new Refused(response.status, typeof message === "string" && message ? message : response.statusText || "no answer");
}

/** JSON of a path. */
export async function get(path) {
  return fromJSON(await (await answered(await fetched(path))).text());
}

/** A picture of a path, as a URL for <img>: a picture that needs a token cannot be named there. */
export async function picture(path) {
  return URL.createObjectURL(await (await answered(await fetched(path))).blob());
}

/** The answer to a body, and how many milliseconds it took from here and back. */
export async function post(path, body) {
  const begun = performance.now();
  const response = await answered(await fetched(path, { method: "POST", body, headers: { "Content-Type": "application/json" } }));
  const text = await response.text();
  return { ms: performance.now() - begun, answer: fromJSON(text) };
}

/** Where a model's requests go: of one version, or of whichever is served. */
export function path(name, version, verb) {
  return `v1/models/${encodeURIComponent(name)}${version === null ? "" : `/versions/${version}`}${verb}`;
}

/** The same for the world outside of this page. */
export function whole(relative) {
  return new URL(relative, document.baseURI.split("#")[0]).href;
}

function base64url(text) {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** A WebSocket; browsers send no headers with it, so the token goes as a subprotocol. */
export function socket(relative) {
  const url = new URL(whole(relative));
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(url, token ? ["fastlstm", `bearer.${base64url(token)}`] : ["fastlstm"]);
}
