// The admin API, and what is known of it now.
//
// The token stands in the session's storage of this tab, goes out in Authorization and never in
// an address. Changes come by a stream, numbers by asking once a second while the page is looked at.

const TOKEN = "serin-token";
const EVERY = 1000;
const RARELY = 10000;
const RETRY_MAX = 5000;
// A question that nobody answers for so long is as good as refused.
const PATIENCE = 5000;

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `the answer was ${status}`);
    this.status = status;
    this.code = problem.code;
    this.field = problem.field;
  }
}

export const state = { caller: null, services: [], flags: [], lint: new Map(), lost: null, asked: null };
export const told = new EventTarget();
const tell = (what, detail) => told.dispatchEvent(new CustomEvent(what, { detail }));

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  clear: () => sessionStorage.removeItem(TOKEN),
};

function headers(more = {}) {
  const own = token.get();
  return own ? { authorization: `Bearer ${own}`, ...more } : more;
}

export async function call(method, path, body, { match, signal } = {}) {
  const more = {};
  if (method !== "GET") more["content-type"] = "application/json";
  if (match) more["if-match"] = match;
  const init = { method, headers: headers(more), signal, cache: "no-store" };
  if (method !== "GET" && body !== undefined) init.body = JSON.stringify(body);
  const response = await fetch(path, init);
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) forget();
  if (!response.ok) throw new Refused(response.status, answer);
  return { value: answer, tag: response.headers.get("etag") };
}

export const get = async (path, options) => (await call("GET", path, undefined, options)).value;
export const serviceAt = (name) => `/api/services/${encodeURIComponent(name)}`;
export const flagAt = (name) => `/api/flags/${encodeURIComponent(name)}`;
export const mayWrite = () => state.caller?.role === "write";

let stopped = new AbortController();

export async function enter() {
  stopped.abort();
  stopped = new AbortController();
  const { signal } = stopped;
  state.caller = await get("/api/caller", { signal });
  await Promise.all([readServices(signal), readFlags(signal)]);
  tell("entered");
  ask(signal);
  listen(signal);
}

// Nothing stays of who was signed in.
function forget() {
  stopped.abort();
  token.clear();
  Object.assign(state, { caller: null, services: [], flags: [], lost: null });
  tell("unknown");
}
export const leave = forget;

// A token's role may have changed.
async function readCaller(signal) {
  const before = state.caller?.role;
  state.caller = await get("/api/caller", { signal });
  if (before !== state.caller.role) tell("entered");
}

async function readServices(signal) {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]);
  state.services = (await get("/api/services", { signal: patience })).services;
  state.asked = new Date();
  tell("services");
}

let reading = null;
let again = false;

// One at a time: an older answer never comes behind a newer one. Who asks meanwhile waits for one more.
export function readFlags(signal = stopped.signal) {
  if (reading) {
    again = true;
    return reading;
  }
  reading = (async () => {
    do {
      again = false;
      await readFlagsOnce(signal);
    } while (again);
  })().finally(() => (reading = null));
  return reading;
}

async function readFlagsOnce(signal) {
  const [{ flags }, { warnings }] = await Promise.all([
    get("/api/flags", { signal }),
    get("/api/lint/flags", { signal }),
  ]);
  state.lint = new Map();
  for (const warning of warnings) state.lint.set(warning.flag, [...(state.lint.get(warning.flag) ?? []), warning.text]);
  state.flags = flags;
  tell("flags");
}

const wait = (span, signal) =>
  new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      done();
    };
    const timer = setTimeout(end, span);
    signal.addEventListener("abort", end);
  });

function lost(error) {
  // Who is refused has a connection.
  if (error.status !== undefined && error.status < 500) return;
  if (!state.lost) {
    state.lost = error.message;
    tell("connection");
  }
}

function found() {
  if (state.lost) {
    state.lost = null;
    tell("connection");
  }
}

let now = () => {};
// Asks at once: something has changed.
export const refresh = () => now();

// `tick` follows each answer: pages ask for more of their own then.
async function ask(signal) {
  while (!signal.aborted) {
    // Made before the question: what changes meanwhile is asked for at once.
    const woken = new Promise((done) => (now = done));
    let pause = EVERY;
    if (document.visibilityState === "visible") {
      try {
        const began = performance.now();
        await readServices(signal);
        // A thousand services are asked for less often: most of the time is others'.
        pause = Math.min(Math.max(EVERY, (performance.now() - began) * 10), RARELY);
        found();
        tell("tick");
      } catch (error) {
        if (signal.aborted || error.status === 401) return;
        lost(error);
      }
    }
    await Promise.race([wait(pause, signal), woken]);
  }
}
document.addEventListener("visibilitychange", () => now());

// Server-sent events by fetch: an EventSource could not send the token.
async function listen(signal) {
  let last = null;
  let pause = 500;
  while (!signal.aborted) {
    try {
      const more = last ? { "last-event-id": last } : {};
      const response = await fetch("/api/events", { headers: headers({ accept: "text/event-stream", ...more }), signal, cache: "no-store" });
      if (response.status === 401) return forget();
      if (!response.ok) throw new Error(`the stream answered ${response.status}`);
      pause = 500;
      // What has changed before the stream began is in none of its events.
      await Promise.all([readFlags(signal), readCaller(signal)]);
      for await (const event of events(response.body)) {
        if (event.id) last = event.id;
        if (event.event === "reset") await readFlags(signal);
        else if (event.event === "change") changed(JSON.parse(event.data), signal);
      }
    } catch {
      // The questions once a second say that the connection is lost.
    }
    await wait(pause, signal);
    pause = Math.min(pause * 2, RETRY_MAX);
  }
}

function changed(change, signal) {
  tell("change", change);
  if (change.flag || change.kind === "flags") readFlags(signal).catch(lost);
  refresh();
}

// The fields of each event (HTML, section 9.2.6).
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    let end;
    while ((end = waiting.indexOf("\n\n")) >= 0) {
      const event = {};
      for (const line of waiting.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
      }
      waiting = waiting.slice(end + 2);
      yield event;
    }
  }
}
