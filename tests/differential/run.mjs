// Judges generated tokens with this verifier, native and in Wasm, with `jose` and with `fast-jwt`.
// Every disagreement is a bug or has a known reason.
//
//     node tests/differential/run.mjs COUNT SEED
//
// EDGEPASS_PROGRAM is the program, EDGEPASS_INSTALLED a folder with the installed package.

import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { fastJwt, jose } from './peers.mjs';
import { REASONS } from './reasons.mjs';
import { ALGORITHMS, EXPECTED, JWKS, NOW, token } from './tokens.mjs';

const [count, firstSeed] = process.argv.slice(2).map(Number);
const CHUNK = 2000;

const { verifyBatch } = await import(pathToFileURL(
  createRequire(join(process.env.EDGEPASS_INSTALLED, 'x.js')).resolve('edgepass'),
));
const line = (id, text) => ({
  id, token: text, jwks: JWKS, now: NOW,
  policy: { ...EXPECTED, algorithms: ALGORITHMS, leeway: '0s' },
});

const program = spawn(process.env.EDGEPASS_PROGRAM, ['verify', '--batch', '-'], {
  stdio: ['pipe', 'pipe', 'ignore'],
});
const answers = createInterface({ input: program.stdout })[Symbol.asyncIterator]();

const tally = { accepted: 0, rejected: 0 };
const excused = new Map();
const problems = [];
for (let start = 0; start < count; start += CHUNK) {
  const own = Array.from({ length: Math.min(CHUNK, count - start) }, (_, at) => {
    const seed = firstSeed + start + at;
    return { seed, ...token(seed) };
  });
  const lines = own.map(({ seed, text }) => line(seed, text));
  // The program and this process judge the same chunk at once.
  const written = own.length;
  program.stdin.write(lines.map((each) => `${JSON.stringify(each)}\n`).join(''));
  const wasm = await verifyBatch(lines);
  const peers = [];
  for (const { text } of own) peers.push({ jose: await jose(text), 'fast-jwt': await fastJwt(text) });
  for (let at = 0; at < written; at++) {
    const native = (await answers.next()).value;
    compare(own[at], native, wasm[at], peers[at]);
  }
  if ((start / CHUNK) % 5 === 4) console.log(`${start + written} of ${count} tokens`);
}
program.stdin.end();

function compare({ seed, text, done }, native, wasm, peers) {
  if (native !== `${wasm}`) problems.push(`seed ${seed}: natively ${native}, in Wasm ${wasm}`);
  const { verdict, code } = JSON.parse(native);
  if (verdict === 'error') problems.push(`seed ${seed}: ${native}`);
  tally[verdict]++;
  for (const [peer, accepts] of Object.entries(peers)) {
    if (accepts === (verdict === 'accepted')) continue;
    const found = { peer, accepts, code, done, ...decoded(text) };
    const reason = REASONS.find(({ is }) => is(found));
    if (reason) excused.set(`${peer}: ${reason.why}`, (excused.get(`${peer}: ${reason.why}`) ?? 0) + 1);
    else problems.push(`seed ${seed}: ${peer} ${accepts ? 'accepts' : 'refuses'}, ours says ${code} (${done}) ${text}`);
  }
}

/** Decodes header and claims with `JSON.parse`; `null` for one that it cannot read. */
function decoded(text) {
  const read = (part) => {
    try {
      return JSON.parse(Buffer.from(part ?? '', 'base64url').toString());
    } catch {
      return null;
    }
  };
  const [header, claims] = text.split('.');
  return { text, header: read(header), claims: read(claims) };
}

console.log(`${count} tokens from seed ${firstSeed}: ${tally.accepted} accepted, ${tally.rejected} refused`);
for (const [why, times] of [...excused].sort()) console.log(`  ${times} x ${why}`);
if (problems.length) {
  console.log(`${problems.length} disagreements without a reason, among them:`);
  for (const problem of problems.slice(0, 20)) console.log(`  ${problem.slice(0, 1500)}`);
}
console.log(`differential: ${problems.length ? 'FAILED' : 'ok'}`);
process.exit(problems.length ? 1 : 0);
