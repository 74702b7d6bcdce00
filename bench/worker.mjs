// The Worker that runs subjects: POST / sets up a run, GET /?run=&n= runs it.

import * as edgepass from 'library';
import { SUBJECTS, prepare } from './subjects.mjs';

const runs = new Map();
globalThis.pending = [];

export default {
  async fetch(request, env, context) {
    const url = new URL(request.url);
    if (request.method === 'POST') {
      const { run, subject, setup, texts, expected } = await request.json();
      const prepared = await prepare(SUBJECTS[subject], setup, texts, expected, edgepass);
      if (prepared) runs.set(run, prepared);
      return new Response(prepared ? 'ready' : 'not supported');
    }
    try {
      await runs.get(url.searchParams.get('run'))(Number(url.searchParams.get('n')));
    } catch (error) {
      return new Response(String(error.stack), { status: 500 });
    }
    // Tables are laid out behind the response.
    for (const work of globalThis.pending.splice(0)) context.waitUntil(work);
    return new Response('done');
  },
};
