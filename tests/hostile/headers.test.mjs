// The guard removes every header that origins trust from proxies, as docs/security.md lists them,
// on every route.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import test from 'node:test';
import { start } from '../hosts/guard.mjs';
import { issuer } from '../hosts/issuer.mjs';

const document = readFileSync(new URL('../../docs/security.md', import.meta.url), 'utf8');
const section = document.split('## Headers that no client may write')[1].split('\n## ')[0];
/** The names in the first column of the table; a prefix `-*` becomes `-x`. */
const NAMES = section.split('\n').filter((line) => line.startsWith('| `')).flatMap((line) => (
  [...line.split('|')[1].matchAll(/`([^`]+)`/g)].map(([, name]) => name.replace(/-\*$/, '-x'))));

/** Sends the bytes of `head` and reads the response to its end. */
function raw(url, head) {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(url.port), url.hostname, () => socket.write(head));
    let answer = '';
    socket.setEncoding('utf8').on('data', (data) => { answer += data; });
    socket.on('end', () => resolve(answer)).on('error', reject);
  });
}

test('the table names headers', () => {
  assert.ok(NAMES.length > 80, `${NAMES.length} names`);
});

test('none of them, and no look-alike, reaches the origin; what is not among them does', async (t) => {
  const { token, trusted } = await issuer(t, 'p256_client');
  const { url } = await start(t, {
    bindings: { ISSUERS: [trusted], CACHE: 'none', ORIGIN_SECRET: 's'.repeat(32) }, serviceBindings: { ORIGIN: 'origin' },
    unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
  });
  const spelled = [
    (name) => name, (name) => name.toUpperCase(), (name) => name.replaceAll('-', '_'),
    (name) => name.replaceAll('-', '.'), (name) => name.replace('-', '~'),
  ];
  const kept = { 'x-request-id': '1', 'x-user-agent': 'grpc-web', 'x-forwarded-proto': 'https', cookie: 'a=b' };
  for (const [path, authorization] of [
    ['/health', undefined], ['/invoices', `Bearer ${token()}`], ['/legacy', `Bearer ${token()}`],
  ]) {
    for (const spell of spelled) {
      for (let from = 0; from < NAMES.length; from += 60) {
        const names = NAMES.slice(from, from + 60).map(spell)
          .filter((name) => !/^(connection|proxy-connection)$/i.test(name));
        const lines = [
          `GET ${path} HTTP/1.1`, 'Host: api.example', 'Connection: close, x-edgepass-subject',
          ...(authorization ? [`Authorization: ${authorization}`] : []),
          ...Object.entries(kept).map((pair) => pair.join(': ')),
          ...names.map((name) => `${name}: forged`),
        ];
        const answer = await raw(url, `${lines.join('\r\n')}\r\n\r\n`);
        assert.match(answer, /^HTTP\/1.1 200 /);
        const seen = JSON.parse(answer.slice(answer.indexOf('{'), answer.lastIndexOf('}') + 1)).names;
        const wrong = seen.filter((name) => names.some((own) => own.toLowerCase() === name));
        assert.deepEqual(wrong, [], `${path}: ${spell('a-b')}`);
        assert.deepEqual(Object.keys(kept).filter((name) => !seen.includes(name)), [], path);
      }
    }
  }
});

test('a GET that says that its body is empty is a GET', async (t) => {
  const { token, trusted } = await issuer(t, 'p256_client');
  const { url } = await start(t, {
    bindings: { ISSUERS: [trusted], CACHE: 'none' }, serviceBindings: { ORIGIN: 'origin' },
  });
  for (const [path, headers] of [['/health', ''], ['/invoices', `Authorization: Bearer ${token()}\r\n`]]) {
    const answer = await raw(url, `GET ${path} HTTP/1.1\r\nHost: h\r\n${headers}Content-Length: 0\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1.1 200 /, path);
    const body = await raw(url, `GET ${path} HTTP/1.1\r\nHost: h\r\n${headers}Content-Length: 1\r\nConnection: close\r\n\r\nx`);
    assert.match(body, /^HTTP\/1.1 400 /, path);
  }
});
