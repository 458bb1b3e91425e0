// A shop behind Serin, on Node alone: reads flags and the track from request headers.
//
//   PORT=3000 VERSION=v1 node app.js

'use strict';

const http = require('node:http');

const VERSION = process.env.VERSION ?? 'v1';
const PORT = Number(process.env.PORT ?? 3000);
const HOST = process.env.HOST ?? '127.0.0.1';
// A release that goes wrong: FAIL_RATE=0.05 answers 500 to one page in twenty.
const FAIL_RATE = Number(process.env.FAIL_RATE ?? 0);

/** The value of a flag; the default where Serin says nothing of it. */
function variant(request, name, fallback) {
  return request.headers[`x-feature-${name}`] ?? fallback;
}

/** Whether a flag is on. Whatever is neither `true` nor `false` is the default. */
function isOn(request, name, fallback = false) {
  const value = variant(request, name, '');
  return value === 'true' || (value !== 'false' && fallback);
}

/** Without Serin in front there is no such header. */
function servedBy(request) {
  return `${VERSION} on ${request.headers['x-serin-track'] ?? 'no track'}`;
}

function home(request) {
  const dashboard = isOn(request, 'new-dashboard') ? 'new' : 'old';
  const color = variant(request, 'color', 'black');
  return { text: `The ${dashboard} dashboard in ${color}, ${servedBy(request)}\n` };
}

function search(request) {
  // The new search does not work yet: its page has status 200 and is an error all the same.
  if (isOn(request, 'new-search')) {
    return { text: 'Sorry, we found nothing.\n', fields: { 'x-serin-outcome': 'error' } };
  }
  return { text: `3 results, ${servedBy(request)}\n` };
}

const pages = { '/': home, '/search': search };

function page(request) {
  const path = request.url.split('?')[0];
  if (path === '/healthz') return { text: 'ok\n' };
  if (path === '/version') return { text: `${VERSION}\n` };
  if (!Object.hasOwn(pages, path)) return { status: 404, text: 'no such page\n' };
  if (Math.random() < FAIL_RATE) {
    console.error(`request ${request.headers['x-request-id'] ?? '-'} fails`);
    return { status: 500, text: `${VERSION} fails\n` };
  }
  return pages[path](request);
}

let draining = false;

const server = http.createServer((request, response) => {
  const { status = 200, text, fields = {} } = page(request);
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    // The page depends on who asks: shared caches must not keep it.
    'cache-control': 'private, no-store',
    ...(draining ? { connection: 'close' } : {}),
    ...fields,
  });
  response.end(text);
});

// Ends in peace: what is under way is answered, idle connections are closed.
function drain() {
  draining = true;
  server.close();
  server.closeIdleConnections();
}
process.on('SIGTERM', drain);
process.on('SIGINT', drain);

server.listen(PORT, HOST);
