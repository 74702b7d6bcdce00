// Injects crashes and faults into an issuer with SQLite or PostgreSQL, and checks the invariants of
// docs/reliability.md after each. Prints a table. Exit code 1: an invariant was broken.

import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cleanUp } from './cleanup.mjs';
import { faults as clients } from './clients.mjs';
import { faults as cluster } from './cluster.mjs';
import { faults as control } from './control.mjs';
import { faults as disk } from './disk.mjs';
import { faults as files } from './files.mjs';
import { faults as injected } from './injected.mjs';
import { faults as keys } from './keys.mjs';
import { faults as kills } from './kills.mjs';
import { Broken } from './ledger.mjs';
import { faults as locks } from './locks.mjs';
import { faults as power } from './power.mjs';
import { issuers } from './server.mjs';
import { evidence, table } from './table.mjs';

/** The faults by store. */
const FAULTS = {
  sqlite: [...control, ...kills, ...injected, ...disk, ...locks, ...files, ...keys, ...clients, ...power],
  postgres: cluster,
};

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '20' },
    'power-cuts': { type: 'string', default: '0' },
    seconds: { type: 'string', default: '20' },
    only: { type: 'string', multiple: true },
    store: { type: 'string', default: 'sqlite' },
    json: { type: 'boolean', default: false },
  },
});

function wrongUsage(text) {
  console.error(text);
  process.exit(2);
}

function number(name) {
  if (!/^\d{1,6}$/.test(values[name])) wrongUsage(`--${name} is not a number: ${values[name]}`);
  return Number(values[name]);
}

const options = { kills: number('kills'), powerCuts: number('power-cuts'), seconds: number('seconds') };
if (options.kills < 1) wrongUsage('--kills must be at least 1');
if (options.seconds < 1) wrongUsage('--seconds must be at least 1');
const ALL = Object.hasOwn(FAULTS, values.store) ? FAULTS[values.store] : undefined;
if (!ALL) wrongUsage(`--store ${values.store}: the stores are ${Object.keys(FAULTS).join(' and ')}`);
for (const only of values.only ?? []) {
  const names = ALL.map(({ name }) => name);
  if (!names.includes(only)) wrongUsage(`no fault is named ${only}; the names: ${names.join(', ')}`);
}
if (!process.env.EDGEPASS_PROGRAM) wrongUsage('EDGEPASS_PROGRAM must name the program edgepass');

/** Copies the folder of each issuer of a fault. Returns where to. */
async function keep(name) {
  if (!process.env.EDGEPASS_EVIDENCE) return undefined;
  const to = join(process.env.EDGEPASS_EVIDENCE, `${name}-${Date.now()}`);
  for (const [at, { folder }] of issuers.entries()) {
    await cp(folder, join(to, String(at)), { recursive: true });
  }
  return to;
}

async function outcome({ name, fault, checked, needs, limit, run }) {
  const row = { name, fault, checked, result: 'ok' };
  const missing = await needs?.(options);
  // Looking for what is needed sets things up as well.
  await cleanUp();
  if (missing) return { ...row, result: 'not run', seen: missing };
  const from = Date.now();
  issuers.length = 0;
  try {
    Object.assign(row, await run(options));
  } catch (error) {
    row.result = error instanceof Broken ? 'BROKEN' : 'failed';
    Object.assign(row, { runs: error.runs, seen: error.seen });
    if (error.cases?.every((one) => limit?.pattern.test(one))) {
      Object.assign(row, { result: 'known limit', seen: limit.text });
    }
    row.evidence = error instanceof Broken ? error.message : error.stack;
    row.kept = await keep(name).catch(() => undefined);
  }
  await cleanUp();
  return { ...row, seconds: (Date.now() - from) / 1000 };
}

for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) {
  process.once(signal, () => cleanUp().finally(() => process.exit(code)));
}
// A load that is being stopped may still reject a promise that nothing awaits.
process.on('unhandledRejection', (error) => {
  console.error(error);
  cleanUp().finally(() => process.exit(1));
});

const start = Date.now();
const rows = [];
for (const fault of ALL) {
  if (values.only && !values.only.includes(fault.name)) continue;
  console.error(`• ${fault.fault} ...`);
  rows.push(await outcome(fault));
  const { result, seconds = 0 } = rows.at(-1);
  console.error(`• ${fault.name}: ${result}, ${seconds.toFixed(1)} s`);
}
const seconds = (Date.now() - start) / 1000;
if (values.json) console.log(JSON.stringify({ rows, seconds }, null, 2));
else console.log(`\n${table(rows, seconds)}\n\n${evidence(rows)}`.trimEnd());
process.exitCode = rows.some(({ result }) => result === 'BROKEN' || result === 'failed') ? 1 : 0;
