// Measures masking in workerd: 1 MiB of JSON through the guard, masked and unmasked, and through a
// Worker that parses, masks and writes it. Prints `{ results }`.
//
// The origin is a Worker in the same process, so that masking dominates the result.
//
// EDGEPASS_GOVERNANCE_GUARD is a build of the guard with the policy tests/governance/guard.toml, EDGEPASS_INSTALLED a
// folder with the installed package.

import { build } from 'esbuild';
import { issuer } from '../tests/hosts/issuer.mjs';
import { guardModules, ownSocket, startWorkers } from '../tests/stage/workerd.mjs';
import { inChild, median, note, quick } from './measure.mjs';

const ROUNDS = quick ? 3 : 7;
const SECONDS = quick ? 1 : 3;
/** So many that workerd always has a response to work at: it has one thread. */
const CONNECTIONS = 4;
const MIB = 2 ** 20;

const ORIGIN = `
const row = (id) => ({
  id, name: 'Customer ' + id, iban: 'DE021203000000002' + (10000 + id), email: 'customer' + id + '@example.com',
  balance: id / 100, address: { street: 'Example Street ' + id, city: 'Berlin', country: 'DE' },
  orders: [{ id: id * 7, total: 12.5, items: ['a', 'b', 'c'], paid: true }, { id: id * 7 + 1, total: 99, items: [], paid: false }],
});
const customers = [];
for (let size = 0, id = 0; size < ${MIB}; id++) size += JSON.stringify(customers[customers.push(row(id)) - 1]).length + 1;
const body = new TextEncoder().encode(JSON.stringify({ customers }));
const headers = { 'content-type': 'application/json' };
export default { fetch: () => new Response(body, { headers }) };`;

/** What a Worker does without a masker: it parses the document, masks it, and writes it anew. */
const PARSING = `
function walk(value) {
  if (Array.isArray(value)) value.forEach(walk);
  else if (value !== null && typeof value === 'object') {
    for (const name of Object.keys(value)) {
      if (name === 'email') value[name] = value[name].replace(/^(.?)[^@]*@/, '$1***@');
      else if (name === 'card') value[name] = '****' + value[name].slice(-4);
      else if (name === 'notes') delete value[name];
      else if (name === 'born') value[name] = null;
      else walk(value[name]);
    }
  }
}
export default { async fetch(request, env) {
  const document = JSON.parse(await (await env.ORIGIN.fetch(request)).text());
  for (const customer of document.customers) customer.iban = '****' + customer.iban.slice(-4);
  walk(document);
  return new Response(JSON.stringify(document), { headers: { 'content-type': 'application/json' } });
} };`;

/** The same with the package, which masks as the body passes. */
const PACKAGE = `
import { Mask } from 'edgepass/mask';
const mask = Mask.create({ key: 'gO3mQ0yTq2hX8sVn5bKd7rLw1cZf4jPe', rules: [
  { fields: ['$.customers[*].iban', '$..card'], with: 'last4' }, { fields: ['$..email'], with: 'email' },
  { fields: ['$..phone'], with: 'hash' }, { fields: ['$..notes'], with: 'remove' }, { fields: ['$..born'], with: 'null' },
] });
const verdict = { accepted: true, claims: { scope: 'customers:read' } };
export default { fetch: async (request, env) => mask.response(await env.ORIGIN.fetch(request), verdict) };`;
const bundled = await build({
  stdin: { contents: PACKAGE, resolveDir: process.env.EDGEPASS_INSTALLED }, bundle: true, format: 'esm', conditions: ['workerd', 'worker'],
  write: false, outdir: '/out', loader: { '.wasm': 'copy' }, assetNames: '[name]', logLevel: 'error',
});
const modules = bundled.outputFiles.map(({ path, contents }) => ({
  type: path.endsWith('.wasm') ? 'CompiledWasm' : 'ESModule', path, contents,
})).sort((one, other) => one.type < other.type ? 1 : -1);

const stops = [];
const own = await issuer({ after: (stop) => stops.push(stop) }, 'p256');
const bindings = {
  ISSUERS: [{ ...own.trusted, profile: 'jwt', typ: 'at+jwt' }], CACHE: 'none', MASK_KEY: 'gO3mQ0yTq2hX8sVn5bKd7rLw1cZf4jPe',
};
const named = (name, more) => ({ name, serviceBindings: { ORIGIN: 'origin' }, ...ownSocket, ...more });
const { at, stop } = await startWorkers([
  named('guard', { ...guardModules(process.env.EDGEPASS_GOVERNANCE_GUARD), bindings }),
  named('package', { modulesRoot: '/out', modules }),
  named('parsing', { modules: true, script: PARSING }),
  { name: 'origin', modules: true, script: ORIGIN },
]);
const token = (scope) => own.token({ scope, exp: Math.floor(Date.now() / 1000) + 3600 });
const [masked, whole] = [token('customers:read'), token('customers:read customers:pii')];
const SUBJECTS = {
  'guard, masked': { url: await at('guard'), tokens: [masked] },
  'guard, the scope says otherwise': { url: await at('guard'), tokens: [whole] },
  'a Worker with edgepass/mask': { url: await at('package'), tokens: [masked] },
  'a Worker with JSON.parse and JSON.stringify': { url: await at('parsing'), tokens: [masked] },
};
const texts = {};
for (const [name, { url, tokens: [bearer] }] of Object.entries(SUBJECTS)) {
  texts[name] = await (await fetch(`${url}/customers`, { headers: { authorization: `Bearer ${bearer}` } })).text();
}
const [one, plain, ...others] = Object.values(texts);
if (others.some((other) => one !== other) || one === plain) throw new Error('the subjects do not do the same');

const seen = Object.fromEntries(Object.keys(SUBJECTS).map((name) => [name, []]));
for (let round = -1; round < ROUNDS; round++) {
  note(`workerd, masking: round ${round + 1} of ${ROUNDS}`);
  for (const [name, { url, tokens }] of Object.entries(SUBJECTS)) {
    const { rps } = await inChild('load.mjs', { url: `${url}/customers`, tokens, connections: CONNECTIONS, seconds: SECONDS });
    // The first round warms up.
    if (round >= 0) seen[name].push(rps * plain.length / 1e6);
  }
}
await stop();
await Promise.all(stops.map((each) => each()));
const results = Object.fromEntries(Object.entries(seen).map(([name, rates]) => [name, median(rates)]));
console.log(JSON.stringify({ results }));
process.exit(0);
