// The invariants, checked from outside: Node.js reads the database file and the public documents.

import { createPublicKey, verify } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout } from 'node:timers/promises';
import { inflateSync } from 'node:zlib';
import { claims } from '../stage/issuer.mjs';
import { Broken } from './ledger.mjs';

/** The file that holds an issuer's database. */
export const databaseFile = (folder) => join(folder, 'data', 'edgepass.db');

/** Checks database and documents of a ready issuer against a ledger. Throws [`Broken`]. */
export async function check(issuer, ledger) {
  checkRows(await rowsOf(issuer), ledger);
  await checkKeySet(issuer, ledger);
  await checkLists(issuer, ledger);
  await checkTrail(issuer);
}

/** Checks the audit trail against its log, which a new issuer begins within seconds. Throws [`Broken`]. */
export async function checkTrail(issuer) {
  for (const from = Date.now(); ; await setTimeout(100)) {
    const refused = await issuer.edgepass('audit', 'verify').then(() => undefined, (error) => error);
    if (!refused) return;
    const isNew = /there is no log yet/.test(refused.stderr) && Date.now() - from < 5_000;
    if (!isNew) throw new Broken(`audit verify: exit code ${refused.code}: ${refused.stderr}`);
  }
}

/**
 * Checks that a database file is sound, that its audit trail has no gap, and that it holds everything
 * acknowledged exactly once.
 */
export const checkDatabase = (file, ledger) => checkRows(readDatabase(file), ledger);

/** As [`checkDatabase`], with the rows of a database. */
export function checkRows({ integrity, foreign, tokens, entries, places, keys }, ledger) {
  const found = [];
  if (integrity.join() !== 'ok') found.push(`integrity_check: ${integrity.slice(0, 3).join('; ')}`);
  if (foreign > 0) found.push(`foreign_key_check finds ${foreign} rows`);
  entries.forEach(({ seq }, at) => {
    const before = entries[at - 1]?.seq ?? 0;
    if (seq !== before + 1) found.push(`the audit trail goes from seq ${before} to ${seq}`);
  });
  const named = { token_issued: new Map(), token_revoked: new Map() };
  for (const { act, jti } of entries) named[act]?.set(jti, (named[act].get(jti) ?? 0) + 1);
  const records = new Map(tokens.map((token) => [token.jwt_id, token]));
  const once = (act, jti) => {
    const times = named[act].get(jti) ?? 0;
    if (times !== 1) found.push(`${jti} has ${times} entries ${act}`);
  };
  for (const { jwt_id: jti, status } of tokens) {
    once('token_issued', jti);
    if (status !== 0) once('token_revoked', jti);
  }
  for (const jti of named.token_issued.keys()) {
    if (!records.has(jti)) found.push(`${jti} is in the audit trail only`);
  }
  for (const { list_id: list, list_index: index, times } of places) {
    found.push(`index ${list}#${index} is recorded ${times} times`);
  }
  for (const { jti, uri, index } of ledger.tokens.values()) {
    const record = records.get(jti);
    const isThere = record && uri.endsWith(`/${record.list_id}`) && record.list_index === index;
    if (!record) found.push(`the received token ${jti} is not recorded`);
    else if (!isThere) found.push(`${jti} is recorded at another index`);
  }
  for (const jti of ledger.revoked) {
    if (records.get(jti)?.status !== 1) found.push(`the acknowledged revocation of ${jti} is not recorded`);
  }
  const count = (use) => keys.filter((key) => key.use === use).length;
  const [signing, standby] = [count('signing'), count('standby')];
  if (signing !== 1 || standby !== 1) found.push(`${signing} keys sign, ${standby} stand by`);
  const rotations = entries.filter(({ act }) => act === 'key_rotated').length;
  if (keys.length !== 2 + rotations) found.push(`${keys.length} keys after ${rotations} rotations`);
  refuse(found);
}

/** The rows of an issuer's database: by its own `rows()` if it has that, else from the file. */
const rowsOf = async (issuer) => issuer.rows?.() ?? readDatabase(databaseFile(issuer.folder));

