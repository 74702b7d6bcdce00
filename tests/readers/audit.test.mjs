// The log of the audit trail, read by Sigstore's verifier: checkpoints (C2SP signed-note and
// tlog-checkpoint) and inclusion proofs (RFC 6962) of a real issuer.
//
// EDGEPASS_PROGRAM is the command `edgepass`.

import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Issuer } from '../stage/issuer.mjs';

const require = createRequire(import.meta.url);
const { verifyCheckpoint } = require('./node_modules/@sigstore/verify/dist/tlog/checkpoint.js');
const { verifyMerkleInclusion } = require('./node_modules/@sigstore/verify/dist/tlog/merkle.js');

/** More than one tile of hashes. */
const TOKENS = 300;

let issuer;
let log;
before(async () => {
  issuer = await Issuer.start({});
  for (let done = 0; done < TOKENS; done += 20) {
    await Promise.all(Array.from({ length: 20 }, () => issuer.token()));
  }
  for (;;) {
    const { entries, logged } = JSON.parse(await issuer.edgepass('audit', 'verify', '--json'));
    if (entries === logged) break;
    await sleep(100);
  }
  log = JSON.parse(await issuer.edgepass('audit', 'key', '--json'));
});
after(() => issuer?.remove());

/** The key in the form that Sigstore knows a log by. */
function trusted({ key }) {
  const [name, id, octets] = [...key.match(/^([^+]+)\+([0-9a-f]{8})\+(.+)$/)].slice(1);
  const x = Buffer.from(octets, 'base64').subarray(1).toString('base64url');
  const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  return { logID: Buffer.from(id, 'hex'), publicKey, baseURL: `https://${name}` };
}

/** An entry of the log in the form of Sigstore, from a proof in that of C2SP tlog-proof. */
function entry(proof) {
  const [head, ...rest] = proof.split('\n\n');
  const lines = head.split('\n');
  assert.equal(lines[0], 'c2sp.org/tlog-proof@v1');
  const extra = lines.find((line) => line.startsWith('extra ')).slice(6);
  const logIndex = lines.find((line) => line.startsWith('index ')).slice(6);
  const hashes = lines.filter((line) => /^[A-Za-z0-9+/]{43}=$/.test(line));
  return {
    canonicalizedBody: Buffer.from(extra, 'base64'),
    inclusionProof: {
      logIndex, hashes: hashes.map((hash) => Buffer.from(hash, 'base64')),
      checkpoint: { envelope: rest.join('\n\n') },
    },
  };
}

const proven = async (position) => entry(await issuer.edgepass('audit', 'prove', String(position)).then((text) => `${text.trimEnd()}\n`));

test('Sigstore verifies the checkpoint with the key that the issuer names', async () => {
  const checkpoint = verifyCheckpoint(await proven(1), [trusted(log)]);
  assert.equal(checkpoint.origin, log.origin);
  assert.ok(checkpoint.logSize >= TOKENS);
  const published = await fetch(`${log.url}/checkpoint`).then((response) => response.text());
  assert.equal((await proven(1)).inclusionProof.checkpoint.envelope, published);
  const forged = await proven(1);
  forged.inclusionProof.checkpoint.envelope = published.replace(/\n\d+\n/, '\n7\n');
  assert.throws(() => verifyCheckpoint(forged, [trusted(log)]), /invalid checkpoint signature/);
});

test('Sigstore verifies entries on both sides of the border of a tile, and no other text', async () => {
  const { logSize } = verifyCheckpoint(await proven(1), [trusted(log)]);
  for (const position of [1, 2, 255, 256, 257, 258, Number(logSize)]) {
    const found = await proven(position);
    const checkpoint = verifyCheckpoint(found, [trusted(log)]);
    verifyMerkleInclusion(found, checkpoint);
    assert.ok(JSON.parse(found.canonicalizedBody).act, `entry ${position}`);
    const changed = { ...found, canonicalizedBody: Buffer.from(String(found.canonicalizedBody).replace('{', '{ ')) };
    assert.throws(() => verifyMerkleInclusion(changed, checkpoint), /does not match/);
  }
});
