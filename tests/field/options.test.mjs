// Options that cannot work: each is an error that names the option as the program spells it.
//
// EDGEPASS_INSTALLED is a folder with the installed package.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { KEYS, publicJwk } from '../vectors/sign.mjs';

const { Verifier } = await import(
  pathToFileURL(join(process.env.EDGEPASS_INSTALLED, 'node_modules/edgepass/dist/lib/inline.js')));

const OWN = { issuer: 'https://issuer.example', audience: 'api' };
const OTHER = { ...OWN, profile: 'jwt', typ: null, status: { mode: 'ignore' } };
const jwks = { keys: [publicJwk(KEYS.ed25519, { kid: 'k', alg: 'EdDSA' })] };
const says = (options) => {
  try {
    Verifier.create(options);
    return 'accepted';
  } catch (error) {
    return error.message;
  }
};

test('an option of the wrong form is named with its path, in its own spelling', () => {
  for (const [more, path] of [
    [{ leeway: 10 }, 'leeway: expected a duration'],
    [{ maxLifetime: '10M' }, 'maxLifetime: expected a duration'],
    [{ maxLifetime: '1.5h' }, 'maxLifetime: expected a duration'],
    [{ maxTokenBytes: -1 }, 'maxTokenBytes: expected a whole number'],
    [{ dpop: { maxAge: 5 } }, 'dpop.maxAge: expected a duration'],
    [{ status: { mode: 'no' } }, 'status.mode: expected one of'],
    [{ status: { uriPrefixes: 'https://a/' } }, 'status.uriPrefixes: expected an array'],
    [{ status: { uriPrefixes: [7] } }, 'status.uriPrefixes[0]: expected a string'],
    [{ status: { uriPrefixes: ['http://a.example/'] } }, 'status.uriPrefixes must be https'],
    [{ audience: 7 }, 'audience: expected a string or an array'],
    [{ requiredClaims: ['a'] }, 'requiredClaims is fixed by profile'],
    [{ scopeClaim: 'scp' }, 'scopeClaim is fixed by profile'],
    [{ freshness: { deadline: '3s' } }, 'freshness: deadline 3s cannot be met: publishDelay'],
    [{ freshness: { fetchTimeout: 2500 } }, 'freshness.fetchTimeout: expected a duration'],
    [{ jwks: 'ftp://a.example' }, 'jwks: '],
    [{ tokenFrom: 'body' }, 'tokenFrom: expected'],
    [{ typ: '*' }, 'typ must be a media type'],
    [{ audience: 'api ' }, 'audience must name'],
    [{ resourceMetadata: 'x' }, 'resourceMetadata must be'],
    [{ externalUrl: 'https://api.example', dpopNonceSecrets: ['short'] }, 'dpopNonceSecrets: '],
  ]) {
    const message = says({ ...OWN, ...more });
    assert.ok(message.startsWith(path), `${JSON.stringify(more)}: ${message}`);
    assert.ok(!/[a-z]_[a-z]/.test(message.replaceAll('when_present', '')), message);
  }
  assert.match(says({ issuers: [OWN, { ...OWN, issuer: 'https://b.example', leeway: 5 }] }), /^issuers\[1\]\.leeway: /);
  assert.match(says({ issuers: [OWN, { ...OWN, issuer: 'https://b.example', leeway: '9m' }] }), /^issuers\[1\]: leeway /);
});

test('a condition on a variable that is not set is no condition, and refused', () => {
  for (const [options, path] of [
    [{ ...OTHER, expectedClaims: { repository: undefined } }, 'expectedClaims.repository'],
    [{ ...OTHER, expectedClaims: { repository: { any: undefined } } }, 'expectedClaims'],
    [{ ...OTHER, scopeClaim: { claim: 'roles', map: { admin: undefined } } }, 'scopeClaim.map.admin'],
  ]) {
    assert.ok(says(options).includes(path), `${JSON.stringify(path)}: ${says(options)}`);
  }
});

