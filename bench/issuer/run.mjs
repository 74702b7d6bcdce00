// Issuing beside `oidc-provider` and the floor: the server on one core, the load on the other, in turns.
// Prints the results as JSON. Runs under `taskset -c 0`, which its servers inherit.

import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '../../tests/stage/ports.mjs';
import { Issuer } from '../../tests/stage/issuer.mjs';

const quick = process.argv.includes('--quick');
const run = promisify(execFile);
const AUDIENCE = 'https://api.example';
const CONNECTIONS = [16, 64];
/** Added to each commit in the second half, in microseconds. */
const DELAY = 2000;
const [rounds, seconds] = quick ? [5, 2] : [5, 12];
const folder = await mkdtemp(join(process.env.TMPDIR ?? tmpdir(), 'edgepass-bench-'));
const library = join(folder, 'syncs.so');
execFileSync('cc', ['-O2', '-shared', '-fPIC', '-o', library, new URL('syncs.c', import.meta.url).pathname, '-ldl']);

/** A server that is measured. */
class Subject {
  /** `start(env)` starts it and returns its process, URL and client secret. */
  static async start(name, delay, start) {
    const subject = new Subject();
    subject.name = name;
    subject.counter = join(folder, `${name}-${delay}`);
    await writeFile(subject.counter, Buffer.alloc(8));
    const env = { LD_PRELOAD: library, EDGEPASS_SYNCS: subject.counter, ...(delay && { EDGEPASS_SYNC_DELAY: String(delay) }) };
    Object.assign(subject, await start(env));
    process.once('exit', () => subject.process.kill('SIGKILL'));
    for (const from = Date.now(); Date.now() - from < 20_000; await sleep(20)) {
      const status = await subject.request().then((response) => response.status, () => 0);
      if (status === 200) return subject;
    }
    throw new Error(`${name} gave no token within 20 s`);
  }

  get basic() {
    return `Basic ${Buffer.from(`example-service:${this.secret}`).toString('base64')}`;
  }

  async request() {
    const body = new URLSearchParams(this.body);
    return fetch(this.url, { method: 'POST', headers: { authorization: this.basic }, body });
  }

  async syncs() {
    return Number((await readFile(this.counter)).readBigUInt64LE());
  }

  /** Seconds of CPU time so far, and resident memory in MB. */
  async usage() {
    const stat = (await readFile(`/proc/${this.process.pid}/stat`, 'utf8')).split(') ')[1].split(' ');
    const status = await readFile(`/proc/${this.process.pid}/status`, 'utf8');
    return { cpu: (Number(stat[11]) + Number(stat[12])) / 100, memory: Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024 };
  }

  async measure(connections, time) {
    const [syncs, before] = [await this.syncs(), await this.usage()];
    const load = ['-c', '1', 'wrk', '--threads', '1', '--connections', String(connections), '--duration', `${time}s`, '--latency', '--script', new URL('token.lua', import.meta.url).pathname, this.url];
    const env = { ...process.env, EDGEPASS_BODY: new URLSearchParams(this.body).toString(), EDGEPASS_AUTHORIZATION: this.basic };
    const { stdout } = await run('taskset', load, { env });
    const { requests, failed, ...seen } = JSON.parse(stdout.trim().split('\n').at(-1));
    if (failed > 0 || requests === 0) throw new Error(`${this.name}: ${failed} of ${requests} requests failed`);
    const after = await this.usage();
    return {
      rate: requests / seen.seconds, p50_ms: seen.p50_ms, p99_ms: seen.p99_ms,
      cpu_us: (after.cpu - before.cpu) / requests * 1e6,
      syncs_per_token: (await this.syncs() - syncs) / requests, memory_mb: after.memory,
    };
  }
}

const SECRET = 'edgepass-bench-secret';
const issuer = (command) => async (env) => {
  const started = await Issuer.start({ program: command, env, folder: await mkdtemp(join(folder, 'own-')) });
  return { process: started.process, url: `${started.own}/oauth/token`, secret: started.secret, body: { grant_type: 'client_credentials' }, stop: () => started.remove() };
};
const program = (argv, body) => async (env) => {
  const port = await freePort();
  const process_ = spawn(argv[0], [...argv.slice(1), String(port), 'example-service', SECRET, AUDIENCE], {
    env: { ...process.env, ...env }, cwd: await mkdtemp(join(folder, 'other-')), stdio: ['ignore', 'ignore', 'inherit'],
  });
  return { process: process_, url: `http://127.0.0.1:${port}/token`, secret: SECRET, body, stop: () => process_.kill('SIGKILL') };
};
const scoped = { grant_type: 'client_credentials', scope: 'invoices:read' };
const SUBJECTS = {
  edgepass: issuer(process.env.EDGEPASS_PROGRAM),
  ...(process.env.EDGEPASS_BEFORE && { before: issuer(process.env.EDGEPASS_BEFORE) }),
  'oidc-provider': program([process.execPath, new URL('oidc-provider.mjs', import.meta.url).pathname], scoped),
  floor: program([process.env.EDGEPASS_FLOOR, 'floor'], scoped),
};

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const medians = (all) => Object.fromEntries(Object.keys(all[0]).map((key) => [key, median(all.map((one) => one[key]))]));

/** Measures all subjects in turns. */
async function compared(delay) {
  const subjects = [];
  for (const [name, start] of Object.entries(SUBJECTS)) {
    // It syncs nothing.
    if (delay && name === 'oidc-provider') continue;
    subjects.push(await Subject.start(name, delay, start));
  }
  const results = {};
  for (const connections of CONNECTIONS) {
    for (const subject of subjects) await subject.measure(connections, 1);
    const seen = Object.fromEntries(subjects.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round += 1) {
      for (const subject of subjects) seen[subject.name].push(await subject.measure(connections, seconds));
      console.error(`  ${connections} connections, ${delay / 1000} ms per commit: round ${round + 1} of ${rounds}`);
    }
    results[connections] = Object.fromEntries(Object.entries(seen).map(([name, all]) => [name, medians(all)]));
  }
  for (const subject of subjects) await subject.stop();
  return results;
}

const results = { plain: await compared(0), delayed: await compared(DELAY) };
console.log(JSON.stringify({ results }));
await rm(folder, { recursive: true, force: true });
process.exit(0);
