// Origins that read paths in their own ways: real servers, and models of other servers.
//
// Each takes a policy's patterns. `reads` returns, for a path as it is sent, the number of the
// pattern whose handler runs, or null.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import express from 'express';
import fastify from 'fastify';

const agent = new Agent({ keepAlive: true, maxSockets: 8 });

/** Requests a path exactly as written. Returns the number that the handler answers, or null. */
function ask(port, path) {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, agent, setHost: true }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (data) => { text += data; });
      response.on('end', () => resolve(response.statusCode === 200 ? Number(text) : null));
    });
    sent.on('error', reject).end();
  });
}

async function listening(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

/** Makes an origin of a server; each path is one request. */
async function served(server, close = () => server.close()) {
  const port = await listening(server);
  return { reads: (path) => ask(port, path), close };
}

const parts = (path) => path.split('/').slice(1);

/** Express 5 with its defaults, which ignore case and a trailing slash. */
export async function expressOrigin(patterns) {
  const app = express();
  patterns.forEach((pattern, number) => {
    const path = parts(pattern).map((part) => (part === '*' ? '*rest' : part.replace(/^\{(.*)\}$/, ':$1')));
    app.get(`/${path.join('/')}`, (_, response) => response.send(String(number)));
  });
  return served(createServer(app));
}

/** Fastify 5 with every lax option. */
export async function fastifyOrigin(patterns) {
  const app = fastify({ routerOptions: {
    caseSensitive: false, ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, useSemicolonDelimiter: true,
  } });
  patterns.forEach((pattern, number) => {
    const path = parts(pattern).map((part) => part.replace(/^\{(.*)\}$/, ':$1'));
    try {
      app.get(`/${path.join('/')}`, (_, reply) => reply.send(String(number)));
    } catch (error) {
      // Fastify takes two patterns for one: the first keeps the handler.
      if (error.code !== 'FST_ERR_DUPLICATED_ROUTE') throw error;
    }
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address();
  return { reads: (path) => ask(port, path), close: () => app.close() };
}

/** nginx with a case-insensitive location for each pattern. */
export async function nginxOrigin(patterns) {
  const folder = mkdtempSync(join(tmpdir(), 'edgepass-nginx-'));
  const free = createTcpServer();
  const port = await listening(free);
  await new Promise((resolve) => { free.close(resolve); });
  const locations = patterns.map((pattern, number) => {
    const expression = parts(pattern).map((part) => {
      if (part === '*') return '.+';
      return part.startsWith('{') ? '[^/]+' : part.replaceAll(/[.+*?^$()|[\]\\]/g, '\\$&');
    }).join('/');
    return `location ~* "^/${expression}/?$" { return 200 "${number}"; }`;
  });
  writeFileSync(join(folder, 'nginx.conf'), `
    daemon off; pid ${folder}/pid; error_log ${folder}/error.log; worker_processes 1;
    events {}
    http {
      access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join(' ')}
      server { listen 127.0.0.1:${port}; ${locations.join('\n')} }
    }`);
  mkdirSync(join(folder, 'logs'));
  const nginx = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', `${folder}/error.log`], { stdio: 'ignore' });
  const ended = once(nginx, 'exit');
  for (let tries = 0; ; tries += 1) {
    try {
      await ask(port, '/');
      break;
    } catch (error) {
      if (tries > 100) throw error;
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
  }
  const close = async () => {
    nginx.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true });
  };
  return { reads: (path) => ask(port, path), close };
}

/** Decodes the percent-encoding of a path; a malformed path stays unchanged. */
const decoded = (path) => {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
};

/**
 * Models an origin: `read` gives the form or forms in which it compares a path, `caseCounts`
 * whether it compares case.
 */
function table(read, { caseCounts = true } = {}) {
  return async (patterns) => {
    const fold = (text) => (caseCounts ? text : text.toUpperCase());
    const matches = (pattern, path) => {
      const [wanted, given] = [parts(pattern), parts(path)];
      const last = wanted.length - 1;
      if (wanted[last] === '*' ? given.length <= last : given.length !== wanted.length) return false;
      return wanted.every((part, position) => part === '*'
        || (part.startsWith('{') ? given[position] !== '' : fold(part) === fold(given[position])));
    };
    const reads = async (path) => {
      const readings = [read(path)].flat();
      const number = patterns.findIndex((pattern) => readings.some((one) => matches(pattern, one)));
      return number < 0 ? null : number;
    };
    return { reads, close: () => {} };
  };
}

/** Models servlet mappings (Servlet 6.0, section 12.1): an exact match, else the longest prefix. */
async function servlets(patterns) {
  const reads = async (path) => {
    const plain = decoded(path.replaceAll(/;[^/]*/g, ''));
    let best = null;
    for (const [number, pattern] of patterns.entries()) {
      if (pattern.includes('{')) continue;
      const stem = pattern.endsWith('/*') ? pattern.slice(0, -2) : null;
      const fits = stem === null ? plain === pattern : plain === stem || plain.startsWith(`${stem}/`);
      const length = stem === null ? Infinity : stem.length;
      if (fits && (best === null || length > best.length)) best = { number, length };
    }
    return best?.number ?? null;
  };
  return { reads, close: () => {} };
}

/** Removes one trailing slash. */
const slashless = (path) => (path.length > 1 ? path.replace(/\/$/, '') : path);

export const ORIGINS = {
  'Express 5': expressOrigin,
  'Fastify 5, all lax': fastifyOrigin,
  'nginx, ~*': nginxOrigin,
  // Tomcat 10.1, StandardContext and CoyoteAdapter.parsePathParameters: removes `;` and the rest of
  // the segment, then decodes. Behind a proxy that decodes (nginx with a URI in proxy_pass) this
  // includes an escaped `;`.
  Tomcat: table((path) => decoded(path.replaceAll(/;[^/]*/g, ''))),
  'Tomcat behind a proxy that decodes': table((path) => decoded(path).replaceAll(/;[^/]*/g, '')),
  // Microsoft.AspNetCore.Routing: ordinal comparison without case, ignores one trailing slash,
  // decodes.
  'ASP.NET Core': table((path) => decoded(slashless(path)), { caseCounts: false }),
  // IIS and Windows files: trailing dots and spaces of a name are dropped.
  'IIS on Windows': table((path) => decoded(slashless(path)).split('/').map((name) => name.replace(/[. ]+$/, '')).join('/'), { caseCounts: false }),
  // Rails 7, Journey: an optional format suffix, a trailing slash.
  Rails: table((path) => [slashless(path), slashless(path).replace(/\.[^/.?]+$/, '')].map(decoded)),
  // Spring MVC 4.3 and older: suffix patterns, a trailing slash, spaces around a segment
  // (trimTokens).
  'Spring 4': table((path) => {
    const plain = slashless(decoded(path.replaceAll(/;[^/]*/g, '')));
    return [plain, plain.replace(/\.[^/]*$/, ''), plain.split('/').map((part) => part.trim()).join('/')];
  }),
  // A PHP front controller (Laravel, Symfony, WordPress): a leading /index.php is dropped.
  'PHP front controller': table((path) => decoded(slashless(path)).replace(/^\/index\.php(?=\/)/i, '')),
  // ASP.NET 4: session IDs in the path, and the default page of a folder.
  'ASP.NET 4': table((path) => {
    const plain = decoded(slashless(path)).replaceAll(/\/\([A-Z]\([^/]*\)\)/gi, '');
    return [plain, plain.replace(/\/default\.aspx$/i, '')];
  }, { caseCounts: false }),
  // Servlet mappings: /x/* also matches /x; the longest match wins, whatever the order.
  'Servlet mappings': servlets,
  // Apache with MultiViews and PHP: an omitted extension, and path info after a file.
  'Apache with PHP': table((path) => {
    const plain = decoded(path);
    const file = /^(.*?\.php)\/.*$/i.exec(plain);
    const readings = [plain, slashless(plain), ...(file ? [file[1]] : [])];
    return readings.flatMap((one) => [one, `${one}.php`, one.replace(/\.[A-Za-z0-9]+$/, '')]);
  }),
  // Django with re_path and (?i), Python's re: letters outside ASCII that fold to ASCII letters.
  'Django, (?i)': table((path) => decoded(path).replaceAll('\u0131', 'i').replaceAll('\u0130', 'i')
    .replaceAll('\u017f', 's').replaceAll('\u212a', 'k'), { caseCounts: false }),
};
