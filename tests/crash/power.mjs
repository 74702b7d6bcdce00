// Power cuts: ext4 on a file. While the writer is stopped, the file is copied: the copy has what was
// synced, and some of the rest. The copy is mounted, which replays the journal.

import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout } from 'node:timers/promises';
import { checkDatabase, databaseFile } from './check.mjs';
import { canMount, folder, later, mount, run } from './cleanup.mjs';
import { Broken, Ledger } from './ledger.mjs';
import { load } from './load.mjs';
import { newIssuer } from './server.mjs';
import { SYNC, attach, noStrace } from './strace.mjs';

/** Cuts after which a control without any loss means that the cuts are not real. */
const ENOUGH = 10;
/** Time in milliseconds in which answers that were sent before the stop arrive. */
const DRAIN = 50;

async function needs({ powerCuts }) {
  if (powerCuts === 0) return 'needs --power-cuts N';
  const hasMkfs = await run('mkfs.ext4', ['-V']).then(() => true, () => false);
  return hasMkfs && await canMount() ? undefined : 'needs mkfs.ext4, root and the permission to mount';
}

/** Mounts a new ext4 file system. Returns its folder and its image. */
async function disk() {
  const own = await folder('power');
  const [image, at] = [join(own, 'image'), join(own, 'disk')];
  await run('truncate', ['--size=128M', image]);
  await run('mkfs.ext4', ['-q', image]);
  await mkdir(at);
  await mount(at, '-o', 'loop', image);
  return { image, at };
}

/**
 * Cuts the power of a disk while its writer, a process, is stopped. `acknowledged()` returns what the
 * writer has acknowledged. Returns what `look(folder, acknowledged)` says about the mounted copy.
 */
async function cut(image, pid, acknowledged, look) {
  process.kill(pid, 'SIGSTOP');
  const own = await folder('cut');
  const copy = join(own, 'image');
  let before;
  try {
    await setTimeout(DRAIN);
    before = acknowledged();
    await run('cp', ['--sparse=always', image, copy]);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  const at = join(own, 'disk');
  await mkdir(at);
  const unmount = await mount(at, '-o', 'loop', copy);
  try {
    return look(at, before);
  } finally {
    await unmount();
    await run('rm', ['-r', own]);
  }
}

const random = (from, to) => from + Math.random() * (to - from);

/** An issuer on a disk of its own. */
async function issuerOnDisk() {
  const { image, at } = await disk();
  const own = join(at, 'issuer');
  await mkdir(own);
  return { image, issuer: await newIssuer({ at: own }), ledger: new Ledger() };
}

async function powerCut({ powerCuts }) {
  const { image, issuer, ledger } = await issuerOnDisk();
  const clients = load(issuer, ledger, { commands: 0 });
  for (let round = 0; round < powerCuts; round += 1) {
    await setTimeout(random(50, 800));
    const look = (copy, before) => checkDatabase(databaseFile(join(copy, 'issuer')), before);
    await cut(image, issuer.process.pid, () => ledger.copy(), look);
  }
  const { tokens, revocations } = await clients.stop();
  return { runs: powerCuts, seen: `${tokens} tokens and ${revocations} revocations acknowledged, none lost` };
}

/** A control: without syncs the checks must find that acknowledged tokens are lost. */
async function unsyncedPowerCut({ powerCuts }) {
  const { image, issuer, ledger } = await issuerOnDisk();
  await attach(issuer.process, SYNC, 'retval=0');
  const clients = load(issuer, ledger, { commands: 0 });
  let lossy = 0;
  for (let round = 0; round < powerCuts; round += 1) {
    await setTimeout(random(50, 800));
    const look = (copy, before) => isBroken(databaseFile(join(copy, 'issuer')), before);
    lossy += Number(await cut(image, issuer.process.pid, () => ledger.copy(), look));
  }
  await clients.stop();
  if (lossy === 0 && powerCuts >= ENOUGH) throw new Error('nothing was lost: these cuts show nothing');
  return { runs: powerCuts, seen: `a loss was found after ${lossy} cuts` };
}

function isBroken(file, ledger) {
  try {
    checkDatabase(file, ledger);
    return false;
  } catch (error) {
    if (error instanceof Broken) return true;
    throw error;
  }
}

/** A program that commits one row after another with NORMAL, and prints the number of each. */
const WRITER = `
  const { DatabaseSync } = require('node:sqlite');
  const database = new DatabaseSync(process.argv[1]);
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
  database.exec('CREATE TABLE rows (number INTEGER PRIMARY KEY, text TEXT)');
  database.exec('PRAGMA synchronous = NORMAL;');
  const insert = database.prepare('INSERT INTO rows (text) VALUES (?)');
  const next = () => {
    const { lastInsertRowid } = insert.run('x'.repeat(200));
    process.stdout.write(lastInsertRowid + '\\n');
    setTimeout(next, 1);
  };
  next();`;

async function normalPowerCut({ powerCuts }) {
  let [lossy, most] = [0, 0];
  for (let round = 0; round < powerCuts; round += 1) {
    const { image, at } = await disk();
    const argv = ['--no-warnings', '-e', WRITER, join(at, 'rows.db')];
    const writer = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise((resolve) => { writer.once('exit', resolve); });
    later(() => { writer.kill('SIGKILL'); return ended; });
    let last = 0;
    writer.stdout.on('data', (text) => { last = Number(/(\d+)\n[^\n]*$/.exec(text)?.[1] ?? last); });
    while (last === 0) await setTimeout(10);
    await setTimeout(random(100, 1_500));
    const lostIn = (copy, before) => before - rowsIn(join(copy, 'rows.db'));
    const lost = await cut(image, writer.pid, () => last, lostIn);
    writer.kill('SIGKILL');
    await ended;
    lossy += Number(lost > 0);
    most = Math.max(most, lost);
  }
  if (lossy === 0 && powerCuts >= ENOUGH) throw new Error('nothing was lost: these cuts show nothing');
  return { runs: powerCuts, seen: `lost acknowledged rows in ${lossy} cuts, ${most} at most` };
}

/** How many rows the control's database has. */
function rowsIn(file) {
  const database = new DatabaseSync(file);
  try {
    return database.prepare('SELECT count(*) AS rows FROM rows').get().rows;
  } finally {
    database.close();
  }
}

export const faults = [
  {
    name: 'power', fault: 'power cut: a copy of the disk under load',
    checked: 'database: nothing acknowledged is lost or doubled', needs, run: powerCut,
  },
  {
    name: 'power-no-sync', fault: 'the same, but the issuer\'s syncs do nothing',
    checked: 'the checks find what is lost',
    needs: async (options) => await needs(options) ?? noStrace(), run: unsyncedPowerCut,
  },
  {
    name: 'power-normal', fault: 'the same, of a writer with synchronous=NORMAL',
    checked: 'it does lose rows', needs, run: normalPowerCut,
  },
];
