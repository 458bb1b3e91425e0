// What a browser does around a page's calls to another origin (Fetch, section 3.2): it asks
// first where the call is no simple one, and shows the page only what the answer lets it.

const SIMPLE_FIELDS = ['accept', 'accept-language', 'content-language'];
const SHOWN_FIELDS = ['cache-control', 'content-language', 'content-length', 'content-type', 'expires', 'last-modified'];

const list = (headers, name) => (headers.get(name) ?? '').split(',').map((part) => part.trim().toLowerCase());

async function askFirst(fetch, origin, { url, method }, fields) {
  const headers = {
    origin,
    'access-control-request-method': method,
    'access-control-request-headers': fields.join(','),
  };
  const answer = await fetch(url, { method: 'OPTIONS', headers });
  const allowed = answer.ok
    && answer.headers.get('access-control-allow-origin') === origin
    && fields.every((field) => list(answer.headers, 'access-control-allow-headers').includes(field));
  if (!allowed) throw new TypeError(`the preflight does not allow ${method} with ${fields}`);
}

function asShown(answer) {
  const exposed = list(answer.headers, 'access-control-expose-headers');
  const shown = ([name]) => SHOWN_FIELDS.includes(name) || exposed.includes(name);
  const { status, body } = answer;
  return new Response(body, { status, headers: [...answer.headers].filter(shown) });
}

/** The `fetch` of a page of this origin; `seen` is told each call and its answer. */
export function pageFetch(origin, seen, fetch = globalThis.fetch) {
  return async (input, init) => {
    const request = new Request(input, init);
    const fields = [...request.headers.keys()].filter((name) => !SIMPLE_FIELDS.includes(name)).sort();
    // Browsers send these by themselves.
    const own = ['cache-control', 'last-event-id', 'pragma'];
    const unusual = fields.filter((name) => !own.includes(name));
    if (unusual.length > 0) await askFirst(fetch, origin, request, unusual);
    request.headers.set('origin', origin);
    const answer = await fetch(request);
    const { pathname, search } = new URL(request.url);
    seen({ path: pathname + search, tag: request.headers.get('if-none-match'), status: answer.status });
    if (answer.headers.get('access-control-allow-origin') !== origin) throw new TypeError('the answer is not for this page');
    return asShown(answer);
  };
}