test('an option that would have no effect, or could never be met, is refused', () => {
  for (const [options, why] of [
    [{ ...OTHER, status: { mode: 'ignore', uriPrefixes: ['https://a.example/'] } }, /^status\.uriPrefixes has no effect/],
    [{ ...OTHER, status: { mode: 'ignore', maxListBytes: 5 } }, /^status\.maxListBytes has no effect/],
    [{ ...OTHER, jwks, freshness: { keys: 'http' } }, /^freshness\.keys has no effect/],
    [{ ...OTHER, jwks, freshness: { keysHardStop: '1h' } }, /^freshness\.keysHardStop has no effect/],
    [{ ...OTHER, jwks, freshness: { fetchTimeout: '1s' } }, /^freshness\.fetchTimeout has no effect/],
    [{ ...OWN, freshness: { deadline: 'none', sharedMaxAge: '1s' } }, /^freshness\.sharedMaxAge has no effect/],
    [{ ...OWN, freshness: { deadline: 'none', refreshInterval: '0s', staleIfError: '0s' } }, /no list could be used/],
    [{ ...OWN, freshness: { fetchTimeout: '0s' } }, /fetchTimeout must not be 0/],
    [{ ...OWN, freshness: { deadline: '999d' } }, /deadline is at most 1d/],
    [{ ...OWN, maxLifetime: '0s' }, /maxLifetime must not be 0/],
    [{ ...OWN, maxTokenBytes: 0 }, /maxTokenBytes must not be 0/],
    [{ ...OTHER, issuer: 'https://login.example/{tid}', tenants: 'any' }, /^issuer must be an https URL/],
    [{ ...OWN, issuer: 'mine', jwks }, /name the URLs of its status lists in status\.uriPrefixes/],
    [{ ...OWN, firstUse: async () => true }, /^firstUse has no effect without externalUrl/],
    [{ ...OWN, dpopNonceSecrets: ['x'.repeat(32)] }, /^dpopNonceSecrets has no effect without externalUrl/],
    [{ ...OWN, cache: 'cache-api' }, /no Cache API/],
    [{ ...OWN, externalUrl: 'wss://api.example' }, /^externalUrl must be/],
    [{ ...OWN, jwks: 'https://issuer.example:99999/jwks' }, /^jwks: /],
    [{ ...OTHER, listBytes: 1 }, /^listBytes has no effect/],
    [{ ...OTHER, jwks, userAgent: 'a' }, /^userAgent has no effect/],
    [{ ...OWN, dpop: { maxAge: '60s' } }, /^dpop has no effect without externalUrl/],
    [{ ...OWN, externalUrl: 'https://api.example', dpopNonceSecrets: ['x'.repeat(32)], dpop: { maxAge: '60s' } }, /^dpop\.maxAge has no effect/],
    [{ ...OWN, freshness: { head: 'ignore', clockSkew: '1s' } }, /^freshness\.clockSkew has no effect/],
    [{ ...OTHER, expectedClaims: { iss: 'https://issuer.example' } }, /^a condition on iss has no effect/],
  ]) {
    assert.match(says(options), why, JSON.stringify(options));
  }
});

test('requirements that no token can meet are refused', async () => {
  const verifier = Verifier.create({ issuers: [OWN, { ...OTHER, issuer: 'https://other.example' }] });
  for (const [requirements, why] of [
    [{ allOf: [] }, /allOf, anyOf, purposes and data must not be empty/],
    [{ staleIfError: 5 }, /staleIfError: expected a duration/],
    [{ issuers: ['https://issuer.example/'] }, /issuers must be among those of the verifier/],
    [{ issuers: ['https://issuer.example'], allOf: ['Invoice Reader'] }, /allOf, anyOf: a scope token/],
  ]) {
    await assert.rejects(verifier.verify('x', requirements), why, JSON.stringify(requirements));
  }
  const { code } = await verifier.verify('x', { issuers: ['https://other.example'], allOf: ['Invoice Reader'] });
  assert.equal(code, 'token_malformed');
});
