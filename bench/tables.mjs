// Laying out the tables of a key: how long a slice blocks the isolate, and what all of it takes.

import edgepass from './subjects/edgepass.mjs';
import { inThisProcess, median, note, quick } from './measure.mjs';
import { prepare } from './prepare.mjs';
import { AUDIENCE, ISSUER, makeKey, makeToken } from './tokens.mjs';

const SAMPLES = quick ? 3 : 15;
/** Enough for a key to earn its tables. */
const TOKENS = 80;

/** `{ kind: { first_key, next_key } }`, each `{ slices, median, longest, total }` in microseconds. */
export default async function tables() {
  const library = await inThisProcess();
  const results = {};
  for (const kind of ['ES256', 'Ed25519']) {
    note(`Node: tables for ${kind}`);
    const keys = [makeKey(kind, 'first'), makeKey(kind, 'next')];
    const samples = [];
    for (let sample = 0; sample < SAMPLES; sample++) samples.push(await layOut(library, keys));
    const of = (at) => {
      const slices = samples.map((sample) => sample[at]);
      const totals = slices.map((times) => times.reduce((sum, time) => sum + time, 0));
      return {
        slices: slices[0].length, median: median(slices.flat()), total: median(totals),
        // Of each run the longest, and of these the middle: a lone longer one is the machine's.
        longest: median(slices.map((times) => Math.max(...times))),
      };
    };
    results[kind] = { first_key: of(0), next_key: of(1) };
  }
  return results;
}

/** The lengths of the slices for each key; the first one's include the curve's generator. */
async function layOut(library, keys) {
  const setup = { alg: keys[0].alg, jwks: { keys: keys.map((key) => key.jwk) }, issuer: ISSUER, audience: AUDIENCE };
  const run = await prepare(edgepass, setup, [], true, library);
  const all = [];
  for (const key of keys) {
    run.take(Array.from({ length: TOKENS }, (_, number) => makeToken(key, number)), true);
    all.push(await slices(() => run(TOKENS)));
  }
  return all;
}

/** Each slice follows a timer: how long until the next turn of the loop. */
async function slices(work) {
  const times = [];
  const real = globalThis.setTimeout;
  globalThis.pending = [];
  globalThis.setTimeout = (callback, ...rest) => real(() => {
    const started = process.hrtime.bigint();
    callback();
    setImmediate(() => times.push(Number(process.hrtime.bigint() - started) / 1000));
  }, ...rest);
  try {
    await work();
    await Promise.all(globalThis.pending.splice(0));
    await new Promise((resolve) => { setImmediate(resolve); });
  } finally {
    globalThis.setTimeout = real;
  }
  return times;
}
