// Serves a folder of static files with the headers of the deployed inspector.

import { readFileSync } from 'node:fs';
import { extname, join, normalize } from 'node:path';

const TYPES = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.mjs': 'text/javascript',
  '.css': 'text/css', '.json': 'application/json', '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
};

/** Returns a request handler for the files of `folder`. Its `_headers` lists headers by path. */
export function serveFolder(folder) {
  const rules = readRules(join(folder, '_headers'));
  return (request, response) => {
    const { pathname } = new URL(request.url, 'http://files');
    const path = normalize(pathname.endsWith('/') ? `${pathname}index.html` : pathname);
    let body;
    try {
      body = readFileSync(join(folder, path));
    } catch {
      response.writeHead(404).end('not found\n');
      return;
    }
    const headers = { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' };
    for (const [prefix, lines] of rules) {
      // Matches the path as requested, as the hosts that read such files do.
      const matches = prefix.endsWith('*')
        ? pathname.startsWith(prefix.slice(0, -1)) : pathname === prefix;
      if (matches) Object.assign(headers, lines);
    }
    response.writeHead(200, headers).end(body);
  };
}

/** The `_headers` format of Cloudflare's static assets: a path, then indented header lines. */
function readRules(file) {
  let text;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  const rules = [];
  for (const line of text.split('\n')) {
    if (/^\s*(#|$)/.test(line)) continue;
    if (!/^\s/.test(line)) rules.push([line.trim(), {}]);
    else {
      const colon = line.indexOf(':');
      rules.at(-1)[1][line.slice(0, colon).trim().toLowerCase()] = line.slice(colon + 1).trim();
    }
  }
  return rules;
}
