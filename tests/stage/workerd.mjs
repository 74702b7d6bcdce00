// Workers in workerd, as they are deployed: with the compatibility date of wrangler.toml.

import { readFileSync } from 'node:fs';
import { Log, LogLevel, Miniflare, convertV4MiniflareOptions } from 'miniflare';

const deployment = readFileSync(new URL('../../wrangler.toml', import.meta.url), 'utf8');

export const COMPATIBILITY_DATE = /^compatibility_date = "(.*)"$/m.exec(deployment)[1];

/** The guard's modules in the folder `build`, after `more`, which may wrap them. */
export const guardModules = (build, more = []) => ({
  modulesRoot: build,
  modules: [
    ...more,
    { type: 'ESModule', path: `${build}/index.js` },
    { type: 'CompiledWasm', path: `${build}/index_bg.wasm` },
  ],
});

/** A socket that leads straight to a Worker. Nothing in front of it normalizes paths. */
export const ownSocket = { unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }] };

/** Starts Workers in one workerd. `log(message)` gets each line that they log. `port`: 0 for any. */
export async function startWorkers(workers, { log, level = LogLevel.ERROR, port = 0 } = {}) {
  const workerd = new Miniflare(convertV4MiniflareOptions({
    host: '127.0.0.1', port, cf: false, log: new Log(level),
    ...(log && { handleStructuredLogs: ({ message }) => log(message) }),
    workers: workers.map((worker) => ({ compatibilityDate: COMPATIBILITY_DATE, ...worker })),
  }));
  const url = await workerd.ready;
  return {
    workerd, url,
    /** The origin of a Worker that has a socket of its own. */
    at: async (name) => (await workerd.unsafeGetDirectURL(name)).origin,
    stop: () => workerd.dispose(),
  };
}

export { LogLevel };
