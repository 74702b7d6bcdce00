// Violations are planted in copies of a sound database: the checks must find each.

import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { checkDatabase, databaseFile } from './check.mjs';
import { folder } from './cleanup.mjs';
import { Broken, Ledger } from './ledger.mjs';
import { ask, newIssuer, revoke, stop } from './server.mjs';

const REMOVABLE = 'DROP TRIGGER audit_is_append_only_delete; DROP TRIGGER audit_is_append_only_update;';

/** Each violation with the words by which the checks report it. */
const planted = [
  ['DELETE FROM tokens WHERE seq = 3', /is not recorded|is in the audit trail only/],
  [`${REMOVABLE} DELETE FROM audit WHERE leaf ->> 'act' = 'token_issued'`, /has 0 entries token_issued/],
  [`${REMOVABLE} DELETE FROM audit WHERE seq = 8`, /the audit trail goes from seq/],
  [`CREATE TEMP TABLE twice AS SELECT * FROM audit WHERE leaf ->> 'act' = 'token_issued' LIMIT 1;
    UPDATE twice SET seq = (SELECT max(seq) + 1 FROM audit);
    INSERT INTO audit SELECT * FROM twice`, /has 2 entries token_issued/],
  ['UPDATE tokens SET status = 0', /the acknowledged revocation of .* is not recorded/],
  [`${REMOVABLE} DELETE FROM audit WHERE leaf ->> 'act' = 'token_revoked'`, /has 0 entries token_revoked/],
  ['UPDATE tokens SET list_index = (SELECT min(list_index) FROM tokens)', /is recorded \d+ times/],
  ["UPDATE signing_keys SET use = 'retired' WHERE use = 'standby'", /0 stand by/],
];

/** Applies a change to a copy of a database. Returns what the checks say about it, or `undefined`. */
async function saidAbout(change, file, ledger) {
  const copy = join(await folder('planted'), 'copy.db');
  await cp(file, copy);
  const database = new DatabaseSync(copy);
  database.exec(change);
  database.close();
  try {
    checkDatabase(copy, ledger);
    return undefined;
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    return error.message;
  }
}

async function control() {
  const [issuer, ledger] = [await newIssuer(), new Ledger()];
  for (let at = 0; at < 20; at += 1) {
    const { jti } = await ask(issuer, ledger);
    if (at % 5 === 0) await revoke(issuer, ledger, jti);
  }
  await stop(issuer);
  const file = databaseFile(issuer.folder);
  checkDatabase(file, ledger);
  for (const [change, words] of planted) {
    const said = await saidAbout(change, file, ledger);
    if (!words.test(said ?? '')) throw new Broken(`the checks say ${said ?? 'nothing'} about: ${change}`);
  }
  return { runs: planted.length, seen: 'each is found' };
}

export const faults = [
  {
    name: 'control', fault: 'none: violations planted in the database', checked: 'the checks find them',
    run: control,
  },
];
