// Measures building the tables of a key: how long one slice blocks the isolate, and all slices
// together.

import edgepass from './subjects/edgepass.mjs';
import { inThisProcess, median, note, quick } from './measure.mjs';
import { prepare } from './prepare.mjs';
import { AUDIENCE, ISSUER, makeKey, makeToken } from './tokens.mjs';

const SAMPLES = quick ? 3 : 15;
/** Signatures under each key. Tables are built after 64. */
const TOKENS = 80;

/**
 * Returns `{ kind: { first_key, next_key } }`, each `{ slices, median, longest, total }`: the
 * number of slices, and times in microseconds.
 */
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
        // The median of each run's longest slice, since a single longer one is the machine's noise.
        longest: median(slices.map((times) => Math.max(...times))),
      };
    };
    results[kind] = { first_key: of(0), next_key: of(1) };
  }
  return results;
}

/**
 * Returns the times of the slices for each key. Those of the first key include the curve's
 * generator.
 */
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

/** Times each slice. It runs in a timer: from its callback to the next turn of the event loop. */
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
