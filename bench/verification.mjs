// Times new, repeated and refused tokens in workerd and in Node.js, with this library and others.

import { createPublicKey } from 'node:crypto';
import { inNode, inWorkerd, measure, note, quick } from './measure.mjs';
import { ALGORITHMS, AUDIENCE, ISSUER, makeKey, makeRefused, makeToken } from './tokens.mjs';

export const TURNS = quick ? { rounds: 7, n: 400 } : { rounds: 25, n: 1000 };
/** More tokens than the verifier remembers, so that each is new again at its next turn. */
const DISTINCT = 2500;

/**
 * Returns `{ workerd: { ES256: { cold: { subject }, repeat, refused: { why } } } }` in
 * microseconds.
 */
export default async function verification() {
  const results = {};
  for (const [name, start] of Object.entries({ workerd: inWorkerd, node: inNode })) {
    const host = await start();
    results[name] = {};
    for (const kind of Object.keys(ALGORITHMS)) {
      note(`${name}: ${kind}`);
      results[name][kind] = await ofKind(host, kind);
    }
    await host.stop();
  }
  return results;
}

async function ofKind(host, kind) {
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
    const run = `refused ${why}`;
    // The verifier first accepts other tokens, as before a flood of bad ones.
    await add(run, 'edgepass', setup, fresh.slice(0, 500), true);
    for (let warm = 0; warm < 3; warm++) await host.time(run, 200);
    const refused = Array.from({ length: 200 }, (_, number) => makeRefused(key, number)[why]);
    await host.take(run, refused, false);
  }
  const times = await measure(host, runs, TURNS);
  const grouped = { cold: {}, repeat: {}, refused: {} };
  for (const [run, time] of Object.entries(times)) {
    const [group, ...name] = run.split(' ');
    grouped[group][name.join(' ')] = time;
  }
  return grouped;
}
