// Ports for servers that tests start.

import { createServer } from 'node:net';

let drawn = process.pid;

/**
 * Returns a free port between 12,000 and 22,000. Outgoing connections get higher ports, so none can
 * take it while a restarted server does not listen.
 */
export async function freePort() {
  for (let tries = 0; tries < 100; tries += 1) {
    drawn += 61;
    const port = 12_000 + (drawn % 10_000);
    const server = createServer();
    const listens = await new Promise((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!listens) continue;
    await new Promise((resolve) => { server.close(resolve); });
    return port;
  }
  throw new Error('no port between 12,000 and 22,000 is free');
}

/** Makes an HTTP server listen on a port of the system's choice. Returns its URL. */
export function listen(server) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
  });
}
