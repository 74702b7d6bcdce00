// Times a fresh isolate: its first token, and the next hundred.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import workerd from 'workerd';
import { bundled } from '../tests/hosts/hosts.mjs';
import { library, median, note, quick, timed } from './measure.mjs';
import { ALGORITHMS, AUDIENCE, ISSUER, makeKey, makeToken } from './tokens.mjs';
import { COMPATIBILITY_DATE } from '../tests/stage/workerd.mjs';

const SUBJECTS = ['nothing', 'subtle', 'jose', 'edgepass'];
const SAMPLES = quick ? 5 : 25;

/** Returns `{ kind: { subject: { first, hundred } } }`: microseconds above `nothing`. */
export default async function fresh() {
  const results = {};
  for (const kind of Object.keys(ALGORITHMS)) {
    note(`workerd, a fresh isolate: ${kind}`);
    results[kind] = await ofKind(kind);
  }
  return results;
}

async function ofKind(kind) {
  const key = makeKey(kind);
  const setup = { kind, alg: key.alg, jwks: { keys: [key.jwk] }, issuer: ISSUER, audience: AUDIENCE };
  const texts = Array.from({ length: 101 }, (_, number) => makeToken(key, number));
  const seen = Object.fromEntries(SUBJECTS.map((subject) => [subject, { first: [], hundred: [] }]));
  for (let sample = 0; sample < SAMPLES; sample++) {
    for (const subject of SUBJECTS) {
      const { first, hundred } = await inFreshIsolate(subject, setup, texts);
      seen[subject].first.push(first);
      seen[subject].hundred.push(hundred);
    }
  }
  const of = (subject, what) => median(seen[subject][what]);
  return Object.fromEntries(SUBJECTS.slice(1).map((subject) => [subject, {
    first: of(subject, 'first') - of('nothing', 'first'),
    hundred: of(subject, 'hundred') - of('nothing', 'hundred'),
  }]));
}

/**
 * Times two requests to a new workerd process: the first verifies one token, the next a hundred.
 */
async function inFreshIsolate(subject, setup, texts) {
  const folder = mkdtempSync(join(tmpdir(), 'edgepass-bench-'));
  writeFileSync(join(folder, 'worker.mjs'), await script(subject, setup));
  const wasm = subject === 'edgepass' ? ', (name = "edgepass_npm_bg.wasm", wasm = embed "module.wasm")' : '';
  if (wasm) copyFileSync(join(library, 'wasm/edgepass_npm_bg.wasm'), join(folder, 'module.wasm'));
  writeFileSync(join(folder, 'config.capnp'), `using Workerd = import "/workerd/workerd.capnp";
    const config :Workerd.Config = (
      services = [(name = "main", worker = .worker)],
      sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
    );
    const worker :Workerd.Worker = (
      modules = [(name = "worker.mjs", esModule = embed "worker.mjs")${wasm}],
      compatibilityDate = "${COMPATIBILITY_DATE}",
    );`);
  const server = spawn(workerd.default, ['serve', '--control-fd=3', join(folder, 'config.capnp')], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
  });
  try {
    const [event] = await once(server.stdio[3], 'data');
    const url = `http://127.0.0.1:${JSON.parse(event.toString().split('\n')[0]).port}`;
    const ask = (n) => timed(async () => {
      const response = await fetch(url, { method: 'POST', body: JSON.stringify({ texts, n }) });
      if (await response.text() !== 'done') throw new Error(`${subject}: ${response.status}`);
    });
    // GET requests do not reach the verifier: they warm up all else, including connections.
    for (let warm = 0; warm < 20; warm++) await (await fetch(url)).text();
    return { first: await ask(1), hundred: await ask(100) };
  } finally {
    server.kill('SIGKILL');
    await once(server, 'close');
    rmSync(folder, { recursive: true });
  }
}

/**
 * Returns the Worker's text. It makes its verifier in global scope, as all libraries recommend.
 * `subtle` imports its key asynchronously, so it waits for the first request.
 */
async function script(subject, setup) {
  const file = (name) => fileURLToPath(new URL(name, import.meta.url));
  const contents = `
    import { prepare } from '${file('prepare.mjs')}';
    ${subject === 'nothing' ? 'const subject = () => () => true;' : `import subject from '${file(`subjects/${subject}.mjs`)}';`}
    ${subject === 'edgepass' ? "import * as library from 'library';" : 'const library = undefined;'}
    const setup = ${JSON.stringify(setup)};
    globalThis.pending = [];
    const made = ${subject === 'subtle' ? 'undefined' : 'subject(setup, library)'};
    const make = () => made ?? subject(setup, library);
    let run;
    export default { async fetch(request, env, context) {
      if (request.method === 'GET') return new Response('awake');
      const { texts, n } = await request.json();
      run ??= await prepare(make, setup, texts, true, library);
      await run(n);
      for (const work of globalThis.pending.splice(0)) context.waitUntil(work);
      return new Response('done');
    } };`;
  return (await bundled(library, contents)).text;
}
