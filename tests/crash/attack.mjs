// Clients that mean no good, in a process of their own: `node attack.mjs KIND PORT`. Prints a line of JSON
// once all have been opened, and one with the number of each answer when the end of stdin tells it to stop.

import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const [kind, port] = process.argv.slice(2);
const HEAD = 'POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n';
const BODY = 'grant_type=client_credentials';
const WRONG = `${HEAD}Authorization: Basic ${btoa('example-service:wrong')}\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;
const answers = {};
let stopped = false;

/** Opens a connection, and counts its answers by status. `ended` is called when it ends. */
function open(work, ended = () => {}) {
  // An address of its own: limits count by address.
  const socket = connect({ port: Number(port), host: '127.0.0.1', localAddress: '127.0.0.2' });
  socket.on('data', (data) => {
    for (const [, status] of String(data).matchAll(/HTTP\/1\.1 (\d{3})/g)) answers[status] = (answers[status] ?? 0) + 1;
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    answers.closed = (answers.closed ?? 0) + 1;
    ended();
  });
  socket.on('connect', () => work(socket));
  return socket;
}

/** Keeps `count` connections at the same work, at most 20 new ones at once: the issuer may end them. */
async function keep(count, work) {
  let [live, opened] = [0, 0];
  while (!stopped) {
    for (let some = 0; some < 20 && live < count; some += 1) {
      live += 1;
      opened += 1;
      open(work, () => { live -= 1; });
      if (opened === count) console.log(JSON.stringify({ connections: count }));
    }
    await sleep(live < count ? 1 : 50);
  }
}

/** Writes `text` again and again, as fast as the other side takes it. */
function flood(socket, text) {
  const go = () => {
    while (!stopped && socket.writable && socket.write(text));
  };
  socket.on('drain', go);
  go();
}

const KINDS = {
  // Not again what the issuer ends.
  idle: async () => {
    for (let some = 0; some < 500; some += 1) {
      for (let one = 0; one < 20; one += 1) open(() => {});
      await sleep(2);
    }
    console.log(JSON.stringify({ connections: 10_000 }));
  },
  'slow-header': () => keep(1_000, (socket) => {
    socket.write(`${HEAD}X: `);
    const timer = setInterval(() => socket.write('a'), 1_000);
    socket.on('close', () => clearInterval(timer));
  }),
  'slow-body': () => keep(500, (socket) => {
    socket.write(`${HEAD}Content-Length: 1000\r\n\r\n`);
    const timer = setInterval(() => socket.write('a'), 1_000);
    socket.on('close', () => clearInterval(timer));
  }),
  'endless-header': () => keep(20, (socket) => flood(socket, `${HEAD}X: ${'a'.repeat(1 << 16)}`)),
  'huge-body': () => keep(20, (socket) => {
    socket.write(`${HEAD}Content-Length: 100000000\r\n\r\n`);
    flood(socket, 'a'.repeat(1 << 16));
  }),
  'wrong-secret': () => keep(50, (socket) => flood(socket, WRONG.repeat(20))),
};

process.stdin.on('end', () => {
  stopped = true;
  console.log(JSON.stringify({ answers }));
  process.exit(0);
}).resume();
await KINDS[kind]();
