// A proxy that injects faults between two servers.

import { createServer, request } from 'node:http';
import { listen } from './ports.mjs';

/** A proxy in front of a server. It forwards requests, or fails as `refuse` and `fault` say. */
export class FaultProxy {
  /** Editions that GET returned with 200, by path, oldest first. */
  seen = new Map();
  /** `(request) => reply` answers instead of the server. `undefined` forwards the request, `null`
   * destroys the connection, `'silence'` never answers. */
  refuse = () => undefined;
  /** `(request, reply) => reply` changes the server's response; `null` destroys the connection. */
  fault = (_, reply) => reply;
  requests = 0;

  constructor(target) {
    this.target = target;
  }

  /** Starts the proxy. Returns its URL. */
  listen() {
    this.server = createServer((incoming, outgoing) => this.#pass(incoming, outgoing));
    return listen(this.server);
  }

  close() {
    this.server.close();
    this.server.closeAllConnections();
  }

  /** Destroys every connection from now on. */
  down() {
    this.refuse = () => null;
    this.server.closeAllConnections();
  }

  up() {
    this.refuse = () => undefined;
    this.fault = (_, reply) => reply;
  }

  #pass(incoming, outgoing) {
    this.requests += 1;
    const chunks = [];
    incoming.on('data', (chunk) => chunks.push(chunk));
    incoming.on('error', () => outgoing.destroy());
    incoming.on('end', () => {
      const refused = this.refuse(incoming);
      if (refused === null) return outgoing.destroy();
      if (refused === 'silence') return undefined;
      if (refused) return outgoing.writeHead(refused.status).end(refused.body);
      const onward = request(this.target + incoming.url, {
        method: incoming.method, headers: incoming.headers, agent: false,
      }, (answer) => {
        const body = [];
        answer.on('data', (chunk) => body.push(chunk));
        answer.on('end', () => {
          const { statusCode: status, headers } = answer;
          const reply = { status, headers, body: Buffer.concat(body) };
          if (status === 200 && incoming.method === 'GET') {
            const before = this.seen.get(incoming.url) ?? [];
            if (before.at(-1)?.headers.etag !== headers.etag) before.push(reply);
            this.seen.set(incoming.url, before);
          }
          const changed = this.fault(incoming, reply);
          if (changed === null) return outgoing.destroy();
          const { connection, 'transfer-encoding': coding, ...kept } = changed.headers;
          outgoing.writeHead(changed.status, { ...kept, 'content-length': changed.body.length });
          return outgoing.end(changed.body);
        });
      });
      onward.on('error', () => outgoing.destroy());
      return onward.end(Buffer.concat(chunks));
    });
  }
}
