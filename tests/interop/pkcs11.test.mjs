// Signing keys in a PKCS #11 token: a real issuer with SoftHSM.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { after, before } from 'node:test';
import * as jose from 'jose';
import { Issuer, mayRevoke } from '../stage/issuer.mjs';

const MODULE = ['/usr/lib/softhsm/libsofthsm2.so', '/usr/lib64/softhsm/libsofthsm.so'].find(existsSync);
const PIN = 'pin-of-the-test-7413';
let folder;
let env;
let objects;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgepass-softhsm-'));
  await mkdir(join(folder, 'tokens'));
  await writeFile(join(folder, 'softhsm.conf'), `directories.tokendir = ${join(folder, 'tokens')}\n`);
  env = { SOFTHSM2_CONF: join(folder, 'softhsm.conf'), EDGEPASS_PKCS11_PIN: PIN };
  const label = ['--init-token', '--free', '--label', 'edgepass', '--so-pin', 'so-pin', '--pin', PIN];
  execFileSync('softhsm2-util', label, { env: { ...process.env, ...env } });
  const [token] = await readdir(join(folder, 'tokens'));
  objects = async () => (await readdir(join(folder, 'tokens', token))).filter((name) => name.endsWith('.object') && name !== 'token.object').length;
});
after(() => rm(folder, { recursive: true }));

const inToken = (text, more = '') => mayRevoke(text).replace(/^\[keys\]$/m, `[keys]\npkcs11 = { module = "${MODULE}", token_label = "edgepass"${more} }`);

/** Starts an issuer whose keys are in the token from the first on. */
async function start(algorithm, options = {}) {
  const issuer = await Issuer.start({ init: ['--algorithm', algorithm], env, ...options });
  await issuer.kill();
  const file = join(issuer.folder, 'edgepass.toml');
  await writeFile(file, inToken(await readFile(file, 'utf8')));
  await rm(join(issuer.folder, 'data'), { recursive: true });
  await issuer.edgepass('init', '--config', file);
  await issuer.serve();
  return issuer;
}

const keys = async (issuer) => JSON.parse(await issuer.edgepass('keys', 'list', '--json'));
const verify = (issuer, text) => jose.compactVerify(text, jose.createRemoteJWKSet(new URL(`${issuer.url}/.well-known/jwks.json`)));

for (const algorithm of ['EdDSA', 'ES256', 'RS256']) {
  test(`${algorithm}: tokens and lists are signed in the token, and any verifier reads them`, async (t) => {
    const issuer = await start(algorithm);
    t.after(() => issuer.remove());
    for (const key of await keys(issuer)) assert.match(key.pkcs11_uri, /^pkcs11:id=(%[0-9a-f]{2}){16};type=private$/);
    const all = await Promise.all(Array.from({ length: 64 }, () => issuer.token()));
    for (const { token } of all) assert.equal((await verify(issuer, token)).protectedHeader.alg, algorithm);
    const [{ token, jti, list }] = all;
    assert.equal(await issuer.revoke(jti), true);
    const published = await (await fetch(list)).text();
    assert.equal((await verify(issuer, published)).protectedHeader.typ, 'statuslist+jwt');
    const checked = spawnSync(issuer.program, ['verify', '-'], { cwd: issuer.folder, input: token, encoding: 'utf8' });
    assert.deepEqual([checked.status, checked.stdout.includes('token_revoked')], [1, true], checked.stderr);
    // The PIN is in neither of these files.
    const database = await readFile(join(issuer.folder, 'data', 'edgepass.db'));
    assert.ok(!database.includes(PIN) && !(await readFile(join(issuer.folder, 'edgepass.toml'), 'utf8')).includes(PIN));
  });
}

test('an issuer with sealed keys changes to the token by its key changes, and withdrawn keys are destroyed', async (t) => {
  const before = await objects();
  const issuer = await Issuer.start({ change: inToken, env });
  t.after(() => issuer.remove());
  const uses = async () => Object.fromEntries((await keys(issuer)).map((key) => [key.use, key]));
  const { signing, standby } = await uses();
  assert.deepEqual([signing.pkcs11_uri, standby.pkcs11_uri], [null, null]);
  const until = async (done) => {
    for (const from = Date.now(); Date.now() - from < 20_000; await sleep(50)) {
      const now = await uses();
      if (done(now)) return now;
    }
    return assert.fail('the keys did not change within 20 s');
  };
  // The sealed standby key signs, and the next one is made in the token.
  await issuer.edgepass('keys', 'compromise', signing.kid, '--reason', 'test');
  const next = await until((now) => now.standby?.pkcs11_uri);
  assert.equal(next.signing.kid, standby.kid);
  assert.equal(await objects() - before, 2);
  await issuer.edgepass('keys', 'compromise', standby.kid, '--reason', 'test');
  const last = await until((now) => now.standby && now.signing.kid === next.standby.kid);
  await verify(issuer, (await issuer.token()).token);
  assert.equal(await objects() - before, 4);
  // Of a withdrawn key, both halves are destroyed in the token.
  await issuer.edgepass('keys', 'compromise', last.standby.kid, '--reason', 'test');
  await until((now) => now.standby && now.standby.kid !== last.standby.kid && !now.compromised);
  assert.equal(await objects() - before, 4);
  assert.ok((await keys(issuer)).filter((key) => key.use === 'withdrawn').every((key) => key.pkcs11_uri === null));
});

