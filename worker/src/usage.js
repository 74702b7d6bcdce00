// Sends reports of use, after responses.

/** Time for each request, in milliseconds. */
const TIMEOUT = 10_000;
/** The token of the guard is obtained anew when so many milliseconds of it are left. */
const LEFT = 60_000;
/** Data points of one report. Analytics Engine takes 250 for each request. */
const MAX_POINTS = 200;

/**
 * Returns a function that sends a report (JSON) and resolves to `taken`, to `refused` if it will never be taken,
 * or to `failed`. With `id` it goes to the issuer, or to the service that leads to it, from the guard as a client
 * of the issuer, with `agent` as its `User-Agent`; else to `taker`, a Queue if `isQueue`, or a service that decides
 * whom to believe. `dataset`, of Analytics Engine, gets a report when it is sent first.
 */
export function sender(taker, isQueue, dataset, issuer, id, secret, agent) {
  const send = id === '' ? toBinding(taker, isQueue) : toIssuer(taker ?? { fetch: (...all) => fetch(...all) }, issuer, id, secret, agent);
  return async (report, isFirst) => {
    if (dataset && isFirst) write(dataset, JSON.parse(report));
    return send(report);
  };
}

function toBinding(taker, isQueue) {
  if (isQueue) {
    return async (report) => {
      // A message has 128 KB at most.
      await Promise.race([taker.send(await zipped(report), { contentType: 'bytes' }), late()]);
      return 'taken';
    };
  }
  return async (report) => outcome(await post(taker, 'https://usage/usage-reports', report, {}));
}

function toIssuer(service, issuer, id, secret, agent) {
  let held = { token: '', until: 0 };
  const token = async () => {
    if (Date.now() < held.until) return held.token;
    const plain = (text) => encodeURIComponent(text).replace(/%20/g, '+');
    const response = await service.fetch(`${issuer}/oauth/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${plain(id)}:${plain(secret)}`)}`, 'user-agent': agent },
      body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'edgepass:usage', resource: issuer }),
      signal: AbortSignal.timeout(TIMEOUT),
    });
    if (!response.ok) throw new Error('no token');
    const { access_token: text, expires_in: lifetime } = await response.json();
    held = { token: text, until: Date.now() + Math.max(lifetime * 1000 - LEFT, lifetime * 500) };
    return text;
  };
  return async (report) => {
    const response = await post(service, `${issuer}/usage-reports`, report, {
      authorization: `Bearer ${await token()}`, 'user-agent': agent,
    });
    // Revoked, or of another issuer by now.
    if (response.status === 401) held = { token: '', until: 0 };
    return outcome(response);
  };
}

/** The report, compressed. */
async function zipped(report) {
  const stream = new Response(report).body.pipeThrough(new CompressionStream('gzip'));
  return new Response(stream).arrayBuffer();
}

function late() {
  return new Promise((_, reject) => { setTimeout(reject, TIMEOUT, new Error('no answer')); });
}

async function post(service, url, report, headers) {
  const response = await service.fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'content-encoding': 'gzip', ...headers },
    body: await zipped(report),
    signal: AbortSignal.timeout(TIMEOUT),
  });
  await response.body?.cancel();
  return response;
}

function outcome({ ok, status }) {
  if (ok) return 'taken';
  return [400, 409, 413, 422].includes(status) ? 'refused' : 'failed';
}

/** Writes the rows of a report as data points. The token is the index, by which Analytics Engine samples. */
function write(dataset, { uses, tokens, routes, codes, places }) {
  for (const [token, route, code, place, count] of uses.slice(0, MAX_POINTS)) {
    const { country = '', asn = 0 } = places[place];
    try {
      dataset.writeDataPoint({
        indexes: [tokens[token]], blobs: [codes[code], routes[route].name, country], doubles: [count, asn],
      });
    } catch {
      // A lost data point costs nothing else.
    }
  }
}

/** A random name. */
export function random() {
  return crypto.randomUUID();
}
