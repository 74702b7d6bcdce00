// The audit log at size: how fast entries are hashed into it, and how long a proof and a check take.
// Prints the results as JSON. The number of entries is the argument.

import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Issuer } from '../../tests/stage/issuer.mjs';

const entries = Number(process.argv[2]);
const run = promisify(execFile);
const folder = await mkdtemp(join(process.env.TMPDIR ?? tmpdir(), 'edgepass-bench-'));
const tell = (text) => process.stderr.write(`  ${text}\n`);
const timed = async (work) => {
  const from = performance.now();
  await work();
  return performance.now() - from;
};
const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
let issuer;
try {
  issuer = await Issuer.start({ folder });
  issuer.kill();
  await issuer.ended;
  tell(`write ${entries} entries ...`);
  const database = new DatabaseSync(join(folder, 'data/edgepass.db'));
  database.exec('PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF');
  // As long as the entry of an issued token. Its personal values count as erased.
  database.prepare(`INSERT INTO audit (at_ms, leaf)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    SELECT 1700000000000 + i, json_object('act', 'token_issued', 'at_ms', 1700000000000 + i, 'audience', 'https://api.example',
      'client_id', 'example-service', 'expiration', 1700000600, 'jwt_id', hex(randomblob(11)), 'policy', 1,
      'private', hex(randomblob(21)), 'role', 'invoice-reader', 'scope', 'invoices:read invoices:write') FROM n`).run(entries);
  database.exec('PRAGMA journal_mode = WAL');
  const logged = () => Number(database.prepare('SELECT coalesce(max(size), 0) AS size FROM log').get().size);
  const all = () => Number(database.prepare('SELECT max(seq) AS last FROM audit').get().last);
  tell('hash them into the log ...');
  const before = logged();
  const seconds = await timed(async () => {
    issuer.spawn();
    while (logged() < all()) await sleep(20);
  }) / 1000;
  const hashed = all() - before;
  issuer.kill();
  await issuer.ended;
  const command = (...argv) => timed(() => run(issuer.program, ['audit', ...argv], { cwd: folder, maxBuffer: 1 << 26 }));
  tell('prove entries ...');
  const [proofs, starts] = [[], []];
  for (let done = 0; done < 100; done += 1) {
    proofs.push(await command('prove', String(1 + Math.floor(Math.random() * all()))));
    starts.push(await command('key'));
  }
  tell('check the whole trail ...');
  const check = await command('verify');
  const { size } = await stat(join(folder, 'data/edgepass.db'));
  const results = {
    entries: all(), entries_hashed_per_second: Math.round(hashed / seconds),
    // Both programs start and open the database; one of them also makes a proof.
    proof_ms: Math.max(0, Math.round((median(proofs) - median(starts)) * 100) / 100),
    check_s: Math.round(check / 100) / 10, database_mb: Math.round(size / 1e6),
  };
  console.log(JSON.stringify({ results }));
} finally {
  await issuer?.remove();
  await rm(folder, { recursive: true, force: true });
}
