// Starts, stops and asks an issuer that may fail to start, or may answer with an error.

import { existsSync } from 'node:fs';
import { cp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Issuer, mayRevoke } from '../stage/issuer.mjs';
import { folder, later } from './cleanup.mjs';
import { Broken } from './ledger.mjs';

/** Time in milliseconds within which a restarted issuer is ready. */
export const READY_TARGET = 2_000;
/** Time in milliseconds after which a start counts as failed. The machine may be busy with other work. */
const READY_LIMIT = 5_000;

/** The issuers of the fault that runs. */
export const issuers = [];

/** Creates an issuer that ends with the fault. Its client may revoke. `at` is its folder. */
export async function newIssuer({ change = (text) => text, at } = {}) {
  const logFile = join(await folder('log'), 'log');
  const own = at ?? await folder('issuer');
  const issuer = await Issuer.start({
    change: (text) => change(mayRevoke(text)), folder: own, logFile,
  });
  issuers.push(issuer);
  later(() => issuer.kill());
  return issuer;
}

/**
 * Starts `serve`, and waits until it is ready or has ended, at most `limit` milliseconds. Returns
 * `{ state, code, said, took }`: `state` is `'ready'`, `'ended'` or `'not ready'`, `said` is its stderr.
 */
export async function tryToServe(issuer, limit = READY_LIMIT) {
  if (existsSync(issuer.logFile)) await truncate(issuer.logFile);
  const from = Date.now();
  issuer.spawn();
  let state = 'not ready';
  while (Date.now() - from < limit) {
    if (hasEnded(issuer)) state = 'ended';
    else if (await issuer.isReady()) state = 'ready';
    if (state !== 'not ready') break;
    await setTimeout(5);
  }
  const took = Date.now() - from;
  if (state === 'ended') await issuer.ended;
  const said = (await readFile(issuer.logFile, 'utf8')).trim();
  return { state, took, code: issuer.process.exitCode, said };
}

/** Whether the process of `serve` has ended. */
export const hasEnded = ({ process: { exitCode, signalCode } }) => exitCode !== null || signalCode !== null;

/** Starts `serve`. Throws [`Broken`] unless it gets ready. Adds the time that it took to `times`. */
export async function restart(issuer, times = []) {
  const { state, took, code, said } = await tryToServe(issuer);
  if (state !== 'ready') {
    throw new Broken(`${took} ms after a restart the issuer is ${state} (exit code ${code}): ${said}`);
  }
  times.push(took);
}

/** The longest start, as the table shows it. */
export const slowest = (times) => {
  const most = Math.max(...times);
  const missed = most > READY_TARGET ? ` (the target of ${READY_TARGET} ms is missed)` : '';
  return `ready again in ${most} ms at most${missed}`;
};

/** Stops `serve` with SIGTERM. */
export async function stop(issuer) {
  issuer.process.kill('SIGTERM');
  await issuer.ended;
}

/** Waits until a process has ended. `false`: it runs on after `limit` milliseconds. */
export async function endsWithin(issuer, limit) {
  if (hasEnded(issuer)) return true;
  const late = new AbortController();
  const ended = await Promise.race([
    issuer.ended.then(() => true), setTimeout(limit, false, { signal: late.signal }).catch(() => false),
  ]);
  late.abort();
  return ended;
}

/**
 * Requests a token, and notes it in the ledger if it comes. Returns `{ status, retryAfter, jti, took }`;
 * `status` is 0 without a response. `options` are those of `fetch`.
 */
export async function ask(issuer, ledger, options) {
  const from = Date.now();
  const response = await issuer.requestToken(options).catch(() => undefined);
  const text = await response?.text().catch(() => undefined);
  const outcome = { status: text === undefined ? 0 : response.status, took: Date.now() - from };
  if (outcome.status === 200) outcome.jti = ledger.addToken(JSON.parse(text).access_token);
  return { ...outcome, retryAfter: response?.headers.get('retry-after') };
}

/** Requests the revocation of a token, and notes it in the ledger if it is acknowledged. As [`ask`]. */
export async function revoke(issuer, ledger, jti, options) {
  const from = Date.now();
  const response = await issuer.requestRevocation(jti, options).catch(() => undefined);
  const text = await response?.text().catch(() => undefined);
  const status = text === undefined ? 0 : response.status;
  if (status === 200) ledger.revoked.add(jti);
  return { status, took: Date.now() - from, retryAfter: response?.headers.get('retry-after') };
}

/** Throws [`Broken`] unless an outcome of [`ask`] or [`revoke`] is 503 with `Retry-After`. */
export function mustBeUnavailable(what, { status, retryAfter }) {
  if (status !== 503) throw new Broken(`${what} is answered with ${status} instead of 503`);
  if (!retryAfter) throw new Broken(`${what} is answered with 503 without Retry-After`);
}

/** Throws [`Broken`] unless the status of an outcome is 200. */
export function mustSucceed(what, { status, took }) {
  if (status !== 200) throw new Broken(`${what} is answered with ${status} after ${took} ms`);
}

/** Throws [`Broken`] unless the issuer is ready within 15 s. Returns the milliseconds that it took. */
export async function untilReady(issuer) {
  for (const from = Date.now(); ; await setTimeout(20)) {
    if (await issuer.isReady()) return Date.now() - from;
    if (hasEnded(issuer)) throw new Broken('the issuer has ended instead of recovering');
    if (Date.now() - from > 15_000) throw new Broken('the issuer is not ready 15 s after the fault');
  }
}

/** Copies the data folder of a stopped issuer. Returns a function that puts the copy back. */
export async function savedData(issuer) {
  const [data, copy] = [join(issuer.folder, 'data'), await folder('saved')];
  await cp(data, copy, { recursive: true });
  return async () => {
    await rm(data, { recursive: true, force: true });
    await cp(copy, data, { recursive: true });
  };
}

/** Changes the configuration of an issuer. */
export async function configure(issuer, change) {
  const file = join(issuer.folder, 'edgepass.toml');
  await writeFile(file, change(await readFile(file, 'utf8')));
}
