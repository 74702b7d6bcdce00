// Verifies an exported breach report with nothing but the file and a checkpoint: by the specifications, without any
// program of the project. RFC 8785 (digest), RFC 6962 §2.1.1 (inclusion), C2SP signed-note, tlog-checkpoint and
// tlog-proof.
//
//   node verify-breach.mjs EXPORT.json CHECKPOINT

import assert from 'node:assert/strict';
import { createHash, createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const sha256 = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const node = (left, right) => sha256(Buffer.of(1), left, right);

/** JSON as RFC 8785 writes it: the texts of the report are no names, and its numbers are whole. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(',')}}`;
}

/** The key of a note: name, four octets of its hash, and 0x01 before the 32 octets of Ed25519. */
function parseKey(text) {
  const [, name, id, octets] = /^(.*?)\+([0-9a-f]{8})\+(.*)$/.exec(text);
  const key = Buffer.from(octets, 'base64');
  assert.equal(sha256(`${name}\n`, key).subarray(0, 4).toString('hex'), id, 'the hash of the key');
  assert.equal(key[0], 1, 'an Ed25519 key');
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key.subarray(1)]);
  return { name, id, key: createPublicKey({ key: spki, format: 'der', type: 'spki' }) };
}

/** Size and root of a checkpoint that the key signed. */
function checkpoint(note, key) {
  const end = note.indexOf('\n\n');
  const text = note.slice(0, end + 1);
  const lines = note.slice(end + 2).split('\n').filter((line) => line.startsWith(`— ${key.name} `));
  const isSigned = lines.some((line) => {
    const octets = Buffer.from(line.slice(line.lastIndexOf(' ') + 1), 'base64');
    return octets.subarray(0, 4).toString('hex') === key.id
      && verify(null, Buffer.from(text), key.key, octets.subarray(4));
  });
  assert.ok(isSigned, 'the log signed the checkpoint');
  const [origin, size, root] = text.split('\n');
  assert.equal(origin, key.name);
  return { size: Number(size), root };
}

/** The root that follows from a leaf and its proof. */
function rootOf(leaf, index, size, hashes) {
  let [hash, at, last] = [sha256(Buffer.of(0), leaf), index, size - 1];
  for (const sibling of hashes) {
    assert.ok(last > 0, 'too many hashes');
    if (at % 2 === 1 || at === last) {
      hash = node(sibling, hash);
      while (at % 2 === 0 && at !== 0) { at /= 2; last = Math.floor(last / 2); }
    } else {
      hash = node(hash, sibling);
    }
    at = Math.floor(at / 2);
    last = Math.floor(last / 2);
  }
  assert.equal(last, 0, 'too few hashes');
  return hash.toString('base64');
}

/** The entry of a proof, and the checkpoint that it is proven by. */
function proven({ position, proof, private: personal }, key) {
  const [head, note] = [proof.slice(0, proof.indexOf('\n\n')), proof.slice(proof.indexOf('\n\n') + 2)];
  const [kind, extra, index, ...hashes] = head.split('\n');
  assert.equal(kind, 'c2sp.org/tlog-proof@v1');
  assert.equal(index, `index ${position - 1}`);
  const leaf = Buffer.from(extra.replace('extra ', ''), 'base64');
  const tree = checkpoint(note, key);
  assert.equal(rootOf(leaf, position - 1, tree.size, hashes.map((hash) => Buffer.from(hash, 'base64'))), tree.root, `entry ${position}`);
  const entry = JSON.parse(leaf);
  if (personal) {
    const hash = sha256(Buffer.from(personal.salt, 'base64url'), personal.values);
    assert.equal(hash.toString('base64url'), entry.private, `personal values of entry ${position}`);
  }
  return { entry, tree };
}

/** Throws unless the export is proven by the log of the checkpoint. Returns the report. */
export function verifyExport(exported, held) {
  const key = parseKey(exported.key);
  const outside = checkpoint(held, key);
  const digest = sha256(canonical(exported.report)).toString('hex');
  const binding = proven(exported.binding, key);
  assert.deepEqual(binding.tree, outside, 'the log is the one of the checkpoint');
  const { act, change, incident } = binding.entry;
  assert.deepEqual([act, change, incident, binding.entry.digest], ['incident_changed', 'exported', exported.report.incident, digest]);
  const entries = new Map();
  for (const one of exported.evidence) {
    const { entry, tree } = proven(one, key);
    assert.deepEqual(tree, outside);
    entries.set(one.position, entry);
  }
  const { acts, tokens } = exported.report.facts;
  for (const one of acts) {
    const entry = entries.get(one.position);
    assert.deepEqual([entry.act, entry.at_ms], [one.act, one.at_ms]);
  }
  for (const token of tokens) {
    const entry = entries.get(token.entry);
    assert.deepEqual([entry.act, entry.jwt_id, entry.scope, entry.expiration * 1000],
      ['token_issued', token.jwt_id, token.scope, token.expires_ms]);
  }
  return exported.report;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , file, held] = process.argv;
  const report = verifyExport(JSON.parse(readFileSync(file, 'utf8')), readFileSync(held, 'utf8'));
  console.log(`${report.incident}: proven`);
}
