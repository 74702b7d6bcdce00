// Leaked tokens and secrets in a repository, logs, archives and reports: all are found, nothing else, and revoked.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { guards, issuerBehindProxy } from '../faults/fleet.mjs';

const run = promisify(execFile);
const b64 = (text) => Buffer.from(text).toString('base64');

/** Runs a scan. Returns its exit code and its finds. */
async function scan(issuer, ...options) {
  const argv = ['leaks', 'scan', '--json', ...options];
  const { code, stdout } = await run(issuer.program, argv, { cwd: issuer.folder, env: issuer.env, maxBuffer: 1 << 26 })
    .then(({ stdout: text }) => ({ code: 0, stdout: text }), (error) => error);
  return { code, finds: stdout.trim().split('\n').filter(Boolean).map((line) => JSON.parse(line)) };
}

async function repository(t) {
  const folder = await mkdtemp(join(tmpdir(), 'edgepass-leaks-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const git = (...argv) => run('git', [
    '-c', 'user.name=A', '-c', 'user.email=A@example.com', '-c', 'commit.gpgsign=false', ...argv,
  ], { cwd: folder, env: { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null' } });
  await git('init', '--quiet', '--initial-branch', 'main');
  return { folder, git };
}

/** Ways in which people leak a text. */
const WAYS = [
  (text) => `TOKEN=${text}\n`,
  (text) => `curl -H "Authorization: Bearer ${text}" https://api.example/invoices\n`,
  (text) => JSON.stringify({ config: { access_token: text, expires_in: 600 } }, null, 2),
  (text) => `token: >-\n${text.match(/.{1,64}/g).map((line) => `  ${line}`).join('\n')}\n`,
  (text) => `const token = "${text.match(/.{1,70}/g).join('" +\n  "')}";\n`,
  (text) => `data:\n  token: ${b64(text)}\n`,
  (text) => `data:\n  config: ${b64(JSON.stringify({ token: text })).match(/.{1,76}/g).join('\n    ')}\n`,
  (text) => `https://app.example/#access_token=${encodeURIComponent(text).replaceAll('.', '%2E')}&x=1\n`,
  (text) => JSON.stringify({ log: `sent\n${text.match(/.{1,80}/g).join('\n')}\nreceived` }),
  (text) => `authorization: Basic ${b64(`client:${text}`)}\r\n`,
];

/** Texts that look like tokens and secrets of this issuer, and are none. */
function lookAlikes(count, issuer) {
  const { privateKey } = generateKeyPairSync('ed25519');
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return Array.from({ length: count }, (_, at) => {
    if (at % 3 === 0) return `edgepass_cs_${createHash('sha256').update(`${at}`).digest('base64url')}000000`;
    const header = part({ alg: 'EdDSA', kid: `edgepass-${at}`, typ: 'at+jwt' });
    const input = `${header}.${part({ iss: issuer, jti: `${at}`, exp: 4e9 })}`;
    return `${input}.${sign(null, Buffer.from(input), privateKey).toString('base64url')}`;
  });
}

test('fifty planted secrets among ten thousand look-alikes: all are found, and nothing else', async (t) => {
  const issuer = await issuerBehindProxy(t);
  const { folder, git } = await repository(t);
  const planted = new Map();
  for (let at = 0; at < 40; at += 1) {
    const { token, jti } = await issuer.token();
    planted.set(jti, token);
  }
  const files = [...planted].map(([, token], at) => [`src/file-${at}.txt`, WAYS[at % WAYS.length](token)]);
  for (let at = 0; at < 10; at += 1) files.push([`conf/secret-${at}.env`, WAYS[at % WAYS.length](issuer.secret)]);
  await mkdir(join(folder, 'src'));
  await mkdir(join(folder, 'conf'));
  await mkdir(join(folder, 'noise'));
  const noise = lookAlikes(10_000, issuer.url);
  for (let at = 0; at < 100; at += 1) {
    await writeFile(join(folder, 'noise', `${at}.txt`), noise.slice(at * 100, at * 100 + 100).map((text, line) => WAYS[line % WAYS.length](text)).join('\n'));
  }
  for (const [name, text] of files) await writeFile(join(folder, name), `first line\n${text}`);
  const { code, finds } = await scan(issuer, folder);
  assert.equal(code, 1);
  assert.equal(finds.length, 50);
  assert.deepEqual(new Set(finds.filter(({ kind }) => kind === 'token').map(({ id }) => id)), new Set(planted.keys()));
  assert.ok(finds.filter(({ kind }) => kind === 'client secret').every(({ id, state }) => id === 'example-service' && state === 'live'));
  assert.ok(finds.every(({ line }) => line >= 2), 'each with its line');
  // In the history, although the files are gone: on another branch, deleted, packed.
  await git('add', '.');
  await git('commit', '--quiet', '-m', 'leak');
  await git('rm', '--quiet', '-r', 'src', 'conf');
  await git('commit', '--quiet', '-m', 'undo');
  await git('checkout', '--quiet', '-b', 'other');
  const side = await issuer.token();
  await writeFile(join(folder, 'side.txt'), WAYS[3](side.token));
  await git('add', '.');
  await git('commit', '--quiet', '-m', `a message with a token: ${(await issuer.token()).token}`);
  await git('checkout', '--quiet', 'main');
  await git('gc', '--quiet');
  const { stdout: first } = await git('rev-list', '--max-parents=0', 'HEAD');
  const history = await scan(issuer, '--git', folder);
  assert.equal(history.finds.length, 52);
  const deleted = history.finds.filter(({ file }) => file.startsWith('src/'));
  assert.equal(deleted.length, 40);
  assert.ok(deleted.every(({ commit }) => commit === first.trim()));
  const author = createHash('sha256').update('a@example.com').digest('hex').slice(0, 16);
  assert.ok(deleted.every((find) => find.author === author), 'never the address itself');
  assert.equal((await scan(issuer, '--git', folder, '--since', '1h')).finds.length, 52);
  // Nothing of a token is printed.
  const said = await run(issuer.program, ['leaks', 'scan', '--git', folder], { cwd: issuer.folder, env: issuer.env })
    .catch(({ stdout, stderr }) => stdout + stderr);
  for (const token of planted.values()) assert.ok(!said.includes(token.slice(-40)));
  // Without the database, by the published keys; the issuer does not say what is live.
  const published = await scan({ ...issuer, folder: tmpdir() }, '--issuer', issuer.url, '--git', folder);
  assert.equal(published.finds.length, 42, 'no secrets: nobody publishes their hashes');
  const sarif = await run(issuer.program, ['leaks', 'scan', folder, '--git', folder, '--sarif'], { cwd: issuer.folder, env: issuer.env, maxBuffer: 1 << 26 })
    .catch((error) => error);
  const { version, runs: [{ results }] } = JSON.parse(sarif.stdout);
  assert.deepEqual([version, results.length], ['2.1.0', 52]);
});

/** A block of docs/leaks.md, for this issuer. */
async function documented(issuer, begin) {
  const text = await readFile(new URL('../../docs/leaks.md', import.meta.url), 'utf8');
  const block = text.split('```').find((part) => part.includes(begin));
  return block.slice(block.indexOf('\n') + 1).replaceAll('https://auth.example', issuer.url);
}

test('the step of GitHub Actions and the hook of docs/leaks.md', async (t) => {
  const issuer = await issuerBehindProxy(t);
  const { folder, git } = await repository(t);
  const env = { ...issuer.env, PATH: `${dirname(issuer.program)}:${process.env.PATH}`, GIT_CONFIG_GLOBAL: '/dev/null' };
  const hook = join(folder, '.git/hooks/pre-commit');
  await writeFile(hook, await documented(issuer, '#!/bin/sh'), { mode: 0o755 });
  const commit = async () => {
    await git('add', '.');
    return run('git', ['-c', 'user.name=A', '-c', 'user.email=a@example.com', 'commit', '--quiet', '-m', 'm'], { cwd: folder, env })
      .then(() => 0, ({ code }) => code);
  };
  const [step] = (await documented(issuer, 'actions/checkout')).match(/edgepass leaks scan .*/);
  const scanned = () => run('sh', ['-ec', step], { cwd: folder, env }).then(() => 0, ({ code }) => code);
  await writeFile(join(folder, 'noise.txt'), lookAlikes(100, issuer.url).join('\n'));
  assert.equal(await commit(), 0);
  assert.equal(await scanned(), 0);
  const { token } = await issuer.token();
  for (const [at, way] of WAYS.entries()) {
    await writeFile(join(folder, 'leak.txt'), way(token));
    assert.equal(await commit(), 1, `way ${at}`);
  }
  await git('commit', '--quiet', '--no-verify', '-m', 'leak');
  assert.equal(await scanned(), 1);
  const { runs: [{ results }] } = JSON.parse(await readFile(join(folder, 'leaks.sarif'), 'utf8'));
  assert.equal(results.length, WAYS.length + 1, 'the file, and all that was ever added');
  // Taking it out is no new leak.
  await rm(join(folder, 'leak.txt'));
  await rm(join(folder, 'leaks.sarif'));
  assert.equal(await commit(), 0);
});

test('logs, archives and reports of other scanners', async (t) => {
  const issuer = await issuerBehindProxy(t);
  const folder = await mkdtemp(join(tmpdir(), 'edgepass-leaks-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const { token, jti } = await issuer.token();
  const ids = async (...options) => (await scan(issuer, ...options)).finds.map(({ id }) => id);
  const text = WAYS[1](token);
  await writeFile(join(folder, 'build.log'), `${'noise '.repeat(300_000)}\n${text}`);
  assert.deepEqual(await ids('--log', join(folder, 'build.log')), [jti]);
  await writeFile(join(folder, 'build.log.gz'), gzipSync(text));
  assert.deepEqual(await ids(join(folder, 'build.log.gz')), [jti]);
  await run('tar', ['czf', 'logs.tgz', 'build.log', 'build.log.gz'], { cwd: folder });
  await run('tar', ['cf', 'outer.tar', 'logs.tgz'], { cwd: folder });
  const within = (await scan(issuer, join(folder, 'outer.tar'))).finds.map(({ file }) => file.split('!').slice(1).join('!'));
  assert.deepEqual(within.sort(), ['logs.tgz!build.log', 'logs.tgz!build.log.gz']);
  for (const [name, report] of Object.entries({
    'gitleaks.json': [{ RuleID: 'x', File: 'src/a.ts', StartLine: 7, Secret: token, Commit: 'abc' }],
    'trufflehog.json': { SourceMetadata: { Data: { Git: { file: 'src/a.ts', line: 7, commit: 'abc' } } }, Raw: token },
    'kingfisher.json': { findings: [{ finding: { snippet: token, path: 'src/a.ts', line: 7 } }] },
  })) {
    await writeFile(join(folder, name), JSON.stringify(report));
    const [find] = (await scan(issuer, '--report', join(folder, name))).finds;
    assert.deepEqual([find.id, find.file, find.line], [jti, 'src/a.ts', 7], name);
  }
  const nothing = join(folder, 'nothing.txt');
  await writeFile(nothing, 'nothing');
  assert.deepEqual(await scan(issuer, nothing), { code: 0, finds: [] });
  assert.deepEqual(await scan(issuer, join(folder, 'missing')), { code: 3, finds: [] });
  // The rest is scanned all the same.
  const beside = await scan(issuer, join(folder, 'missing'), join(folder, 'build.log'));
  assert.deepEqual([beside.code, beside.finds.map(({ id }) => id)], [1, [jti]]);
  const utf16 = join(folder, 'utf16.txt');
  await writeFile(utf16, Buffer.from(`\ufeff${text}`, 'utf16le'));
  assert.deepEqual(await ids(utf16), [jti]);
  await writeFile(join(folder, 'cut.tgz'), gzipSync(Buffer.alloc(5000, text)).subarray(0, 40));
  assert.equal((await scan(issuer, join(folder, 'cut.tgz'))).code, 3, 'what cannot be read is no clean scan');
  // One entry is damaged; the next one is scanned.
  const zip = join(folder, 'damaged.zip');
  const script = 'import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED)\n'
    + 'z.writestr("first.txt", "first " * 1000)\nz.write(sys.argv[2], "build.log.txt")';
  await writeFile(join(folder, 'small.txt'), text);
  await run('python3', ['-c', script, zip, join(folder, 'small.txt')]);
  const octets = await readFile(zip);
  octets.fill(0xff, 40, 60);
  await writeFile(zip, octets);
  const damaged = await scan(issuer, zip);
  assert.deepEqual([damaged.code, damaged.finds.map(({ id }) => id)], [1, [jti]]);
});

test('a token in a repository is refused within a second of its revocation', async (t) => {
  const issuer = await issuerBehindProxy(t);
  const [guard] = await guards(t, issuer, 1);
  const { folder, git } = await repository(t);
  const { token, jti } = await issuer.token();
  const other = await issuer.token();
  assert.equal(await guard.call(token), '200');
  await setTimeout(6_000);
  assert.equal(await guard.call(token), '200');
  await writeFile(join(folder, '.env'), WAYS[0](token));
  await writeFile(join(folder, 'again.txt'), WAYS[2](token));
  await git('add', '.');
  await git('commit', '--quiet', '-m', 'oops');
  const { finds } = await scan(issuer, '--git', folder, '--revoke');
  assert.deepEqual(finds.map(({ id, revoked }) => [id, revoked]), [[jti, true], [jti, true]]);
  const since = performance.now();
  while (await guard.call(token) !== 'token_revoked') assert.ok(performance.now() - since < 10_000);
  const took = performance.now() - since;
  console.log(`refused ${took.toFixed(0)} ms after the scan has revoked it`);
  assert.equal(await guard.call(other.token), '200');
  const entries = (await issuer.edgepass('audit', '--jti', jti, '--json')).trim().split('\n').map((line) => JSON.parse(line));
  assert.equal(entries.filter((entry) => JSON.stringify(entry).includes('leak: found by a scan in')).length, 1, 'one act');
  assert.equal((await scan(issuer, '--git', folder)).finds[0].state, 'revoked');
  // Whoever has no database: by holding it.
  await writeFile(join(folder, 'more.txt'), WAYS[4](other.token));
  const published = await scan(issuer, '--issuer', issuer.url, join(folder, 'more.txt'), '--revoke');
  assert.deepEqual(published.finds.map(({ id, revoked }) => [id, revoked]), [[other.jti, true]]);
  const gone = performance.now();
  while (await guard.call(other.token) !== 'token_revoked') assert.ok(performance.now() - gone < 10_000);
});
