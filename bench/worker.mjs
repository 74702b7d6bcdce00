// The Worker that runs subjects. POST / sets up a run, PUT /?run= replaces its tokens, and GET
// /?run=&n= verifies n of them.

import * as edgepass from 'library';
import { prepare } from './prepare.mjs';
import { SUBJECTS } from './subjects.mjs';

const runs = new Map();
globalThis.pending = [];

export default {
  async fetch(request, env, context) {
    try {
      return new Response(await answer(request, new URL(request.url).searchParams));
    } catch (error) {
      return new Response(String(error.stack), { status: 500 });
    } finally {
      // Tables are built after the response.
      for (const work of globalThis.pending.splice(0)) context.waitUntil(work);
    }
  },
};

async function answer(request, asked) {
  if (request.method === 'POST') {
    const { run, subject, setup, texts, expected } = await request.json();
    const prepared = await prepare(SUBJECTS[subject], setup, texts, expected, edgepass);
    if (prepared) runs.set(run, prepared);
    return prepared ? 'ready' : 'not supported';
  }
  const run = runs.get(asked.get('run'));
  if (request.method === 'PUT') {
    const { texts, expected } = await request.json();
    run.take(texts, expected);
  } else {
    await run(Number(asked.get('n')));
  }
  return 'done';
}
