// Verifies a number of different tokens, each equally often. Reads that number from stdin. Prints
// JSON: microseconds for one verification, and bytes of the module's memory at the end.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import edgepass from './subjects/edgepass.mjs';
import { inThisProcess, library, timed } from './measure.mjs';
import { prepare } from './prepare.mjs';
import { AUDIENCE, ISSUER, makeKey, makeToken } from './tokens.mjs';

const CHUNK = 10_000;
const distinct = JSON.parse(readFileSync(0, 'utf8'));
const key = makeKey('Ed25519');
const setup = { alg: key.alg, jwks: { keys: [key.jwk] }, issuer: ISSUER, audience: AUDIENCE };

globalThis.pending = [];
const run = await prepare(edgepass, setup, [], true, await inThisProcess());
// Warm-up: the key gets its tables, and the code is compiled.
run.take(Array.from({ length: 1000 }, (_, number) => makeToken(key, -1 - number)), true);
await run(3000);
await Promise.all(globalThis.pending.splice(0));

const total = Math.max(200_000, distinct);
const held = distinct <= CHUNK && Array.from({ length: distinct }, (_, number) => makeToken(key, number));
let took = 0;
for (let done = 0; done < total; done += CHUNK) {
  // Tokens are signed when they are needed, outside the measured time.
  run.take(held || Array.from({ length: CHUNK }, (_, at) => makeToken(key, (done + at) % distinct)), true);
  took += await timed(() => run(CHUNK));
  await new Promise((resolve) => { setTimeout(resolve, 0); });
}
const { shared_memory: memory } = await import(pathToFileURL(join(library, 'wasm/edgepass_npm.js')));
console.log(JSON.stringify({ time: took / total, memory: memory().buffer.byteLength }));
process.exit(0);
