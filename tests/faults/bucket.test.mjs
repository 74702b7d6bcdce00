// Publishing to an S3-compatible bucket of a real server (SeaweedFS) in a process of its own.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test from 'node:test';
import { FaultProxy } from '../stage/fault-proxy.mjs';
import { freePort } from '../stage/ports.mjs';
import { issuerBehindProxy } from './fleet.mjs';

const { EDGEPASS_SEAWEEDFS: weed } = process.env;
const BUCKET = 'status';

const random = () => randomBytes(8).toString('hex');

/** Starts a server with one bucket, behind a proxy that can inject faults. */
async function bucket(t) {
  const folder = await mkdtemp(join(tmpdir(), 'edgepass-bucket-'));
  const credentials = {
    AWS_ACCESS_KEY_ID: random(), AWS_SECRET_ACCESS_KEY: random(),
    // The configured endpoint wins.
    AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:9',
  };
  const ports = [];
  for (const name of ['s3', 'master', 'volume', 'filer', 'admin']) ports.push([name, await freePort()]);
  const server = spawn(weed, [
    'mini', `-dir=${folder}`, '-ip=127.0.0.1', '-ip.bind=127.0.0.1', `-bucket=${BUCKET}`,
    ...ports.map(([name, port]) => `-${name}.port=${port}`), '-s3.port.iceberg=0', '-s3.port.lance=0',
    '-webdav=false', '-admin.ui=false', '-master.telemetry=false',
  ], { env: { ...process.env, ...credentials }, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const hear = (text) => { said = (said + text).slice(-4000); };
  server.stdout.on('data', hear);
  server.stderr.on('data', hear);
  const s3 = `http://127.0.0.1:${ports[0][1]}`;
  const proxy = new FaultProxy(s3);
  const url = await proxy.listen();
  t.after(async () => {
    server.kill('SIGKILL');
    proxy.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  for (const from = Date.now(); Date.now() - from < 60_000 && server.exitCode === null;) {
    // Once the server is ready, it refuses a request without credentials with 403.
    const answer = await fetch(`${s3}/${BUCKET}/x`, { signal: AbortSignal.timeout(5_000) })
      .catch(() => undefined);
    if (answer?.status === 403) return { proxy, url, credentials };
    await setTimeout(100);
  }
  throw new Error(`the bucket is not ready (exit code ${server.exitCode}); it said:\n${said}`);
}

const target = (url) => (text) => (
  `${text}\n[[target]]\nkind = "s3"\nbucket = "${BUCKET}"\nendpoint = "${url}"\nregion = "us-east-1"\n`
);

test('a revocation is published when the bucket has it, and waits while the bucket cannot be written', {
  timeout: 120_000,
}, async (t) => {
  const { proxy, url, credentials } = await bucket(t);
  const issuer = await issuerBehindProxy(t, target(url), credentials);
  const lists = async () => (await (await fetch(`${issuer.own}/status-list-aggregation`)).json())
    .status_lists.map((uri) => uri.slice(issuer.url.length));
  const puts = [];
  const passed = ({ method, url: path, headers }, reply) => {
    if (method === 'PUT') puts.push([path, reply.status, headers['if-match'], headers['if-none-match']]);
    return reply;
  };
  proxy.fault = passed;
  const { jti } = await issuer.token();
  const held = await lists();
  assert.ok(held.length > 0);
  assert.ok(await issuer.revoke(jti), 'not published');
  // Every write was conditional: on the entity tag that the issuer had seen, or on absence.
  assert.ok(puts.every(([, status, match, none]) => status === 200 && (match || none === '*')));
  const replaced = puts.filter(([path, , match]) => match && path.includes('/status-lists/'));
  assert.equal(replaced.length, 1, JSON.stringify(puts));
  assert.ok(held.some((list) => replaced[0][0].endsWith(list)), replaced[0][0]);

  // Reads succeed, writes fail.
  proxy.refuse = ({ method }) => (method === 'GET' ? undefined : { status: 503, body: 'no' });
  const lost = await issuer.token();
  await assert.rejects(
    issuer.edgepass('revoke', '--jti', lost.jti, '--reason', 'test'),
    ({ code, stdout }) => code === 3 && stdout.includes('recorded, not published'),
  );
  assert.equal(await issuer.isReady(), false);
  // The command, when repeated, waits until the same revocation is published.
  puts.length = 0;
  proxy.refuse = () => undefined;
  const back = Date.now();
  await issuer.edgepass('revoke', '--jti', lost.jti, '--reason', 'test');
  t.diagnostic(`published ${Date.now() - back} ms after the bucket could be written again`);
  assert.ok(await issuer.isReady());
  assert.ok(puts.some(([one, code]) => code === 200 && one.includes('/status-lists/')));
});

test('a write that the bucket refuses because of another request is tried again, without an error', {
  timeout: 120_000,
}, async (t) => {
  const { proxy, url, credentials } = await bucket(t);
  const logFile = join(await mkdtemp(join(tmpdir(), 'edgepass-log-')), 'log');
  const issuer = await issuerBehindProxy(t, target(url), credentials, { logFile });
  const { jti } = await issuer.token();
  // What S3 answers while another request for the object is under way.
  const body = '<?xml version="1.0"?><Error><Code>ConditionalRequestConflict</Code></Error>';
  // Of each document: the list and the audit log are written at the same time.
  const writes = new Map();
  proxy.refuse = ({ method, url: path }) => {
    if (method !== 'PUT') return undefined;
    const before = writes.get(path) ?? 0;
    writes.set(path, before + 1);
    return before % 3 < 2 ? { status: 409, body } : undefined;
  };
  assert.ok(await issuer.revoke(jti), 'not published');
  const ofLists = [...writes].filter(([path]) => path.includes('/status-lists/'));
  assert.ok(ofLists.some(([, count]) => count >= 3), JSON.stringify([...writes]));
  assert.ok(await issuer.isReady());
  assert.equal(await readFile(logFile, 'utf8'), '', 'no error is logged');

  // For longer than a write is tried again: the bucket is away, and nobody else wrote the document.
  const other = await issuer.token();
  proxy.refuse = ({ method, url: path }) => (
    method === 'PUT' && path.includes('/status-lists/') ? { status: 409, body } : undefined);
  const revoked = issuer.revoke(other.jti);
  await setTimeout(2_000);
  proxy.refuse = () => undefined;
  assert.ok(await revoked, 'not published');
  assert.ok(await issuer.isReady());
  const log = await readFile(logFile, 'utf8');
  assert.match(log, /ConditionalRequestConflict|Conflict/);
  assert.doesNotMatch(log, /did not write/);
});

test('a bucket that does not answer holds up nothing else', { timeout: 120_000 }, async (t) => {
  const { proxy, url, credentials } = await bucket(t);
  const issuer = await issuerBehindProxy(t, target(url), credentials);
  const tokens = await issuer.tokensOfOneList(2);
  const list = issuer.own + tokens[0].list.slice(issuer.url.length);
  const served = async () => (await fetch(list)).text();
  const untilServed = async (before) => {
    while (await served() === before) await setTimeout(10);
  };
  // The requests that the bucket leaves unanswered.
  const silent = [];
  proxy.refuse = (incoming) => {
    const one = { isGivenUp: false };
    incoming.socket.once('close', () => { one.isGivenUp = true; });
    silent.push(one);
    return 'silence';
  };
  let before = await served();
  const first = issuer.revoke(tokens[0].jti);
  await untilServed(before);
  while (silent.length === 0) await setTimeout(10);
  before = await served();
  const second = issuer.revoke(tokens[1].jti);
  await untilServed(before);
  // The issuer serves the second act while the first request of the first act still hangs.
  assert.equal(silent[0].isGivenUp, false);
  for (const from = Date.now(); await issuer.isReady();) {
    assert.ok(Date.now() - from < 20_000, 'the issuer is ready although the bucket lacks both revocations');
    await setTimeout(50);
  }
  assert.deepEqual(await Promise.all([first, second]), [false, false]);
  proxy.up();
  assert.ok(await issuer.revoke(tokens[0].jti), 'not published');
  assert.ok(await issuer.isReady());
});

test('an answer that is lost costs nothing: what was written is found and left', {
  timeout: 120_000,
}, async (t) => {
  const { proxy, url, credentials } = await bucket(t);
  const issuer = await issuerBehindProxy(t, target(url), credentials);
  const { jti, list } = await issuer.token();
  let lost = 0;
  proxy.fault = ({ method, url: path }, reply) => {
    if (method !== 'PUT' || !path.endsWith(new URL(list).pathname) || lost > 0) return reply;
    lost += 1;
    return null;
  };
  assert.ok(await issuer.revoke(jti), 'not published');
  assert.equal(lost, 1);
  assert.ok(await issuer.isReady());
});

test('a restarted issuer takes over what lies in its bucket, and what another wrote is no surprise', {
  timeout: 120_000,
}, async (t) => {
  const { proxy, url, credentials } = await bucket(t);
  const issuer = await issuerBehindProxy(t, target(url), credentials);
  const first = await issuer.token();
  assert.ok(await issuer.revoke(first.jti));
  await issuer.kill();
  let read = 0;
  proxy.fault = ({ method }, reply) => {
    read += Number(method === 'GET' && reply.status === 200);
    return reply;
  };
  await issuer.serve();
  assert.ok(read > 0, 'the issuer read nothing before it wrote');
  const second = await issuer.token();
  assert.ok(await issuer.revoke(second.jti));

  // Another writer changes the list between the issuer's read and write: the issuer reads again.
  const third = await issuer.token();
  let refused = 0;
  proxy.refuse = ({ method, url: path }) => {
    if (method !== 'PUT' || !path.endsWith(new URL(third.list).pathname) || refused > 0) return undefined;
    refused += 1;
    return { status: 412, body: '' };
  };
  assert.ok(await issuer.revoke(third.jti));
  assert.equal(refused, 1);
});
