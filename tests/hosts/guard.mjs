// The guard in workerd, with surroundings of a test's own.

import { setTimeout } from 'node:timers/promises';
import { Log, LogLevel, Miniflare, convertV4MiniflareOptions } from 'miniflare';

const { EDGEPASS_GUARD: build } = process.env;

/** Everything that guards have logged. */
export const LOGGED = [];

export const guardWorker = {
  name: 'guard', compatibilityDate: '2026-10-01', modulesRoot: build,
  modules: [
    { type: 'ESModule', path: `${build}/index.js` },
    { type: 'CompiledWasm', path: `${build}/index_bg.wasm` },
  ],
};

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

/** The guard in workerd, in front of an origin bound as a service; more workers beside it. */
export async function start(t, worker, ...others) {
  const logged = [];
  const guard = new Miniflare(convertV4MiniflareOptions({
    host: '127.0.0.1', port: 0, cf: false, log: new Log(LogLevel.ERROR),
    handleStructuredLogs: ({ message }) => { logged.push(message); LOGGED.push(message); },
    workers: [
      { ...guardWorker, ...worker },
      ...others.map((other) => ({ ...guardWorker, ...other })),
      { name: 'origin', compatibilityDate: '2026-10-01', modules: true, script: ORIGIN },
    ],
  }));
  t.after(() => guard.dispose());
  /** Whether a line that holds this is logged; logs arrive by a way of their own. */
  const logs = async (text) => {
    for (let waited = 0; waited < 5000; waited += 20) {
      if (logged.some((line) => line.includes(text))) return true;
      await setTimeout(20);
    }
    return false;
  };
  return { guard, url: await guard.ready, logged, logs };
}
