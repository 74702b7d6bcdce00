// Held requests for the status head: what they cost the issuer, and how soon a revocation answers all.
// Prints the results as JSON. The number of watches is the argument. Runs under `taskset -c 0`, which the
// issuer inherits; the watches wait in a process of their own on the other core.

import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { Issuer, mayRevoke } from '../../tests/stage/issuer.mjs';

/** Revocations without watches, and as many with all of them. */
const REVOCATIONS = 100;
const LENGTH = 'content-length: ';
const IDLE_SECONDS = 60;
/** The number of a head, a JWS. */
const numberOf = (head) => JSON.parse(Buffer.from(head.split('.')[1], 'base64url')).number;
/** Milliseconds on a clock that both processes share. */
const now = () => performance.timeOrigin + performance.now();

/** One kept connection, which asks again with the number of the last head. */
class Watch {
  constructor(fleet, port) {
    this.fleet = fleet;
    this.text = '';
    this.number = -1;
    this.socket = connect(port, '127.0.0.1', () => this.ask(0));
    this.socket.setNoDelay(true).setEncoding('latin1');
    this.socket.on('data', (data) => this.read(data));
    this.socket.on('error', (error) => { throw error; });
    this.socket.on('close', () => { throw new Error('the issuer closed the connection of a watch'); });
  }

  ask(after) {
    this.socket.write(`GET /status-head?after=${after} HTTP/1.1\r\nhost: issuer\r\nprefer: wait=${this.fleet.wait}\r\n\r\n`);
  }

  read(data) {
    this.text = this.text ? this.text + data : data;
    const end = this.text.indexOf('\r\n\r\n');
    if (end < 0) return;
    const at = this.text.indexOf(LENGTH) + LENGTH.length;
    const length = Number(this.text.slice(at, this.text.indexOf('\r', at)));
    if (this.text.length < end + 4 + length) return;
    if (!this.text.startsWith('HTTP/1.1 200')) throw new Error(`a watch was answered ${this.text.slice(0, 60)}`);
    const number = this.fleet.numberOf(this.text.slice(end + 4));
    this.text = '';
    if (number !== this.number) {
      this.number = number;
      this.fleet.seen(number);
    }
    this.ask(number);
  }
}

/** The process that waits: tells when all watches hold a head of a number. */
function waitForHeads(port, count) {
  const [held, read] = [new Map(), new Map()];
  const fleet = {
    /** Seconds. */
    wait: 25,
    /** Each head is parsed once, so that the process that waits is not what takes long. */
    numberOf(head) {
      if (read.size > 1000) read.clear();
      if (!read.has(head)) read.set(head, numberOf(head));
      return read.get(head);
    },
    seen(number) {
      const seen = (held.get(number) ?? 0) + 1;
      held.set(number, seen);
      if (seen === count) process.send({ number, at: now() });
    },
  };
  process.on('message', ({ wait }) => { fleet.wait = wait; });
  let opened = 0;
  // Not all at once, so that the queue of new connections never overflows.
  const open = setInterval(() => {
    for (let next = 0; next < 50 && opened < count; next += 1, opened += 1) new Watch(fleet, port);
    if (opened === count) clearInterval(open);
  }, 20);
}

const percentile = (values, share) => values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1];

async function measure(count) {
  const folder = await mkdtemp(join(process.env.TMPDIR ?? tmpdir(), 'edgepass-bench-'));
  const tell = (text) => process.stderr.write(`  ${text}\n`);
  const issuer = await Issuer.start({ folder, change: mayRevoke });
  let waiting;
  try {
    const usage = async () => {
      const stat = (await readFile(`/proc/${issuer.process.pid}/stat`, 'utf8')).split(') ')[1].split(' ');
      const status = await readFile(`/proc/${issuer.process.pid}/status`, 'utf8');
      return { cpu: (Number(stat[11]) + Number(stat[12])) / 100, kilobytes: Number(/VmRSS:\s+(\d+)/.exec(status)[1]) };
    };
    const idle = async (what) => {
      tell(`${what}, for ${IDLE_SECONDS} s ...`);
      const before = await usage();
      await sleep(IDLE_SECONDS * 1000);
      return ((await usage()).cpu - before.cpu) / IDLE_SECONDS;
    };
    /** Waits for the message that all watches hold a head that is newer than `number`. */
    let last;
    const answered = async (number) => {
      while (!(last?.number > number)) [last] = await once(waiting, 'message');
      return last;
    };
    const head = async () => numberOf(await (await fetch(`${issuer.own}/status-head`)).text());
    const revoke = async () => {
      const times = { published: [], answered: [] };
      for (let done = 0; done < REVOCATIONS; done += 1) {
        const { jti } = await issuer.token();
        const number = await head();
        const from = now();
        if (!await issuer.revoke(jti)) throw new Error('a revocation was not published');
        times.published.push(now() - from);
        if (waiting) times.answered.push((await answered(number)).at - from);
        await sleep(100);
      }
      return times;
    };
    await issuer.token();
    const alone = { cpu: await idle('without watches'), ...await revoke() };
    const before = await usage();
    tell(`open ${count} watches ...`);
    waiting = fork(new URL(import.meta.url).pathname, [String(count), issuer.own.split(':').at(-1)]);
    waiting.once('exit', (code) => { if (code) process.exit(1); });
    execFileSync('taskset', ['-a', '-p', '-c', '1', String(waiting.pid)], { stdio: 'ignore' });
    await answered(-1);
    const opened = await usage();
    const longest = await idle(`${count} watches wait for 25 s each`);
    waiting.send({ wait: 4 });
    // Until the last request for 25 s is over.
    await sleep(26_000);
    const held = { cpu: await idle(`${count} watches wait for 4 s each, as verifiers do`), ...await revoke() };
    const after = await usage();
    const ms = (values, share) => Math.round(percentile(values, share) * 10) / 10;
    const share = (cpu) => Math.round(cpu * 10000) / 10000;
    return {
      watches: count,
      bytes_each: Math.round((opened.kilobytes - before.kilobytes) * 1024 / count),
      bytes_each_after_revocations: Math.round((after.kilobytes - before.kilobytes) * 1024 / count),
      core_idle_without: share(alone.cpu), core_idle_25_s: share(longest), core_idle_4_s: share(held.cpu),
      published_without_ms: { p50: ms(alone.published, 0.5), p99: ms(alone.published, 0.99) },
      published_ms: { p50: ms(held.published, 0.5), p99: ms(held.published, 0.99) },
      all_answered_ms: { p50: ms(held.answered, 0.5), p99: ms(held.answered, 0.99), max: ms(held.answered, 1) },
    };
  } finally {
    waiting?.removeAllListeners('exit').kill('SIGKILL');
    await issuer.remove();
    await rm(folder, { recursive: true, force: true });
  }
}

const [, , count, port] = process.argv;
if (port) waitForHeads(Number(port), Number(count));
else console.log(JSON.stringify({ results: await measure(Number(count)) }));
