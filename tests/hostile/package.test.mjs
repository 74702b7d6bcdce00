// A setting that cannot take effect is an error: every option of the package with every kind of
// value.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import test from 'node:test';
import { AUDIENCE, issuer } from '../hosts/issuer.mjs';

const { Verifier, verifyBatch } = createRequire(`${process.env.EDGEPASS_INSTALLED}/x.js`)('edgepass');

/** Values of every kind, by name. */
const VALUES = {
  undefined, null: null, true: true, seven: 7, negative: -1, huge: 2 ** 33, fraction: 0.5, nan: NaN, text: 'x',
  empty: '', list: [], numbers: [7], nulls: [null], empties: [''], texts: ['x'], lists: [[]], object: {},
  unknown: { nobody: 'knows' }, function: () => {}, symbol: Symbol('x'), bigint: 1n, date: new Date(0),
  map: new Map(), bytes: new Uint8Array(3), wrapped: new String('x'), promise: Promise.resolve('x'),
};
const jwks = { keys: [] };
const rfc = { issuer: 'https://issuer.example', audience: 'https://api.example', jwks };
/** DPoP needs the API's own URL. */
const external = { ...rfc, externalUrl: 'https://api.example' };
const jwt = { ...rfc, profile: 'jwt', typ: 'x', status: { mode: 'ignore' } };

/** Each option, the options it is added to, and the names of the values that are valid for it. */
const OPTIONS = [
  ['profile', rfc, []], ['issuer', rfc, []], ['issuer', jwt, ['text']], ['audience', rfc, ['text', 'texts']],
  ['audienceClaim', jwt, ['text']], ['algorithms', rfc, ['list']], ['typ', jwt, ['text', 'null']],
  ['requiredClaims', jwt, ['list', 'texts']], ['expectedClaims', jwt, ['object', 'unknown']],
  ['scopeClaim', jwt, ['text', 'texts']], ['tenants', rfc, []], ['leeway', rfc, []], ['maxLifetime', rfc, []],
  ['maxTokenBytes', rfc, ['seven']], ['jwks', rfc, []],
  ['dpop', external, ['object']], ['dpop.algorithms', external, ['list']], ['dpop.maxAge', external, []], ['dpop', rfc, []],
  ['status', rfc, ['object']], ['status.mode', rfc, []], ['status.uriPrefixes', rfc, []],
  ['status.maxListBytes', rfc, ['seven', 'huge']], ['status.maxResponseBytes', rfc, ['seven', 'huge']],
  ['freshness.keys', rfc, []], ['freshness.keysHardStop', rfc, []],
  ['freshness', rfc, ['object']], ['freshness.deadline', rfc, []], ['freshness.publishDelay', rfc, []],
  ['freshness.sharedMaxAge', rfc, []], ['freshness.refreshInterval', rfc, []],
  ['freshness.fetchTimeout', rfc, []], ['freshness.staleIfError', rfc, []], ['freshness.maxListAge', rfc, []],
  ['cache', rfc, []], ['fetch', rfc, ['function']], ['userAgent', rfc, ['text']], ['tokenFrom', rfc, []], ['resourceMetadata', rfc, []], ['background', rfc, []], ['externalUrl', rfc, []],
  ['dpopNonceSecrets', rfc, []], ['firstUse', external, ['function']], ['firstUse', rfc, []],
  ['verifiedBytes', rfc, ['seven', 'huge']], ['listBytes', rfc, ['seven', 'huge']], ['issuers', {}, []],
  ['isuer', rfc, []], ['dpop.alg', rfc, []], ['status.uri', rfc, []], ['freshness.dead', rfc, []],
];

function withOption(base, path, value) {
  const [outer, inner] = path.split('.');
  return inner === undefined ? { ...base, [outer]: value }
    : { ...base, [outer]: { ...base[outer], [inner]: value } };
}

test('an option that says nothing is refused when the verifier is made', () => {
  const wrong = [];
  for (const [path, base, right] of OPTIONS) {
    for (const [name, value] of Object.entries(VALUES)) {
      let taken = true;
      // An undefined option counts as absent, which is valid for some and not for others.
      if (value === undefined) continue;
      try {
        Verifier.create(withOption(base, path, value));
      } catch (error) {
        taken = false;
        if (error instanceof WebAssembly.RuntimeError) wrong.push(`${path} = ${name} traps`);
      }
      if (taken !== right.includes(name)) wrong.push(`${path} = ${name}: ${taken ? 'taken' : 'refused'}`);
    }
  }
  for (const [name, value] of Object.entries(VALUES)) {
    assert.throws(() => Verifier.create(value), name);
  }
  assert.deepEqual(wrong, []);
});

/** Each requirement of a call, and the names of the values that are valid for it. */
const REQUIREMENTS = {
  allOf: ['texts', 'undefined'], anyOf: ['texts', 'undefined'],
  issuers: ['list', 'undefined'],
  audience: ['text', 'texts', 'list', 'empties', 'empty', 'undefined'], staleIfError: ['undefined'],
  now: [], certificateSha256: [], client: [], waitUntil: [], allof: [], scope: [], scopes: [], all_of: [], clock: [], constructor: [],
};

