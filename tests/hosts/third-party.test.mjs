// Third-party vectors in Node.js, in workerd and in Chromium.
//
// EDGEPASS_PROBE is the folder of the probe compiled to Wasm, EDGEPASS_CHROMIUM the browser's
// program.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';
import { HOSTS } from './hosts.mjs';

const folder = new URL('../third-party/', import.meta.url);
const texts = Object.fromEntries(readdirSync(folder, { recursive: true })
  // The crate `log` reads those of transparency logs, which no JavaScript host does.
  .filter((name) => name.endsWith('.json') && !name.startsWith('tlog/'))
  .map((name) => [name, readFileSync(new URL(name, folder), 'utf8')]));

for (const [host, run] of Object.entries(HOSTS)) {
  test(`${host}: vectors of others are judged as labelled or differ for a reason`, async (t) => {
    const reports = await run(t, process.env.EDGEPASS_PROBE, 'third-party.mjs', texts);
    let judged = 0;
    for (const [name, report] of Object.entries(reports)) {
      assert.deepEqual(report.wrong, [], name);
      judged += report.judged;
    }
    // Every file is read except wycheproof/overrides.json, which lists wrong labels.
    assert.equal(Object.keys(reports).length, Object.keys(texts).length - 1);
    console.log(`${host}: ${judged} vectors of others`);
    assert.equal(judged, 1646);
  });
}
