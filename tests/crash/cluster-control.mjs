// A server that loses what it confirms is refused, and violations in the database are found.

import { checkRows } from './check.mjs';
import { Broken, Ledger } from './ledger.mjs';
import { Cluster } from './nodes.mjs';
import { needsServer, Server } from './postgres.mjs';
import { ask, mustSucceed, restart, revoke, tryToServe } from './server.mjs';

/** The exit code of an issuer whose database cannot be used. */
const UNAVAILABLE = 3;

const REMOVABLE = 'ALTER TABLE audit DISABLE TRIGGER USER';
const ACT = "leaf::json ->> 'act'";

/** Each violation with the words by which the checks report it. */
const PLANTED = [
  ['DELETE FROM tokens WHERE seq = (SELECT max(seq) FROM tokens)', /is not recorded|is in the audit trail only/],
  [`${REMOVABLE}; DELETE FROM audit WHERE ${ACT} = 'token_issued'`, /has 0 entries token_issued/],
  [`${REMOVABLE}; DELETE FROM audit WHERE seq = 8`, /the audit trail goes from seq/],
  [`INSERT INTO audit SELECT (SELECT max(seq) + 1 FROM audit), at_ms, leaf, salt, private
    FROM audit WHERE ${ACT} = 'token_issued' LIMIT 1`, /has 2 entries token_issued/],
  ['UPDATE tokens SET status = 0', /the acknowledged revocation of .* is not recorded/],
  [`${REMOVABLE}; DELETE FROM audit WHERE ${ACT} = 'token_revoked'`, /has 0 entries token_revoked/],
  ['UPDATE tokens SET list_index = (SELECT min(list_index) FROM tokens)', /is recorded \d+ times/],
  ["UPDATE signing_keys SET use = 'retired' WHERE use = 'standby'", /0 stand by/],
];

/** What the checks say about the rows after a change, or `undefined`. */
async function saidAbout(change, { server, name, ledger }) {
  try {
    checkRows(await server.rows(name, change), ledger);
    return undefined;
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    return error.message;
  }
}

async function planted() {
  const cluster = await Cluster.start(await Server.start(), new Ledger(), { count: 1 });
  for (let at = 0; at < 20; at += 1) {
    const { jti } = await ask(cluster, cluster.ledger);
    if (at % 5 === 0) mustSucceed('a revocation', await revoke(cluster, cluster.ledger, jti));
  }
  await cluster.check();
  for (const [change, words] of PLANTED) {
    const said = await saidAbout(change, cluster);
    if (!words.test(said ?? '')) throw new Broken(`the checks say ${said ?? 'nothing'} about: ${change}`);
  }
  await cluster.check();
  return { runs: PLANTED.length, seen: 'each is found' };
}

/** `serve` on a server with each of these settings. */
async function undurable() {
  const server = await Server.start();
  const cluster = await Cluster.start(server, new Ledger(), { count: 1 });
  const [node] = cluster.nodes;
  for (const setting of ['fsync', 'synchronous_commit']) {
    await cluster.kill(node);
    await server.stop('SIGINT');
    await server.up(`${setting}=off`);
    const { state, code, said } = await tryToServe(node);
    const isRefused = state === 'ended' && code === UNAVAILABLE && said.includes(setting);
    if (!isRefused) throw new Broken(`with ${setting}=off, \`serve\` is ${state} (exit code ${code}): ${said}`);
    if (said.split('\n').length !== 1) throw new Broken(`\`serve\` says more than one line: ${said}`);
    await server.stop('SIGINT');
    await server.up();
    await restart(node);
  }
  await cluster.check();
  return { runs: 2, seen: 'refused with exit code 3; served again once durable' };
}

export const faults = [
  {
    name: 'cluster-control', fault: 'none: violations planted in the database', checked: 'the checks find them',
    needs: needsServer, run: planted,
  },
  {
    name: 'undurable', fault: 'a server with `fsync=off`, and one with `synchronous_commit=off`',
    checked: 'one line, exit code 3', needs: needsServer, run: undurable,
  },
];