/** Each option of a call, and the names of the values that are valid for it. */
const CALL_OPTIONS = {
  now: ['seven', 'huge', 'fraction', 'undefined'],
  certificateSha256: ['undefined', 'empty'], client: ['object', 'undefined'], waitUntil: ['function', 'undefined'],
  allOf: [], issuers: [], waituntil: [], wait_until: [], clock: [], constructor: [],
};

test('an unknown option is refused by the name that the program wrote', () => {
  for (const [options, name] of [
    [{ externalURL: 'https://a.example' }, 'externalURL'], [{ max_token_bytes: 1000 }, 'max_token_bytes'],
    [{ constructor: 1 }, 'constructor'], [{ maxAge: undefined }, 'maxAge'],
    [{ status: { uri_prefixes: [] } }, 'status.uri_prefixes'], [{ dpop: { maxage: '5s' } }, 'dpop.maxage'],
    [{ freshness: { leeway: '5s' } }, 'freshness.leeway'],
  ]) {
    const expected = { name: 'TypeError', message: new RegExp(`^unknown option ${name}; expected one of \\w+, `, 'u') };
    assert.throws(() => Verifier.create({ ...rfc, ...options }), expected);
    assert.throws(() => Verifier.create({ issuers: [{ ...rfc, ...options }] }), expected);
  }
  assert.throws(() => Verifier.create({ issuers: [{ ...rfc, externalUrl: 'https://a.example' }] }), /^TypeError: unknown option externalUrl;/u);
});

test('a JWK Set may hold null where nobody looks', () => {
  const set = { keys: [{ kty: 'x', kid: null, more: [null] }], more: null };
  assert.ok(Verifier.create({ ...rfc, jwks: set }));
});

test('requirements that say nothing are refused before a token is looked at', async (t) => {
  const { token, trusted } = await issuer(t, 'p256_client');
  const { jwks_uri: uri, ...own } = trusted;
  const verifier = Verifier.create({ ...own, jwks: uri });
  assert.equal((await verifier.verify(token({ scope: 'x' }), { allOf: ['x'] })).accepted, true);
  const request = new Request('https://api.example/', { headers: { authorization: `Bearer ${token()}` } });
  const wrong = [];
  const take = {
    requirements: (input, requirements) => verifier.verify(input, requirements),
    options: (input, options) => verifier.verify(input, {}, options),
  };
  for (const [of, members] of Object.entries({ requirements: REQUIREMENTS, options: CALL_OPTIONS })) {
    for (const [member, right] of Object.entries(members)) {
      for (const [name, value] of Object.entries(VALUES)) {
        for (const input of [token(), request]) {
          const taken = await take[of](input, { [member]: value }).then(() => true, () => false);
          if (taken !== right.includes(name)) wrong.push(`${of}.${member} = ${name}: ${taken ? 'taken' : 'refused'}`);
        }
      }
    }
  }
  for (const [name, value] of Object.entries(VALUES)) {
    for (const [of, given] of Object.entries(take)) {
      const taken = await given(token(), value).then(() => true, () => false);
      if (taken !== ['undefined', 'object'].includes(name)) wrong.push(`the ${of} ${name}: ${taken}`);
    }
  }
  assert.deepEqual([...new Set(wrong)], []);
});

test('what is asked for decides, however it is written', async (t) => {
  const { token, trusted } = await issuer(t, 'p256_client');
  const { jwks_uri: uri, ...own } = trusted;
  const verifier = Verifier.create({ ...own, jwks: uri });
  const code = async (requirements) => (await verifier.verify(token({ scope: 'x' }), requirements)).code;
  for (const requirements of [{ allOf: ['admin'] }, { allOf: ['x', 'admin'] }, { anyOf: ['admin'] }]) {
    assert.equal(await code(requirements), 'scope_insufficient');
  }
  assert.equal(await code({ audience: [AUDIENCE] }), null);
  assert.equal(await code({ audience: ['https://other.example'] }), 'audience_mismatch');
  assert.equal(await code({ issuers: [] }), 'issuer_mismatch');
  class Asked { allOf = ['admin']; }
  assert.equal(await code(new Asked()), 'scope_insufficient');
  assert.equal(await code(Object.create({ allOf: ['admin'] })), 'scope_insufficient');
});

test('a line of a batch that cannot be judged is an error, whatever is wrong with it', async () => {
  const line = { id: 1, token: 'a.b.c', jwks, now: 1, policy: { issuer: 'i', audience: 'a' } };
  for (const member of ['policy', 'now', 'jwks', 'token', 'session', 'responses']) {
    for (const value of [true, 7.5, [], [7], 'x', { x: 1 }]) {
      const [answer] = await verifyBatch([{ ...line, [member]: value }]);
      assert.notEqual(answer.verdict, 'accepted', `${member} = ${JSON.stringify(value)}`);
    }
  }
});
