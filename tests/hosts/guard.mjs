// Runs the guard in workerd with the bindings that a test chooses.

import { setTimeout } from 'node:timers/promises';
import { guardModules, startWorkers } from '../stage/workerd.mjs';

const { EDGEPASS_GUARD: build } = process.env;

/** Every message that guards have logged. */
export const LOGGED = [];

export const guardWorker = { name: 'guard', ...guardModules(build) };

const ORIGIN = `
  const encoder = new TextEncoder();
  const closed = [];
  export default { async fetch(request) {
    const { pathname } = new URL(request.url);
    if (request.headers.get('upgrade') === 'websocket') {
      const [client, server] = Object.values(new WebSocketPair());
      server.accept();
      server.binaryType = 'arraybuffer';
      server.addEventListener('message', ({ data }) => {
        if (typeof data !== 'string') server.send(data);
        else if (data === 'close') server.close(4001, 'the origin closes');
        else server.send('echo ' + data);
      });
      server.addEventListener('close', ({ code, reason }) => closed.push([code, reason]));
      const protocol = request.headers.get('sec-websocket-protocol');
      const headers = protocol ? { 'sec-websocket-protocol': protocol.split(',')[0] } : {};
      return new Response(null, { status: 101, webSocket: client, headers });
    }
    if (pathname === '/reports/closed') return Response.json(closed);
    if (pathname === '/reports/stream') {
      const { readable, writable } = new TransformStream();
      const writer = writable.getWriter();
      (async () => {
        for (let count = 0; ; count += 1) {
          await writer.write(encoder.encode('line ' + count + '\\n'));
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      })().catch(() => closed.push('stream'));
      return new Response(readable);
    }
    if (pathname === '/reports/large') {
      const whole = encoder.encode('x'.repeat(3 << 20));
      return new Response(whole, { headers: { 'content-length': String(whole.length) } });
    }
    if (pathname === '/reports/slow') {
      const { readable, writable } = new TransformStream();
      const writer = writable.getWriter();
      (async () => {
        await writer.write(encoder.encode('first'));
        await new Promise((resolve) => setTimeout(resolve, 300));
        await writer.write(encoder.encode('second'));
        await writer.close();
      })();
      return new Response(readable);
    }
    return Response.json({
      url: request.url, told: request.headers.get('x-edgepass-subject'),
      scope: request.headers.get('x-edgepass-scope'), names: [...request.headers.keys()],
    });
  } };`;

/** Starts the guard in workerd, beside the Worker `origin`, which a test can bind, and others. */
export async function start(t, worker, ...others) {
  const logged = [];
  const { workerd: guard, url, stop } = await startWorkers([
    { ...guardWorker, ...worker },
    ...others.map((other) => ({ ...guardWorker, ...other })),
    { name: 'origin', modules: true, script: ORIGIN },
  ], { log: (message) => { logged.push(message); LOGGED.push(message); } });
  t.after(stop);
  /** Whether a logged line contains `text`. Waits up to 5 s: logs may arrive after responses. */
  const logs = async (text) => {
    for (let waited = 0; waited < 5000; waited += 20) {
      if (logged.some((line) => line.includes(text))) return true;
      await setTimeout(20);
    }
    return false;
  };
  return { guard, url, logged, logs };
}
