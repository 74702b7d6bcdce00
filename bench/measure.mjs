// Measures runs in turns, on Node.js and in workerd, and takes medians.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { startWorkerd } from '../tests/hosts/hosts.mjs';
import { NODE_SUBJECTS } from './node-subjects.mjs';
import { prepare } from './prepare.mjs';
import { SUBJECTS } from './subjects.mjs';

export const quick = process.argv.includes('--quick');
export const library = join(process.env.EDGEPASS_INSTALLED, 'node_modules/edgepass/dist');

export const note = (text) => process.stderr.write(`${text}\n`);
export const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
/** Calls a function and returns the microseconds until its promise resolves. */
export async function timed(promise) {
  const started = process.hrtime.bigint();
  await promise();
  return Number(process.hrtime.bigint() - started) / 1000;
}

/**
 * Runs a script of this folder in a new process. Passes `input` on stdin and returns its output
 * (JSON).
 */
export async function inChild(script, input) {
  const file = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(process.execPath, [file], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify(input));
  let text = '';
  for await (const chunk of child.stdout) text += chunk;
  if (!text) throw new Error(`${script} failed; see its output above`);
  return JSON.parse(text);
}

/** Loads the package into this process. */
export const inThisProcess = () => import(pathToFileURL(join(library, 'lib/inline.js')));

/**
 * Starts a host. `set` creates a run of a subject and tells whether the subject supports it, `take`
 * replaces its tokens, `time` returns the microseconds of n verifications.
 */
export async function inWorkerd() {
  const stops = [];
  const worker = fileURLToPath(new URL('worker.mjs', import.meta.url));
  const contents = `export { default } from '${worker}';`;
  const url = await startWorkerd({ after: (stop) => stops.push(stop) }, library, contents);
  const ask = async (run, query, init) => {
    const response = await fetch(`${url}?run=${encodeURIComponent(run)}${query}`, init);
    const text = await response.text();
    if (!response.ok) throw new Error(`${run}: ${text}`);
    return text;
  };
  return {
    subjects: SUBJECTS,
    async set(run, subject, setup, texts, expected) {
      const body = JSON.stringify({ run, subject, setup, texts, expected });
      return await ask(run, '', { method: 'POST', body }) === 'ready';
    },
    take: (run, texts, expected) =>
      ask(run, '', { method: 'PUT', body: JSON.stringify({ texts, expected }) }),
    time: (run, n) => timed(() => ask(run, `&n=${n}`)),
    stop: () => Promise.all(stops.map((stop) => stop())),
  };
}

export async function inNode() {
  const edgepass = await inThisProcess();
  const subjects = { ...SUBJECTS, ...NODE_SUBJECTS };
  const runs = new Map();
  return {
    subjects,
    async set(run, subject, setup, texts, expected) {
      const prepared = await prepare(subjects[subject], setup, texts, expected, edgepass);
      if (prepared) runs.set(run, prepared);
      return prepared !== undefined;
    },
    take: async (run, texts, expected) => runs.get(run).take(texts, expected),
    async time(run, n) {
      const took = await timed(() => runs.get(run)(n));
      // Lets background work run between measurements.
      await new Promise((resolve) => { setTimeout(resolve, 0); });
      return took;
    },
    stop: async () => {},
  };
}

/**
 * Returns microseconds of one verification for each run; the runs take turns. Timers stand still
 * inside a Worker, so time is measured outside: a request with n verifications minus a request with
 * none.
 */
export async function measure(host, runs, { rounds, n }) {
  const seen = new Map(runs.map((run) => [run, []]));
  for (let warm = 0; warm < 6; warm++) for (const run of runs) await host.time(run, n);
  for (let round = 0; round < rounds; round++) {
    for (const run of runs) {
      const [none, all] = [await host.time(run, 0), await host.time(run, n)];
      seen.get(run).push((all - none) / n);
    }
  }
  return Object.fromEntries([...seen].map(([run, times]) => [run, median(times)]));
}
