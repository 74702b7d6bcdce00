// Measures, all in one go and interleaved; prints progress to stderr and what was seen as JSON.
//
// Timers stand still inside a Worker, so time is taken from outside: a request that carries n
// verifications less one that carries none. What is compared takes turns, and medians are kept.

import { createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { startWorkerd } from '../tests/hosts/hosts.mjs';
import { NODE_SUBJECTS } from './node-subjects.mjs';
import { SUBJECTS, prepare } from './subjects.mjs';
import { ALGORITHMS, AUDIENCE, ISSUER, makeKey, makeRefused, makeToken } from './tokens.mjs';

const quick = process.argv.includes('--quick');
const ROUNDS = quick ? 7 : 25;
const N = quick ? 400 : 1000;
/** More than the verifier remembers: whoever comes round again is new. */
const DISTINCT = 2500;

const library = join(process.env.EDGEPASS_INSTALLED, 'node_modules/edgepass/dist');
const note = (text) => process.stderr.write(`${text}\n`);
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** A host: `set` makes a run of a subject, `time` says how long n verifications took, in microseconds. */
async function inWorkerd() {
  const stops = [];
  const worker = fileURLToPath(new URL('worker.mjs', import.meta.url));
  const contents = `export { default } from '${worker}';`;
  const url = await startWorkerd({ after: (stop) => stops.push(stop) }, library, contents);
  return {
    subjects: SUBJECTS,
    async set(run, ...rest) {
      const [subject, setup, texts, expected] = rest;
      const body = JSON.stringify({ run, subject, setup, texts, expected });
      const response = await fetch(url, { method: 'POST', body });
      const text = await response.text();
      if (!response.ok) throw new Error(`${run}: ${text}`);
      return text === 'ready';
    },
    async time(run, n) {
      const started = process.hrtime.bigint();
      const response = await fetch(`${url}?run=${encodeURIComponent(run)}&n=${n}`);
      const text = await response.text();
      if (!response.ok) throw new Error(`${run}: ${text}`);
      return Number(process.hrtime.bigint() - started) / 1000;
    },
    stop: () => Promise.all(stops.map((stop) => stop())),
  };
}

async function inNode() {
  const edgepass = await import(pathToFileURL(join(library, 'face/node.js')));
  const subjects = { ...SUBJECTS, ...NODE_SUBJECTS };
  const runs = new Map();
  return {
    subjects,
    async set(run, subject, setup, texts, expected) {
      const prepared = await prepare(subjects[subject], setup, texts, expected, edgepass);
      if (prepared) runs.set(run, prepared);
      return prepared !== undefined;
    },
    async time(run, n) {
      const started = process.hrtime.bigint();
      await runs.get(run)(n);
      const took = Number(process.hrtime.bigint() - started) / 1000;
      // Work behind responses gets its turn here.
      await new Promise((resolve) => { setTimeout(resolve, 0); });
      return took;
    },
    stop: async () => {},
  };
}

/** Microseconds of one verification, for each run, taking turns. */
async function measure(host, runs) {
  const seen = new Map(runs.map((run) => [run, []]));
  for (let warm = 0; warm < 6; warm++) for (const run of runs) await host.time(run, N);
  for (let round = 0; round < ROUNDS; round++) {
    for (const run of runs) {
      const [none, all] = [await host.time(run, 0), await host.time(run, N)];
      seen.get(run).push((all - none) / N);
    }
  }
  return Object.fromEntries([...seen].map(([run, times]) => [run, median(times)]));
}

/** Cold, repeated and refused tokens of one kind: `{ subject: { cold, repeat }, refused: { why } }`. */
async function verification(host, kind) {
  const key = makeKey(kind);
  const setup = {
    kind, alg: key.alg, jwks: { keys: [key.jwk] }, issuer: ISSUER, audience: AUDIENCE,
    pem: createPublicKey({ key: key.jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' }),
  };
  const fresh = Array.from({ length: DISTINCT }, (_, number) => makeToken(key, number));
  const runs = [];
  const add = async (run, ...rest) => { if (await host.set(run, ...rest)) runs.push(run); };
  for (const subject of Object.keys(host.subjects)) {
    await add(`cold ${subject}`, subject, setup, fresh, true);
    if (subject !== 'subtle') await add(`repeat ${subject}`, subject, setup, fresh.slice(0, 1), true);
  }
  for (const why of Object.keys(makeRefused(key, 0))) {
    const refused = Array.from({ length: 200 }, (_, number) => makeRefused(key, number)[why]);
    await add(`refused ${why}`, 'edgepass', setup, refused, false);
  }
  const times = await measure(host, runs);
  const grouped = { cold: {}, repeat: {}, refused: {} };
  for (const [run, time] of Object.entries(times)) {
    const [group, ...name] = run.split(' ');
    grouped[group][name.join(' ')] = time;
  }
  return grouped;
}

const results = {};
for (const [name, start] of Object.entries({ workerd: inWorkerd, node: inNode })) {
  const host = await start();
  results[name] = {};
  for (const kind of Object.keys(ALGORITHMS)) {
    note(`${name}: ${kind}`);
    results[name][kind] = await verification(host, kind);
  }
  await host.stop();
}
console.log(JSON.stringify({ rounds: ROUNDS, n: N, node: process.version, results }));
process.exit(0);
