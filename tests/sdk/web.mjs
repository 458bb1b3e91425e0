// A page's SDK, with what a browser has around it. A line of JSON on its input says what to do:
// {start: context}, {context}, {key, type, default}, {changed: true}, which waits for a change, or
// {calls: n}, which waits for so many calls.
import { pageFetch } from './page.mjs';
import { answerLines, details, evaluate, require } from './packages.mjs';

const { OpenFeature, ProviderEvents } = require('@openfeature/web-sdk');
const { OFREPWebProvider } = require('@openfeature/ofrep-web-provider');
const { EventSource } = require('eventsource');

const [baseUrl, headers, origin] = process.argv.slice(2);
let calls = [];
let called = () => {};
const fetchImplementation = pageFetch(origin, (call) => {
  calls.push(call);
  called();
});

globalThis.EventSource = class extends EventSource {
  constructor(url) {
    super(url, { fetch: fetchImplementation });
  }
};

// A tab's own storage: the provider keeps flags there for its next start.
const kept = new Map();
globalThis.localStorage = {
  getItem: (name) => kept.get(name) ?? null,
  setItem: (name, value) => kept.set(name, value),
  removeItem: (name) => kept.delete(name),
};

const client = OpenFeature.getClient();
const changes = [];
const waiting = [];
client.addHandler(ProviderEvents.ConfigurationChanged, ({ flagsChanged }) => {
  const wakes = waiting.shift();
  wakes ? wakes(flagsChanged) : changes.push(flagsChanged);
});
const nextChange = () => changes.shift() ?? new Promise((wakes) => waiting.push(wakes));

async function untilCalled(times) {
  while (calls.length < times) await new Promise((wakes) => (called = wakes));
}

const state = () => {
  const since = calls;
  calls = [];
  return { status: client.providerStatus, calls: since };
};

async function start(context) {
  await OpenFeature.setContext(context);
  const options = { baseUrl, headers: Object.entries(JSON.parse(headers)), fetchImplementation };
  await OpenFeature.setProviderAndWait(new OFREPWebProvider(options)).catch(() => {});
}

await answerLines(async (asked) => {
  if (asked.key) return details(evaluate(client, asked));
  if (asked.start) await start(asked.start);
  if (asked.context) await OpenFeature.setContext(asked.context);
  const flags = asked.changed ? await nextChange() : [];
  if (asked.calls) await untilCalled(asked.calls);
  return { ...state(), flags };
});
