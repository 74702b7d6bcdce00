// The database's files are damaged, cut or replaced by an old copy while the issuer is stopped.

import { cp, open, readFile, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { check, checkDatabase, checkKeySet, databaseFile, servedLists } from './check.mjs';
import { folder } from './cleanup.mjs';
import { Broken, Ledger } from './ledger.mjs';
import {
  ask, hasEnded, mustBeUnavailable, mustSucceed, newIssuer, restart, revoke, savedData, stop, tryToServe,
} from './server.mjs';

/** Time in milliseconds for a start on damaged files, and for each request after it. */
const START = 1_500;

/** An issuer that publishes to a directory, and has issued and revoked tokens. */
async function publishing() {
  const target = await folder('target');
  const change = (text) => `${text}\n[[target]]\nkind = "directory"\npath = "${target}"\n`;
  const [issuer, ledger] = [await newIssuer({ change }), new Ledger()];
  await issueAndRevoke(issuer, ledger);
  await check(issuer, ledger);
  return { issuer, ledger, target };
}

/** Issues 40 tokens and revokes every fifth. */
async function issueAndRevoke(issuer, ledger) {
  for (let at = 0; at < 40; at += 1) {
    const outcome = await ask(issuer, ledger);
    mustSucceed('a token', outcome);
    if (at % 5 === 0) mustSucceed('a revocation', await revoke(issuer, ledger, outcome.jti));
  }
}

/** Copies a folder. Returns a function that puts the copy back. */
async function saved(from) {
  const copy = await folder('saved');
  await cp(from, copy, { recursive: true });
  return async () => {
    await rm(from, { recursive: true, force: true });
    await cp(copy, from, { recursive: true });
  };
}

/**
 * Starts the issuer on damaged files. It may refuse to start with one line, may answer 503, or may go on
 * with what is left. It must never issue a `jti` or an index again, serve an older list or key set, or
 * leave out an acknowledged revocation. Returns which of these happened.
 */
async function startDamaged(issuer, before) {
  const ledger = before.copy();
  const { state, code, said } = await tryToServe(issuer, START);
  try {
    if (state === 'ended') {
      const isPlain = code > 0 && said.split('\n').length === 1;
      if (!isPlain) throw new Broken(`the start ends with exit code ${code}: ${said}`);
      return 'refused at the start';
    }
    const [first] = ledger.tokens.keys();
    const signal = () => ({ signal: AbortSignal.timeout(START) });
    const outcomes = await Promise.all([
      ...Array.from({ length: 8 }, () => ask(issuer, ledger, signal())),
      revoke(issuer, ledger, first, signal()),
    ]);
    const other = outcomes.find(({ status }) => ![0, 200, 503].includes(status));
    if (other) throw new Broken(`a request is answered with ${other.status}`);
    await orUnserved(() => checkKeySet(issuer, ledger));
    await orUnserved(() => servedLists(issuer, ledger));
    if (state !== 'ready') return 'not ready';
    if (await isNamedInLog(issuer)) return 'named in the log';
    try {
      checkDatabase(databaseFile(issuer.folder), ledger);
      return 'unharmed';
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      throw new Broken(`not noticed: ${error.message}`);
    }
  } finally {
    if (!hasEnded(issuer)) await issuer.kill();
  }
}

/** Whether the issuer logs that the database is damaged. It reads the whole file after it has started. */
async function isNamedInLog(issuer) {
  for (const until = Date.now() + 1000; Date.now() < until; await sleep(50)) {
    if (/malformed|corrupt|database/.test(await readFile(issuer.logFile, 'utf8'))) return true;
  }
  return false;
}

/** Awaits a check of documents. That a document is not served is no failure. */
async function orUnserved(work) {
  try {
    await work();
  } catch (error) {
    if (!/ answers (404|503)$/.test(error.message) && error.cause?.code !== 'ECONNREFUSED') throw error;
  }
}

/** Starts the issuer after each of these damages, on the same files. */
async function eachDamage(issuer, ledger, target, damages) {
  const resets = [await saved(join(issuer.folder, 'data')), await saved(target)];
  const [counts, broken] = [{}, []];
  for (const [what, damage] of damages) {
    for (const reset of resets) await reset();
    await damage();
    try {
      const outcome = await startDamaged(issuer, ledger);
      counts[outcome] = (counts[outcome] ?? 0) + 1;
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      broken.push(`${what}: ${error.message}`);
    }
  }
  if (broken.length > 0) {
    const error = new Broken(`${broken.length} of ${damages.length}:\n${broken.join('\n')}`);
    throw Object.assign(error, { runs: damages.length, cases: broken });
  }
  const seen = Object.entries(counts).map(([what, count]) => `${count} ${what}`).join(', ');
  return { runs: damages.length, result: 'ok', seen };
}

/** Inverts bytes of a file. */
async function flip(file, at, length) {
  const handle = await open(file, 'r+');
  const bytes = Buffer.alloc(length);
  await handle.read(bytes, 0, length, at);
  await handle.write(bytes.map((byte) => byte ^ 0xff), 0, length, at);
  await handle.close();
}

const PAGE = 4096;

/** Of each page in turn the first 8 bytes (its header) or the last 64 (its oldest cell) are inverted. */
async function flippedPages() {
  const { issuer, ledger, target } = await publishing();
  await stop(issuer);
  const file = databaseFile(issuer.folder);
  const { size } = await stat(file);
  const damages = [];
  for (let page = 0; page < size / PAGE; page += 1) {
    if (page % 2 === 0) damages.push([`header of page ${page + 1}`, () => flip(file, page * PAGE, 8)]);
    else damages.push([`end of page ${page + 1}`, () => flip(file, (page + 1) * PAGE - 64, 64)]);
  }
  return eachDamage(issuer, ledger, target, damages);
}

/** The database file is cut to some of its pages. */
async function cutDatabase() {
  const { issuer, ledger, target } = await publishing();
  await stop(issuer);
  const file = databaseFile(issuer.folder);
  const { size } = await stat(file);
  const sizes = [0, 50, PAGE, PAGE * 8, size / 2, size - PAGE * 4, size - PAGE, size - 100].map(Math.floor);
  const damages = sizes.map((to) => [`cut to ${to} of ${size} bytes`, () => truncate(file, to)]);
  return eachDamage(issuer, ledger, target, damages);
}

/** After kill -9 the write-ahead log holds acknowledged commits. It is cut, damaged or removed. */
async function cutLog() {
  const { issuer, ledger, target } = await publishing();
  await issuer.kill();
  const file = `${databaseFile(issuer.folder)}-wal`;
  const { size } = await stat(file);
  const damages = [0, 32, 0.25, 0.5, 0.75, 0.9].map((part) => {
    const to = part < 1 ? Math.floor(size * part) : part;
    return [`the log cut to ${to} of ${size} bytes`, () => truncate(file, to)];
  });
  damages.push(['a byte of the log changed in the middle', () => flip(file, Math.floor(size / 2), 1)]);
  damages.push(['the log removed', () => rm(file)]);
  return eachDamage(issuer, ledger, target, damages);
}

/** As [`cutLog`], but only commits after the newest list are lost: the target does not show it. */
async function cutLogEnd() {
  const { issuer, ledger, target } = await publishing();
  const file = `${databaseFile(issuer.folder)}-wal`;
  const { size: kept } = await stat(file);
  await Promise.all(Array.from({ length: 60 }, () => ask(issuer, ledger)));
  await issuer.kill();
  const { size } = await stat(file);
  const damages = [0, 0.1, 0.25, 0.5, 0.75, 0.9].map((part) => {
    const to = Math.floor(kept + (size - kept) * part);
    return [`the log cut to ${to} of ${size} bytes`, () => truncate(file, to)];
  });
  return eachDamage(issuer, ledger, target, damages);
}

/** A copy of the data folder from before some tokens and revocations is put back. */
async function oldCopy() {
  const { issuer, ledger } = await publishing();
  await stop(issuer);
  const restoreOld = await savedData(issuer);
  await restart(issuer);
  await issueAndRevoke(issuer, ledger);
  await check(issuer, ledger);
  await stop(issuer);
  const restoreNew = await savedData(issuer);
  await restoreOld();
  const { state } = await tryToServe(issuer, START);
  if (state !== 'not ready') throw new Broken(`on an old copy the issuer is ${state}`);
  const lists = [...ledger.lists.keys()].map((uri) => new URL(uri).pathname);
  const paths = ['/.well-known/jwks.json', ...lists];
  // Each request waits up to 5 s for a publication.
  const [outcome] = await Promise.all([ask(issuer, ledger), ...paths.map(async (path) => {
    const { status } = await fetch(issuer.own + path);
    if (status === 200) throw new Broken(`on an old copy ${path} is served`);
  })]);
  mustBeUnavailable('a token request on an old copy', outcome);
  await issuer.kill();
  await restoreNew();
  await restart(issuer);
  mustSucceed('a token from the newest copy', await ask(issuer, ledger));
  await check(issuer, ledger);
  return { runs: 1, seen: 'refused with 503; serves again from the newest copy' };
}

export const faults = [
  {
    name: 'flipped', fault: 'bytes of each page are inverted',
    checked: 'no list older, no index or jti used twice, no revocation lost', run: flippedPages,
  },
  { name: 'cut-database', fault: 'the database file is cut', checked: 'as above', run: cutDatabase },
  { name: 'cut-log', fault: 'the write-ahead log is cut or damaged', checked: 'as above', run: cutLog },
  {
    name: 'cut-log-end', fault: 'the write-ahead log loses only tokens since the newest list',
    checked: 'as above', run: cutLogEnd,
    // Of each case that is broken.
    limit: {
      // Whether one of the few new tokens gets an index of a lost one is chance.
      pattern: /: index .* was issued twice: |: not noticed: the received token \S+ is not recorded/,
      text: 'the indices of lost tokens are used again; no document shows the loss',
    },
  },
  {
    name: 'old-copy', fault: 'an old copy of the database is put back',
    checked: 'no document, no token; the newest copy serves', run: oldCopy,
  },
];

