// Reports of use beside issuing: how many tokens fewer. Prints the results as JSON. The arguments are the number of
// reports in a second and the seconds of each measurement. Runs under `taskset -c 0`, which the issuer inherits;
// the load runs on the other core.

import { execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { Issuer } from '../../tests/stage/issuer.mjs';

const [REPORTS, SECONDS] = process.argv.slice(2).map(Number);
/** Connections that send reports. */
const CONNECTIONS = 50;
/** Tokens of one report. */
const TOKENS = 10;
const ROUNDS = 3;

/** The process that reports: sends when it is told, and tells how it went. */
function report({ port, issuer, bearer, tokens }) {
  let [taken, failed] = [0, 0];
  const times = [];
  const sockets = Array.from({ length: CONNECTIONS }, () => {
    const socket = connect(port, '127.0.0.1').setNoDelay(true).setEncoding('latin1');
    const sent = [];
    socket.on('data', (data) => {
      for (const status of data.match(/HTTP\/1\.1 \d+/g) ?? []) {
        times.push(performance.now() - sent.shift());
        if (status.endsWith('202')) taken += 1; else failed += 1;
      }
    });
    return { socket, sent };
  });
  let [number, isRunning] = [0, false];
  const send = () => {
    const now = Date.now();
    const own = tokens.slice((number * TOKENS) % (tokens.length - TOKENS));
    const body = gzipSync(JSON.stringify({
      isolate: `i${number % REPORTS}`, number: Math.floor(number / REPORTS) + 1, issuer, from_ms: now - 1000, to_ms: now, lost: 0,
      routes: [{ name: 'GET /invoices', needs: ['invoices:read'] }], places: [{ country: 'CH', asn: 13030, colo: 'ZRH' }],
      codes: ['accepted'], tokens: own.slice(0, TOKENS),
      uses: Array.from({ length: TOKENS }, (_, at) => [at, 0, 0, 0, 17, 0, 0]),
    }));
    const { socket, sent } = sockets[number % CONNECTIONS];
    number += 1;
    sent.push(performance.now());
    socket.write(`POST /usage-reports HTTP/1.1\r\nhost: i\r\nauthorization: Bearer ${bearer}\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: ${body.length}\r\n\r\n`);
    socket.write(body);
  };
  process.on('message', async (go) => {
    isRunning = go;
    const begun = performance.now();
    let due = 0;
    while (isRunning) {
      for (const until = ((performance.now() - begun) * REPORTS) / 1000; due < until; due += 1) send();
      await sleep(5);
    }
    if (!go) {
      await sleep(1000);
      times.sort((a, b) => a - b);
      process.send({ taken, failed, p50: times[times.length >> 1], p99: times[Math.floor(times.length * 0.99)] });
    }
  });
  process.send('ready');
}

if (process.send) {
  process.once('message', report);
} else {
  const issuer = await Issuer.start({ reports: true });
  const { port } = new URL(issuer.own);
  const basic = Buffer.from(`guard:${issuer.guardSecret}`).toString('base64');
  const answer = await fetch(`${issuer.own}/oauth/token`, {
    method: 'POST', headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'edgepass:usage', resource: issuer.url }),
  });
  const { access_token: bearer } = await answer.json();
  const tokens = [];
  for (let at = 0; at < 2000; at += 1) tokens.push((await issuer.token()).jti);
  const child = fork(new URL(import.meta.url), process.argv.slice(2), { execArgv: [] });
  execFileSync('taskset', ['-a', '-cp', '1', `${child.pid}`]);
  child.send({ port, issuer: issuer.url, bearer, tokens });
  await once(child, 'message');
  const client = Buffer.from(`example-service:${issuer.secret}`).toString('base64');
  const issue = async () => {
    const script = new URL('token.lua', import.meta.url).pathname;
    const wrk = spawn('taskset', ['-c', '1', 'wrk', '-t1', '-c16', `-d${SECONDS}s`, '-s', script, `${issuer.own}/oauth/token`], {
      env: { ...process.env, EDGEPASS_BODY: 'grant_type=client_credentials', EDGEPASS_AUTHORIZATION: `Basic ${client}` },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    wrk.stdout.on('data', (data) => { text += data; });
    await once(wrk, 'exit');
    const { requests, seconds, failed } = JSON.parse(text.trim().split('\n').at(-1));
    if (failed > 0) throw new Error(`${failed} token requests failed`);
    return requests / seconds;
  };
  await issue();
  const rates = { alone: [], beside: [] };
  let told;
  for (let round = 0; round < ROUNDS; round += 1) {
    rates.alone.push(await issue());
    child.send(true);
    rates.beside.push(await issue());
    child.send(false);
    [told] = await once(child, 'message');
  }
  const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
  const results = {
    reports: REPORTS, tokens_per_report: TOKENS, issued_alone: median(rates.alone), issued_beside: median(rates.beside),
    ratio: median(rates.beside) / median(rates.alone), ...told,
  };
  console.log(JSON.stringify({ results }));
  child.kill();
  await issuer.remove();
}
