// Measures, all in one go and interleaved, and prints what was seen as JSON.
//
// Timers stand still inside a Worker, so time is taken from outside: a request that carries n
// verifications less one that carries none. What is compared takes turns, and medians are kept.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { startWorkerd } from '../tests/hosts/hosts.mjs';
import { SUBJECTS, prepare } from './subjects.mjs';
import { ALGORITHMS, AUDIENCE, ISSUER, makeKey, makeRefused, makeToken } from './tokens.mjs';

const quick = process.argv.includes('--quick');
const ROUNDS = quick ? 7 : 25;
const N = quick ? 400 : 1000;
/** More than the verifier remembers: whoever comes round again is new. */
const DISTINCT = 2500;

const library = join(process.env.EDGEPASS_INSTALLED, 'node_modules/edgepass/dist');
const note = (text) => process.stderr.write(`${text}\n`);
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

/** Runs on workerd. */
async function inWorkerd() {
  const stops = [];
  const worker = fileURLToPath(new URL('worker.mjs', import.meta.url));
  const url = await startWorkerd({ after: (stop) => stops.push(stop) }, library, `export { default } from '${worker}';`);
  const get = async (query) => {
    const response = await fetch(`${url}?${query}`);
    const text = await response.text();
    if (!response.ok) throw new Error(`${query}: ${text}`);
  };
  return {
    async set(run, subject, setup, texts, expected) {
      const response = await fetch(url, { method: 'POST', body: JSON.stringify({ run, subject, setup, texts, expected }) });
      const text = await response.text();
      if (!response.ok) throw new Error(`${subject}: ${text}`);
      return text === 'ready';
    },
    async time(run, n) {
      const started = process.hrtime.bigint();
      await get(`run=${run}&n=${n}`);
      return Number(process.hrtime.bigint() - started) / 1000;
    },
    stop: () => Promise.all(stops.map((stop) => stop())),
  };
}

/** Microseconds of one verification, for each run, taking turns. */
async function measure(host, runs) {
  const seen = new Map(runs.map((run) => [run, []]));
  for (let warm = 0; warm < 4; warm++) for (const run of runs) await host.time(run, N);
  for (let round = 0; round < ROUNDS; round++) {
    for (const run of runs) {
      const [none, all] = [await host.time(run, 0), await host.time(run, N)];
      seen.get(run).push((all - none) / N);
    }
  }
  return Object.fromEntries([...seen].map(([run, times]) => [run, median(times)]));
}

const results = {};
const workerd = await inWorkerd();
for (const kind of Object.keys(ALGORITHMS)) {
  note(`workerd, cold, ${kind}`);
  const key = makeKey(kind);
  const setup = { kind, alg: key.alg, jwks: { keys: [key.jwk] }, issuer: ISSUER, audience: AUDIENCE };
  const texts = Array.from({ length: DISTINCT }, (_, number) => makeToken(key, number));
  const runs = [];
  for (const subject of Object.keys(SUBJECTS)) {
    const run = `${kind} ${subject}`;
    if (await workerd.set(run, subject, setup, texts, true)) runs.push(run);
  }
  const again = `${kind} edgepass repeat`;
  await workerd.set(again, 'edgepass', setup, texts.slice(0, 1), true);
  runs.push(again);
  for (const [why] of Object.entries(makeRefused(key, 0))) {
    const refused = Array.from({ length: 200 }, (_, number) => makeRefused(key, number)[why]);
    const run = `${kind} edgepass ${why}`;
    await workerd.set(run, 'edgepass', setup, refused, false);
    runs.push(run);
  }
  Object.assign(results, await measure(workerd, runs));
}
await workerd.stop();
for (const [run, time] of Object.entries(results)) {
  const kind = run.split(' ')[0];
  console.log(`${run.padEnd(46)} ${time.toFixed(2).padStart(8)} us  ${(time / results[`${kind} subtle`]).toFixed(2)}`);
}
