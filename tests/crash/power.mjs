// Power cuts: ext4 on a file. While the writer is stopped, the file is copied: the copy has what was
// synced, and some of the rest. The copy is mounted, which replays the journal.

import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout } from 'node:timers/promises';
import { checkDatabase, databaseFile } from './check.mjs';
import { canMount, folder, later, mount, run } from './cleanup.mjs';
import { Ledger } from './ledger.mjs';
import { load } from './load.mjs';
import { newIssuer } from './server.mjs';

/** Cuts after which a control without any loss means that the cuts are not real. */
const ENOUGH = 10;
/** Time in milliseconds in which answers that were sent before the stop arrive. */
const DRAIN = 50;

async function needs({ powerCuts }) {
  if (powerCuts === 0) return 'needs --power-cuts N';
  return await canMount() ? undefined : 'needs root and the permission to mount loop devices';
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

async function issuerLosesPower({ powerCuts }) {
  const { image, at } = await disk();
  const own = join(at, 'issuer');
  await mkdir(own);
  const [issuer, ledger] = [await newIssuer({ at: own }), new Ledger()];
  const clients = load(issuer, ledger, { commands: 0 });
  for (let round = 0; round < powerCuts; round += 1) {
    await setTimeout(random(50, 800));
    const look = (copy, before) => checkDatabase(databaseFile(join(copy, 'issuer')), before);
    await cut(image, issuer.process.pid, () => ledger.copy(), look);
  }
  const { tokens, revocations } = await clients.stop();
  return { runs: powerCuts, seen: `${tokens} tokens and ${revocations} revocations acknowledged, none lost` };
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

async function controlLosesPower({ powerCuts }) {
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
    const lost = await cut(image, writer.pid, () => last, (copy, before) => before - rowsIn(join(copy, 'rows.db')));
    writer.kill('SIGKILL');
    await ended;
    lossy += Number(lost > 0);
    most = Math.max(most, lost);
  }
  if (lossy === 0 && powerCuts >= ENOUGH) throw new Error('the control lost nothing: these cuts show nothing');
  return { runs: powerCuts, seen: `lost acknowledged rows in ${lossy} cuts, at most ${most}` };
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
    name: 'power', fault: 'power cut: a copy of the disk under load', checked: 'database: nothing acknowledged is lost or doubled',
    needs, run: issuerLosesPower,
  },
  {
    name: 'power-control', fault: 'the same, of a writer with WAL and synchronous=NORMAL', checked: 'it does lose rows',
    needs, run: controlLosesPower,
  },
];
