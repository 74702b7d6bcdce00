// An issuer behind a proxy that injects faults, and guards whose clocks can be shifted.

import { createServer } from 'node:http';
import { FaultProxy } from '../stage/fault-proxy.mjs';
import { Issuer, mayRevoke } from '../stage/issuer.mjs';
import { listen } from '../stage/ports.mjs';
import { LogLevel, guardModules, ownSocket, startWorkers } from '../stage/workerd.mjs';

const { EDGEPASS_GUARD: build } = process.env;
const METRICS = 'the-secret-that-opens-the-counters';

/** Starts an issuer whose public address is a proxy, its member `proxy`. It ends with the test. */
export async function issuerBehindProxy(t, change = (text) => text, env = {}, more = {}) {
  let proxy;
  const issuer = await Issuer.start({
    ...more, env, change: (text) => change(mayRevoke(text)),
    url: (own) => { proxy = new FaultProxy(own); return proxy.listen(); },
  });
  issuer.proxy = proxy;
  t.after(async () => {
    proxy.close();
    await issuer.remove();
  });
  return issuer;
}

/**
 * A module that wraps the guard's: shifts its clock against the machine's, and tells it what the platform says
 * about a request, which is in the header `x-test-cf`.
 */
const SHIFTED = `
  import guard from './index.js';
  const real = Date.now;
  let shift = 0;
  Date.now = () => real() + shift;
  export default {
    fetch(request, env, context) {
      const { pathname, searchParams } = new URL(request.url);
      const cf = request.headers.get('x-test-cf');
      const asked = cf ? new Request(request, { cf: JSON.parse(cf) }) : request;
      if (pathname !== '/.test/clock') return guard.fetch(asked, env, context);
      shift = Number(searchParams.get('by'));
      return new Response(null);
    },
  };`;

/**
 * Starts guards in workerd, each in its own process, in front of an origin that answers 200. `bindings` are
 * further ones.
 */
export async function guards(t, issuer, count, bindings = {}) {
  const origin = createServer((_, response) => response.end('{}'));
  const url = await listen(origin);
  t.after(() => { origin.close(); origin.closeAllConnections(); });
  return Promise.all(Array.from({ length: count }, () => guard(t, issuer, url, bindings)));
}

async function guard(t, issuer, origin, bindings) {
  const shifted = { type: 'ESModule', path: `${build}/shifted.js`, contents: SHIFTED };
  const { at, stop } = await startWorkers([{
    name: 'guard', ...guardModules(build, [shifted]), ...ownSocket,
    bindings: {
      ISSUER: issuer.url, AUDIENCE: 'https://api.example', CACHE: 'none',
      ORIGIN_URL: origin, METRICS_TOKEN: METRICS, ...bindings,
    },
  }], { level: LogLevel.NONE, log: () => {} });
  t.after(stop);
  const url = await at('guard');
  return {
    /** Ends its process. */
    stop,
    /** Calls the API. Returns `'200'`, or the code of the refusal. `cf` is what the platform says of it. */
    async call(token, { method = 'GET', path = '/invoices', cf } = {}) {
      const response = await fetch(`${url}${path}`, {
        method, headers: { authorization: `Bearer ${token}`, ...(cf && { 'x-test-cf': JSON.stringify(cf) }) },
      });
      const text = await response.text();
      return response.ok ? '200' : JSON.parse(text).code;
    },
    /** Shifts the guard's clock against the machine's, in milliseconds. */
    shift: (by) => fetch(`${url}/.test/clock?by=${by}`),
    /** Returns the value of the first counter whose line starts with `line`. */
    async counter(line) {
      const response = await fetch(`${url}/.edgepass/metrics`, {
        headers: { authorization: `Bearer ${METRICS}` },
      });
      const found = (await response.text()).split('\n').find((one) => one.startsWith(line));
      if (!found) throw new Error(`no counter is named ${line}`);
      return Number(found.split(' ').at(-1));
    },
  };
}