/** The rows of a database file that the checks need. Throws [`Broken`] if they cannot be read. */
function readDatabase(file) {
  let database;
  try {
    database = new DatabaseSync(file, { readOnly: true, timeout: 5_000 });
    const all = (text) => database.prepare(text).all();
    return {
      integrity: all('PRAGMA integrity_check').map(({ integrity_check: line }) => line),
      foreign: all('PRAGMA foreign_key_check').length,
      tokens: all('SELECT jwt_id, list_id, list_index, status FROM tokens'),
      entries: all("SELECT seq, leaf ->> 'act' AS act, leaf ->> 'jwt_id' AS jti FROM audit ORDER BY seq"),
      places: all('SELECT list_id, list_index, count(*) AS times FROM tokens GROUP BY 1, 2 HAVING times > 1'),
      keys: all('SELECT key_id, use FROM signing_keys'),
    };
  } catch (error) {
    // Any other error is a mistake of the test, such as an unknown column.
    if (!/malformed|not a database|disk I\/O error/.test(error.message)) throw error;
    throw new Broken(`the database cannot be read: ${error.message}`);
  } finally {
    database?.close();
  }
}

function refuse(found) {
  if (found.length === 0) return;
  throw new Broken(found.slice(0, 5).join('\n') + (found.length > 5 ? `\nand ${found.length - 5} more` : ''));
}

/** Checks that the JWK Set is no older than before and has the key of every unexpired token. */
export async function checkKeySet(issuer, ledger) {
  const set = await (await get(`${issuer.own}/.well-known/jwks.json`)).json();
  ledger.addKeySet(set);
  const published = new Set(set.keys.map(({ kid }) => kid));
  for (const { jti, keyId, expiration } of ledger.tokens.values()) {
    const isLive = expiration * 1000 > Date.now();
    if (isLive && !published.has(keyId)) throw new Broken(`the key of ${jti} is not in the JWK Set`);
  }
  return set;
}

/** Checks the served lists, then waits up to 5 s until they say exactly what the database says. */
export async function checkLists(issuer, ledger) {
  for (const from = Date.now(); ; await setTimeout(50)) {
    const different = compare(await rowsOf(issuer), await servedLists(issuer, ledger));
    if (!different) return;
    if (Date.now() - from > 5_000) throw new Broken(different);
  }
}

/**
 * Checks every served list: signature, `sub`, `number`, `iat`, `exp`, each acknowledged revocation.
 * Returns the revoked indices by the list's URI.
 */
export async function servedLists(issuer, ledger) {
  const { keys } = await (await get(`${issuer.own}/.well-known/jwks.json`)).json();
  const { status_lists: named } = await (await get(`${issuer.own}/status-list-aggregation`)).json();
  const live = [...ledger.tokens.values()].filter(({ expiration }) => expiration * 1000 > Date.now());
  const lists = new Map();
  for (const uri of new Set([...named, ...live.map(({ uri: own }) => own)])) {
    const text = await (await get(issuer.own + new URL(uri).pathname)).text();
    verifySignature(uri, text, keys);
    ledger.addEdition(uri, text);
    lists.set(uri, revokedIn(text));
  }
  for (const jti of ledger.revoked) {
    const { uri, index } = ledger.tokens.get(jti);
    if (lists.has(uri) && !lists.get(uri).has(index)) {
      const { number } = ledger.lists.get(uri);
      throw new Broken(`number ${number} of ${uri} lacks the acknowledged revocation of ${jti}`);
    }
  }
  return lists;
}

/** Returns how the lists differ from the database, or `undefined`. */
function compare({ tokens }, lists) {
  const recorded = new Map();
  for (const { list_id: list, list_index: index, status } of tokens) {
    if (status === 1) recorded.set(list, (recorded.get(list) ?? new Set()).add(index));
  }
  for (const [uri, published] of lists) {
    const own = recorded.get(uri.split('/').at(-1)) ?? new Set();
    if (own.symmetricDifference(published).size > 0) {
      return `${uri} shows ${published.size} revocations, the database has ${own.size}`;
    }
  }
  return undefined;
}

/** The indices that a list of one bit per status shows as revoked. */
export function revokedIn(text) {
  const { bits, lst } = claims(text).status_list;
  if (bits !== 1) throw new Broken(`a list has ${bits} bits per status`);
  const revoked = new Set();
  inflateSync(Buffer.from(lst, 'base64url')).forEach((byte, at) => {
    for (let bit = 0; byte >> bit > 0; bit += 1) if ((byte >> bit) & 1) revoked.add(at * 8 + bit);
  });
  return revoked;
}

function verifySignature(uri, text, keys) {
  const [header, payload, signature] = text.split('.');
  const { kid } = JSON.parse(Buffer.from(header, 'base64url'));
  const jwk = keys.find((key) => key.kid === kid);
  if (!jwk) throw new Broken(`the key of the served list ${uri} is not in the JWK Set`);
  const key = createPublicKey({ key: jwk, format: 'jwk' });
  if (!verify(null, Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'))) {
    throw new Broken(`the signature of ${uri} is wrong`);
  }
}

async function get(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Broken(`${new URL(url).pathname} answers ${response.status}`);
  return response;
}
