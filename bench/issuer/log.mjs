// The audit log at size: how fast entries are hashed into it, and how long a proof and a check take.
// Prints the results as JSON. The number of entries is the argument.

import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
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
/** Tokens with records and uses. */
const USED = Math.min(100_000, entries / 10);

/** `jti` of a token that is issued now. */
async function recorded(issuer) {
  const { stdout } = await run(issuer.program, ['issue', '--role', 'invoice-reader', '--json'], { cwd: issuer.folder });
  return [JSON.parse(stdout).jti];
}

/** Runs a command. Returns its output, how long it took, and the most memory that it had. */
async function measured(issuer, argv) {
  const from = performance.now();
  const child = spawn(issuer.program, argv, { cwd: issuer.folder, stdio: ['ignore', 'pipe', 'inherit'] });
  let [stdout, megabytes] = ['', 0];
  child.stdout.on('data', (part) => { stdout += part; });
  const watch = setInterval(async () => {
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
    megabytes = Math.max(megabytes, Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1000));
  }, 50);
  const code = await new Promise((resolve) => { child.once('close', resolve); });
  clearInterval(watch);
  if (code !== 0) throw new Error(`exit code ${code}`);
  return { stdout, megabytes, seconds: Math.round((performance.now() - from) / 100) / 10 };
}

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
  const last = Number(database.prepare('SELECT max(seq) AS last FROM audit').get().last);
  const erased = { act: 'personal_erased', at_ms: 1700000000000, positions: [[last - entries + 1, last + 1]], private: '' };
  database.prepare('INSERT INTO audit (at_ms, leaf) VALUES (1700000000000, ?)').run(JSON.stringify(erased));
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
  // An incident about a client whose tokens are all in the trail: every entry is read. 100,000 tokens have records,
  // each of 1,000 counted uses.
  tell('count uses ...');
  const [record] = await recorded(issuer);
  const columns = database.prepare("SELECT group_concat(name, ', ') AS names FROM pragma_table_info('tokens')").get().names;
  const picked = columns.split(', ').map((name) => ({
    seq: 'n.i + 1000', jwt_id: "json_extract(a.leaf, '$.jwt_id')", list_counter: 'n.i + 1000', list_index: 'n.i + 1000', issued_at: '1700000000', expiration: '1700000600',
  })[name] ?? `t.${name}`).join(', ');
  database.exec(`INSERT INTO tokens (${columns})
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${USED})
    SELECT ${picked} FROM n JOIN audit a ON a.seq = n.i + 100 JOIN tokens t ON t.jwt_id = '${record}'`);
  database.exec(`INSERT INTO token_uses (seq, accepted, refused, first_ms, last_ms, last_refused_ms, detail)
    SELECT seq, 1000, 0, 1700000000000, 1700000500000, NULL, '{}' FROM tokens WHERE seq > 1000`);
  tell('report a breach ...');
  const breach = await measured(issuer, ['breach', 'open', '--client', 'example-service', '--reason', 'a bench', '--json']);
  const { facts } = JSON.parse(breach.stdout);
  if (facts.count < entries || facts.uses.accepted < USED * 990) throw new Error(`${facts.count} tokens, ${facts.uses.accepted} uses`);
  const { size } = await stat(join(folder, 'data/edgepass.db'));
  const results = {
    entries: all(), entries_hashed_per_second: Math.round(hashed / seconds),
    // Both programs start and open the database; one of them also makes a proof.
    proof_ms: Math.max(0, Math.round((median(proofs) - median(starts)) * 100) / 100),
    check_s: Math.round(check / 100) / 10, breach_s: breach.seconds, breach_mb: breach.megabytes, database_mb: Math.round(size / 1e6),
  };
  console.log(JSON.stringify({ results }));
} finally {
  await issuer?.remove();
  await rm(folder, { recursive: true, force: true });
}
