// Measures how time and memory grow with token length, number of keys and number of different
// tokens.

import { inChild, inNode, measure, note, quick } from './measure.mjs';
import { AUDIENCE, ISSUER, makeKey, makeToken } from './tokens.mjs';

const TURNS = quick ? { rounds: 5, n: 300 } : { rounds: 15, n: 1000 };
const BYTES = [512, 1024, 2048, 4096, 8192, 16_384];
const KEYS = [1, 10, 100];
const DISTINCT = quick ? [1, 100, 10_000] : [1, 100, 10_000, 1_000_000];

/**
 * Returns `{ length, keys, distinct }`: microseconds for one token; with `distinct`, memory as
 * well.
 */
export default async function growth() {
  return { length: await byLength(), keys: await byKeys(), distinct: await byDistinct() };
}

const setupOf = (keys) => ({
  kind: keys[0].kind, alg: keys[0].alg, jwks: { keys: keys.map((key) => key.jwk) }, issuer: ISSUER,
  audience: AUDIENCE,
});

async function byLength() {
  note('Node: tokens of 0.5 to 16 KB');
  const key = makeKey('ES256');
  return compare(BYTES, () => setupOf([key]), (bytes, number) => padded(key, number, bytes));
}

async function byKeys() {
  note('Node: 1 to 100 keys');
  const keys = Array.from({ length: 100 }, (_, number) => makeKey('ES256', `key-${number}`));
  return compare(KEYS, (count) => setupOf(keys.slice(0, count)), (count, number) => makeToken(keys[count - 1], number));
}

/** Times the three subjects on new tokens, for each size. */
async function compare(sizes, setup, token) {
  const host = await inNode();
  const runs = [];
  for (const size of sizes) {
    const texts = Array.from({ length: 2500 }, (_, number) => token(size, number));
    for (const subject of ['edgepass', 'jose', 'subtle']) {
      // `subtle` takes one key: the last, which signs the tokens.
      const own = subject === 'subtle' ? { ...setup(size), jwks: { keys: setup(size).jwks.keys.slice(-1) } } : setup(size);
      await host.set(`${size} ${subject}`, subject, own, texts, true);
      runs.push(`${size} ${subject}`);
    }
  }
  const times = await measure(host, runs, TURNS);
  const of = (size) => ({
    edgepass: times[`${size} edgepass`], jose: times[`${size} jose`], subtle: times[`${size} subtle`],
  });
  return Object.fromEntries(sizes.map((size) => [size, of(size)]));
}

/** Returns a token of `bytes` characters or up to two fewer; the shortest one if that is longer. */
function padded(key, number, bytes) {
  const claims = { tenant: undefined, agreement: undefined, region: undefined, purpose: undefined, status: undefined };
  const bare = makeToken(key, number, claims).length;
  const room = Math.floor((bytes - bare) * 3 / 4) - 9;
  return room > 0 ? makeToken(key, number, { ...claims, pad: 'x'.repeat(room) }) : makeToken(key, number, claims);
}

/** Runs each number in a process of its own, so that its memory is measured alone. */
async function byDistinct() {
  const results = {};
  for (const distinct of DISTINCT) {
    note(`Node: ${distinct} different tokens`);
    results[distinct] = await inChild('distinct.mjs', distinct);
  }
  return results;
}
