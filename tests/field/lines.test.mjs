// Tokens, keys and lists of other issuers, by kind, in Node.js, in workerd and in Chromium, through
// the packed package.
//
// EDGEPASS_INSTALLED is a folder with the installed package, EDGEPASS_CHROMIUM the browser's program.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { HOSTS } from '../hosts/hosts.mjs';

const packageFolder = join(process.env.EDGEPASS_INSTALLED, 'node_modules/edgepass/dist');
const read = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const lines = ['field', 'issuers'].flatMap((name) => (
  read(`../vectors/${name}.jsonl`).trim().split('\n').map((line) => JSON.parse(line))));
const KINDS = [...new Set(lines.map(({ id }) => id.split('/')[0]))];

test('each policy of docs/issuers.md has accepted a token of its issuer', () => {
  const page = read('../../docs/issuers.md').split('## Policies of common issuers')[1];
  const accepted = lines.filter(({ id, expect }) => id.startsWith('issuer/') && expect.code === null);
  const blocks = [...page.matchAll(/```json\n([\s\S]*?)```/g)];
  assert.ok(blocks.length > 20);
  for (const [, text] of blocks) {
    const { jwks_uri: _, freshness: __, ...policy } = JSON.parse(text);
    const isIt = ({ policy: { required_scopes: ___, ...own } }) => isDeepStrictEqual(own, policy);
    assert.ok(accepted.some(isIt), `${text}: run \`cargo xtask forge\``);
  }
});

for (const [host, run] of Object.entries(HOSTS)) {
  test(`${host}: every line of the field gives its answer`, async (t) => {
    const answers = await run(t, packageFolder, 'batch.mjs', lines);
    assert.equal(answers.length, lines.length);
    for (const kind of KINDS) {
      let count = 0;
      answers.forEach(({ id, message, ...answer }, position) => {
        if (!lines[position].id.startsWith(`${kind}/`)) return;
        assert.equal(id, lines[position].id);
        assert.deepEqual(answer, lines[position].expect, `${id} ${message ?? ''}`);
        count += 1;
      });
      console.log(`${host}: ${kind}: ${count} lines`);
    }
  });
}
