// Clients that request and revoke tokens at once until they are stopped.

import { setTimeout } from 'node:timers/promises';
import { ask, revoke } from './server.mjs';
import { Broken } from './ledger.mjs';

/**
 * Starts a load: clients that request tokens, clients that revoke them over HTTP, and one that revokes
 * with the command line. What is acknowledged goes to the ledger. `stop()` waits for the requests under
 * way. Answers other than 200 and 503 with `Retry-After` are an error; no answer is none.
 */
export function load(issuer, ledger, { clients = 6, revokers = 2, commands = 1 } = {}) {
  const seen = { tokens: 0, revocations: 0, unavailable: 0, unanswered: 0 };
  const live = [];
  let stopped = false;
  const count = ({ status, retryAfter }, acknowledged) => {
    if (status === 503 && !retryAfter) throw new Broken('a request is answered with 503 without Retry-After');
    if (status === 200) seen[acknowledged] += 1;
    else if (status === 503) seen.unavailable += 1;
    else if (status === 0) seen.unanswered += 1;
    else throw new Broken(`a request is answered with ${status}`);
    return status === 200 ? undefined : setTimeout(5);
  };
  const repeat = async (work) => {
    while (!stopped) await work();
  };
  const withToken = async (work) => {
    const at = Math.floor(Math.random() * live.length);
    const [jti] = live.splice(at, 1);
    return jti ? work(jti) : setTimeout(2);
  };
  const request = async () => {
    const outcome = await ask(issuer, ledger);
    if (outcome.jti) live.push(outcome.jti);
    await count(outcome, 'tokens');
  };
  const withdraw = async (jti) => count(await revoke(issuer, ledger, jti), 'revocations');
  const command = async (jti) => {
    const argv = ['revoke', '--jti', jti, '--reason', 'test'];
    const done = await issuer.edgepass(...argv).then(() => true, () => false);
    if (done) ledger.revoked.add(jti);
    await count({ status: done ? 200 : 0 }, 'revocations');
  };
  const all = Promise.all([
    ...Array.from({ length: clients }, () => repeat(request)),
    ...Array.from({ length: revokers }, () => repeat(() => withToken(withdraw))),
    ...Array.from({ length: commands }, () => repeat(() => withToken(command))),
  ]);
  // The error is thrown by `stop`.
  all.catch(() => { stopped = true; });
  return {
    seen,
    async stop() {
      stopped = true;
      await all;
      return seen;
    },
  };
}
