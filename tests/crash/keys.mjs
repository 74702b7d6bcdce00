// The file of the master key is missing, damaged, readable by others or of another issuer.

import { chmod, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { check, databaseFile } from './check.mjs';
import { Broken, Ledger } from './ledger.mjs';
import { ask, newIssuer, restart, stop, tryToServe } from './server.mjs';

/** The exit code of a mistake in the configuration: see README. */
const WRONG = 2;

/** What is wrong with the file, and how it becomes so. */
const DAMAGES = {
  missing: rm,
  empty: (file) => truncate(file, 0),
  truncated: (file) => truncate(file, 20),
  'readable by all': (file) => chmod(file, 0o644),
  'that of another issuer': async (file) => {
    const text = await readFile(file, 'utf8');
    const own = /[A-Za-z0-9_-]{43}/.exec(text)[0];
    await writeFile(file, text.replace(own, randomBytes(32).toString('base64url')));
  },
};

/** The rows of all keys, as text. */
function storedKeys(issuer) {
  const database = new DatabaseSync(databaseFile(issuer.folder), { readOnly: true });
  const rows = database.prepare('SELECT key_id, use, hex(sealed) FROM signing_keys ORDER BY 1').all();
  database.close();
  return JSON.stringify(rows);
}

async function damagedKey() {
  const [issuer, ledger, seen] = [await newIssuer(), new Ledger(), []];
  await ask(issuer, ledger);
  const file = join(issuer.folder, 'master.key');
  const text = await readFile(file, 'utf8');
  for (const [what, damage] of Object.entries(DAMAGES)) {
    await stop(issuer);
    const before = storedKeys(issuer);
    await damage(file);
    const damaged = existsSync(file) ? await readFile(file, 'utf8') : undefined;
    const { state, code, said } = await tryToServe(issuer);
    const broken = (text) => new Broken(`with a key file ${what}, ${text}`);
    const isRefused = state === 'ended' && code === WRONG;
    if (!isRefused) throw broken(`\`serve\` is ${state} (exit code ${code}): ${said}`);
    if (said.split('\n').length !== 1 || !said.includes('master')) throw broken(`\`serve\` says: ${said}`);
    if (said.includes(text.trim())) throw broken('the error shows the key');
    const after = existsSync(file) ? await readFile(file, 'utf8') : undefined;
    if (after !== damaged) throw broken('the file was written');
    if (storedKeys(issuer) !== before) throw broken('the stored keys have changed');
    await writeFile(file, text);
    await chmod(file, 0o600);
    await restart(issuer);
    await check(issuer, ledger);
    seen.push(what);
  }
  return { runs: seen.length, seen: seen.join(', ') };
}

export const faults = [
  {
    name: 'key-file', fault: 'the file of the master key is damaged',
    checked: 'one line, exit code 2, no key changed', run: damagedKey,
  },
];