test('a standby key that cannot be opened does not come to sign', async (t) => {
  const issuer = await Issuer.start({ change: inToken, env });
  t.after(() => issuer.remove());
  const of = async (use) => (await keys(issuer)).find((key) => key.use === use);
  const [signing, standby] = [await of('signing'), await of('standby')];
  await issuer.edgepass('keys', 'compromise', standby.kid, '--reason', 'test');
  for (const from = Date.now(); !(await of('standby'))?.pkcs11_uri; await sleep(50)) assert.ok(Date.now() - from < 20_000);
  await issuer.kill();
  const file = join(issuer.folder, 'edgepass.toml');
  await writeFile(file, (await readFile(file, 'utf8')).replace(/^pkcs11 = .*$/m, ''));
  await issuer.serve();
  const refused = await issuer.edgepass('keys', 'compromise', signing.kid, '--reason', 'test').catch((error) => error);
  assert.match(refused.stderr, /the standby key cannot be opened.*\[keys.pkcs11\]/s);
  assert.equal((await of('signing')).kid, signing.kid);
  const { jti, token } = await issuer.token();
  await verify(issuer, token);
  assert.equal(await issuer.revoke(jti), true);
});

test('a token that is away makes 503, and signs again when it is back', async (t) => {
  const issuer = await start('ES256');
  t.after(() => issuer.remove());
  const status = () => issuer.token().then(() => 200, (error) => Number(/\d+/.exec(error.message)[0]));
  assert.equal(await status(), 200);
  await rename(join(folder, 'tokens'), join(folder, 'away'));
  const refused = await Promise.all(Array.from({ length: 32 }, status));
  assert.ok(refused.every((code) => code === 503), refused);
  await sleep(1500);
  assert.equal(await status(), 503);
  await rename(join(folder, 'away'), join(folder, 'tokens'));
  for (const from = Date.now(); await status() !== 200; await sleep(100)) assert.ok(Date.now() - from < 10_000, 'not back');
  const all = await Promise.all(Array.from({ length: 64 }, () => issuer.token()));
  for (const { token } of all) await verify(issuer, token);
  assert.equal(await issuer.revoke(all[0].jti), true);
});

test('what is wrong with the token, its PIN or its module is said', async (t) => {
  const issuer = await start('ES256');
  t.after(() => issuer.remove());
  await issuer.kill();
  const fails = async (more, says, code, text) => {
    const file = join(issuer.folder, 'edgepass.toml');
    const written = await readFile(file, 'utf8');
    await writeFile(file, text ? text(written) : written);
    const own = issuer.env;
    issuer.env = { ...own, ...more };
    for (const [name, value] of Object.entries(more)) if (value === undefined) delete issuer.env[name];
    const failed = await issuer.edgepass('issue', '--role', 'invoice-reader').catch((error) => error);
    issuer.env = own;
    await writeFile(file, written);
    assert.equal(failed.code, code, failed.stderr);
    assert.match(failed.stderr, says);
    assert.ok(!failed.stderr.includes(PIN));
  };
  await fails({ EDGEPASS_PKCS11_PIN: '0000' }, /refuses the PIN/, 2);
  await fails({ EDGEPASS_PKCS11_PIN: undefined }, /EDGEPASS_PKCS11_PIN, or pin_file/, 2);
  await fails({}, /no token is labelled "other"/, 3, (text) => text.replace('token_label = "edgepass"', 'token_label = "other"'));
  await fails({}, /its module cannot be loaded/, 3, (text) => text.replace(MODULE, '/nowhere.so'));
  await fails({}, /absolute path/, 2, (text) => text.replace(MODULE, 'softhsm.so'));
  await fails({}, /name it in the configuration, under \[keys.pkcs11\]/, 2, (text) => text.replace(/^pkcs11 = .*$/m, ''));
  // A PIN from a file, which only its owner may read.
  const pin = join(issuer.folder, 'pin');
  await writeFile(pin, `${PIN}\n`);
  await chmod(pin, 0o644);
  const file = join(issuer.folder, 'edgepass.toml');
  await writeFile(file, (await readFile(file, 'utf8')).replace('token_label =', 'pin_file = "pin", token_label ='));
  await fails({ EDGEPASS_PKCS11_PIN: undefined }, /chmod 600/, 2);
  await chmod(pin, 0o600);
  delete issuer.env.EDGEPASS_PKCS11_PIN;
  assert.ok(await issuer.edgepass('issue', '--role', 'invoice-reader'));
  // Without its objects the token holds no key. The issuer neither starts nor signs with another.
  await rename(join(folder, 'tokens'), join(folder, 'away'));
  await mkdir(join(folder, 'tokens'));
  await fails({}, /no token is labelled "edgepass"/, 3);
  await rm(join(folder, 'tokens'), { recursive: true });
  await rename(join(folder, 'away'), join(folder, 'tokens'));
  assert.ok(await issuer.edgepass('issue', '--role', 'invoice-reader'));
});
