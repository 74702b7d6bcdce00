// Generated policies and paths against origins that read paths laxly. No request reaches a handler
// by a route that requires less than the handler's own route.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { ORIGINS } from './origins.mjs';

const POLICIES = Number(process.env.EDGEPASS_POLICIES ?? 400);
const PATHS = 60;

/** Mulberry32, so that a run can be repeated. */
function generator(seed) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  return { next, of: (list) => list[Math.floor(next() * list.length)], chance: (part) => next() < part };
}

const NAMES = ['admin', 'reports', 'list', 'kiosk', 'x', 'index.php', 'data.json', 'v1', 'internal'];
const SCOPES = [[], ['read'], ['read', 'write'], ['read', 'write', 'admin'], ['other']];

function route({ of, chance, next }) {
  const length = 1 + Math.floor(next() * 3);
  const segments = Array.from({ length }, (_, position) => (
    position === length - 1 && chance(0.25) ? '*' : (chance(0.35) ? `{p${position}}` : of(NAMES))));
  const allOf = of(SCOPES);
  return {
    path: `/${segments.join('/')}`, methods: of([['GET'], ['POST'], ['GET', 'POST'], ['GET', 'DELETE']]), ...(allOf.length ? { all_of: allOf } : { public: true }),
  };
}

/** Changes of a name after which some servers still find the same handler. */
const BENDS = [
  (name) => name.toUpperCase(), (name) => name[0].toUpperCase() + name.slice(1), (name) => `${name}.`,
  (name) => `${name}..`, (name) => `${name}%20`, (name) => `%20${name}`, (name) => `${name}.json`,
  (name) => `${name}.html`, (name) => `${name}.php`, (name) => `${name}%3Bx=1`, (name) => `${name};x=1`,
  (name) => `${name}%EF%BC%8E`, (name) => name.replace('k', '%E2%84%AA'), (name) => name.replace('s', '%C5%BF'),
  (name) => name.replace('i', '%C4%B1'), (name) => name.replace('a', '%EF%BD%81'), (name) => `${name}::$DATA`,
  (name) => `${name}%09`, (name) => `${name}+`, (name) => `${name}/`, (name) => `${name}/x`, (name) => `${name}%2Fx`,
  (name) => `/${name}`, (name) => `./${name}`, (name) => `${name}%00`, (name) => `%61${name.slice(1)}`,
  (name) => `index.php/${name}`, (name) => `(S(abc))/${name}`, (name) => `${name}/default.aspx`,
  (name) => `${name}/index.html`, (name) => `${name}:$i30:$INDEX_ALLOCATION`, (name) => `${name}%EF%BC%8Fx`,
  (name) => `${name}%3Fx`, (name) => `${name}%23x`, (name) => `${name}~1`, (name) => `${name},x`,
];

function path(random, routes) {
  const { of, chance } = random;
  const segments = of(routes).path.split('/').slice(1).flatMap((segment) => {
    if (segment === '*') return chance(0.5) ? [of(NAMES)] : [of(NAMES), of(NAMES)];
    return [segment.startsWith('{') ? of(NAMES) : segment];
  });
  for (let bends = Math.floor(random.next() * 3); bends > 0; bends -= 1) {
    const position = Math.floor(random.next() * segments.length);
    segments[position] = of(BENDS)(segments[position]);
  }
  return `/${segments.join('/')}`;
}

/** Passes policies and requests to the guard's router, one line each. Returns its answers. */
async function guard(lines) {
  const program = spawn(process.env.EDGEPASS_ROUTING, { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = [];
  const reading = (async () => {
    for await (const line of createInterface({ input: program.stdout })) answers.push(JSON.parse(line));
  })();
  program.stdin.end(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  await reading;
  return answers;
}

const asks = ({ all_of: scopes = [] }) => scopes;
const isAsStrict = (one, other) => asks(other).every((scope) => asks(one).includes(scope));

/** Draws policies and paths. Returns the requests that reached a handler by a laxer route. */
async function run(t, name, seed, originPaths) {
  const random = generator(seed);
  const drawn = Array.from({ length: POLICIES }, () => {
    const routes = Array.from({ length: 2 + Math.floor(random.next() * 5) }, () => route(random));
    const requests = Array.from({ length: PATHS }, () => ['GET', path(random, routes)]);
    return { policy: { origin_paths: originPaths, route: routes }, requests };
  });
  const answers = await guard(drawn);
  const counts = { policies: 0, forwarded: 0, refused: 0, 'policies refused': 0 };
  const laxer = [];
  for (const [number, { taken, error }] of answers.entries()) {
    if (error !== undefined) {
      counts['policies refused'] += 1;
      continue;
    }
    const { policy: { route: routes }, requests } = drawn[number];
    // All requests are GET, so handlers of other methods do not matter.
    const asked = routes.filter((one) => one.methods.includes('GET'));
    // Servlet mappings have no placeholders, so policies with placeholders are skipped.
    if (name === 'Servlet mappings' && routes.some((one) => one.path.includes('{'))) continue;
    counts.policies += 1;
    const origin = await ORIGINS[name](asked.map((one) => one.path));
    for (const [position, [, sent]] of requests.entries()) {
      const way = taken[position];
      counts[way === null ? 'refused' : 'forwarded'] += 1;
      if (way === null) continue;
      const handler = await origin.reads(sent);
      // A route that spells out the sent path states its own requirements: that is no finding.
      const isNamed = routes[way].path === sent;
      if (handler !== null && !isNamed && !isAsStrict(routes[way], asked[handler])) {
        laxer.push({ sent, way: routes[way], handler: asked[handler] });
      }
    }
    await origin.close();
  }
  t.diagnostic(`${name}, ${originPaths}: ${JSON.stringify({ ...counts, laxer: laxer.length })}`);
  return { laxer, counts };
}

for (const [number, name] of Object.keys(ORIGINS).entries()) {
  test(`${name} is reached by no laxer route`, async (t) => {
    const { laxer, counts } = await run(t, name, 1000 + number, 'loose');
    assert.deepEqual(laxer.slice(0, 3), []);
    assert.ok(counts.policies > POLICIES / 20 && counts.forwarded > counts.policies * 3, JSON.stringify(counts));
  });
}

test('a policy that takes paths to the letter is opened by origins that do not', async (t) => {
  for (const name of ['Express 5', 'Rails', 'Apache with PHP', 'IIS on Windows']) {
    const { laxer } = await run(t, name, 7, 'exact');
    assert.ok(laxer.length > 0, `${name}: nothing is found that the loose reading keeps out`);
  }
});
