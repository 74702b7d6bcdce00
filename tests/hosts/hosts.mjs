// Runs the same task on every JavaScript host: Node.js, workerd, Chromium.
//
// A library is a folder with `lib/workerd.js`, with `lib/inline.js` or `lib/{node,browser}.js`, and
// with `wasm/*.wasm`. A task is a module
// of this folder whose default export takes the library and data, and returns data.

import { createServer } from 'node:http';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { launch } from './browser.mjs';
import { serveFolder } from '../stage/files.mjs';
import { startWorkers } from '../stage/workerd.mjs';

const here = dirname(fileURLToPath(import.meta.url));

/** The hosts by name, each a function `(t, library, task, data) => outcome`. */
export const HOSTS = { node: inNode, workerd: inWorkerd, chromium: inChromium };

const entry = (library, host) => (existsSync(join(library, 'lib/inline.js')) ? 'lib/inline.js' : `lib/${host}.js`);

async function inNode(t, library, task, data) {
  const own = await import(pathToFileURL(join(library, entry(library, 'node'))));
  return (await import(`./${task}`)).default(own, data);
}

async function inWorkerd(t, library, task, data) {
  const url = await startWorkerd(t, library, `
    import * as library from 'library';
    import task from './${task}';
    export default { async fetch(request) {
      return Response.json(await task(library, await request.json()));
    } };`);
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(data) });
  if (response.status !== 200) throw new Error(await response.text());
  return response.json();
}

/** Bundles a Worker as wrangler does. Returns its text and the name of the Wasm file to import. */
export async function bundled(library, contents) {
  const name = readdirSync(join(library, 'wasm')).find((file) => file.endsWith('.wasm'));
  const bundle = await build({
    stdin: { contents, resolveDir: here },
    bundle: true, write: false, format: 'esm', conditions: ['workerd'],
    alias: { library: join(library, 'lib/workerd.js') },
    plugins: [{
      name: 'wasm', setup: ({ onResolve }) => onResolve({ filter: /\.wasm$/ }, () => ({
        path: `./${name}`, external: true,
      })),
    }],
  });
  return { name, text: bundle.outputFiles[0].text };
}

/** Starts a Worker in workerd. Returns its URL. */
export async function startWorkerd(t, library, contents, more = {}) {
  const { name, text } = await bundled(library, contents);
  const { url, stop } = await startWorkers([{
    name: 'task', modulesRoot: '/',
    modules: [
      { type: 'ESModule', path: '/worker.mjs', contents: text },
      {
        type: 'CompiledWasm', path: `/${name}`,
        contents: readFileSync(join(library, 'wasm', name)),
      },
    ],
    ...more,
  }]);
  t.after(stop);
  return url;
}

async function inChromium(t, library, task, data) {
  const serve = { library: serveFolder(library), hosts: serveFolder(here) };
  const page = `<!doctype html><link rel=icon href="data:,"><script type="importmap">
    {"imports": {"library": "/library/${entry(library, 'browser')}"}}</script>
    <script type="module">
      import * as library from 'library';
      import task from '/hosts/${task}';
      globalThis.outcome = await task(library, await (await fetch('/data')).json());
    </script>`;
  const server = createServer((request, response) => {
    if (request.url === '/data') {
      return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(data));
    }
    const [, name, rest] = /^\/([a-z]+)(\/.*)$/.exec(request.url) ?? [];
    if (!name) return response.writeHead(200, { 'content-type': 'text/html' }).end(page);
    request.url = rest;
    return serve[name](request, response);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => server.close());
  const browser = await launch();
  t.after(() => browser.close());
  const tab = await browser.newPage();
  const problems = [];
  tab.on('pageerror', (error) => problems.push(error.message));
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  await tab.waitForFunction(() => globalThis.outcome, undefined, { timeout: 300_000 })
    .catch((error) => { throw new Error(`${error.message} ${problems}`); });
  return tab.evaluate(() => globalThis.outcome);
}
