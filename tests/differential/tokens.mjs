// Makes tokens for the differential run from a seed: valid ones, most of which are then mutated.

import { KEYS, b64, jws, publicJwk } from '../vectors/sign.mjs';

export const NOW = 1_800_000_000;
const ISSUER = 'https://issuer.example';
const KIDS = {
  ed: ['ed25519', 'EdDSA'], es256: ['p256', 'ES256'], es384: ['p384', 'ES384'],
  rs256: ['rsa', 'RS256'], ps256: ['rsa', 'PS256'], rs512: ['rsa', 'RS512'],
};
export const ALGORITHMS = Object.values(KIDS).map(([, alg]) => alg);
export const JWKS = {
  keys: Object.entries(KIDS).map(([kid, [key, alg]]) => publicJwk(KEYS[key], { kid, alg, use: 'sig' })),
};
export const EXPECTED = { issuer: ISSUER, audience: 'https://api.example', typ: 'at+jwt' };

/** Returns a generator of numbers below 2^32 (xorshift; good enough for choices). */
function random(seed) {
  let state = (seed * 2654435761 + 1) >>> 0 || 1;
  return () => {
    state ^= state << 13; state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5; state >>>= 0;
    return state;
  };
}

const VALUES = [
  0, 1, -1, 1.5, NOW, NOW - 1, NOW + 1, NOW + 0.5, NOW * 1000, 1e300, -0, '', 'a', `${NOW}`, null, true,
  false, [], {}, [NOW], { a: 1 }, 'https://issuer.example', 'https://api.example', ['https://api.example'],
  ['x', 'https://api.example'], ['x'], 'é', 'e\u0301', '\u0000',
];
const CLAIM_NAMES = ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'client_id', 'scope', 'cnf', 'status', 'x'];
const HEADER_NAMES = ['alg', 'kid', 'typ', 'cty', 'crit', 'b64', 'zip', 'jku', 'jwk', 'x5c', 'enc', 'x'];
const HEADER_VALUES = [
  ...VALUES, 'none', 'HS256', 'ES256', 'RS256', 'EdDSA', 'Ed25519', 'PS256', 'at+JWT', 'application/at+jwt',
  'JWT', 'ed', 'es256', 'rs256', ['exp'], ['b64'], 'DEF', 'A128GCM',
];

/** Returns the token of a seed, and the names of its mutations. */
export function token(seed) {
  const next = random(seed);
  const pick = (list) => list[next() % list.length];
  const kid = pick(Object.keys(KIDS));
  const [key, alg] = KIDS[kid];
  const header = { alg, kid, typ: 'at+jwt' };
  const claims = {
    iss: ISSUER, sub: 's', aud: 'https://api.example', client_id: 'c', iat: NOW - 60, exp: NOW + 540,
    jti: 'j', scope: 'a b',
  };
  const done = [];
  let raw;
  const rounds = pick([0, 1, 1, 1, 2, 3]);
  for (let round = 0; round < rounds; round++) {
    switch (next() % 7) {
      case 0: done.push('claim-set'); claims[pick(CLAIM_NAMES)] = pick(VALUES); break;
      case 1: { const name = pick(CLAIM_NAMES); done.push('claim-removed'); delete claims[name]; break; }
      case 2: done.push('header-set'); header[pick(HEADER_NAMES)] = pick(HEADER_VALUES); break;
      case 3: { const name = pick(HEADER_NAMES); done.push('header-removed'); delete header[name]; break; }
      case 4: done.push('raw-payload'); raw = pick(RAW); break;
      case 5: done.push('raw-header'); header.raw = pick(RAW_HEADER); break;
      default: done.push('text');
    }
  }
  const { raw: headerText, ...plain } = header;
  let text = jws(
    headerText ? headerText(JSON.stringify(plain)) : plain, raw ? raw(JSON.stringify(claims)) : claims, key, alg,
  );
  for (const name of done.filter((name) => name === 'text')) text = mutate(text, next, pick);
  return { text, done };
}

/** Other ways to write the same claims, on which JSON parsers differ. */
const RAW = [
  (text) => `{"sub":"other",${text.slice(1)}`, (text) => `{"\\u0073ub":"other",${text.slice(1)}`,
  (text) => ` ${text}`, (text) => `${text}\n`, (text) => `\ufeff${text}`, (text) => `${text}{}`,
  (text) => text.replace('"exp":', '"exp" : '), (text) => text.replace(/"exp":\d+/, '"exp":1e400'),
  (text) => text.replace(/"exp":(\d+)/, '"exp":$1.0'), (text) => text.replace(/"exp":(\d+)/, '"exp":0$1'),
  (text) => text.replace('}', ',}'), (text) => `[${text}]`, () => '"text"', () => '', () => 'null',
  (text) => Buffer.concat([Buffer.from(text.slice(0, -1)), Buffer.from(',"x":"'), Buffer.from([0xff]), Buffer.from('"}')]),
  (text) => `${text.slice(0, -1)},"x":"\\ud800"}`, (text) => `${text.slice(0, -1)},"x":${'['.repeat(40)}${']'.repeat(40)}}`,
  (text) => `${text.slice(0, -1)},"__proto__":{"exp":1}}`, (text) => text.replace('"a b"', '"a  b"'),
];
const RAW_HEADER = [
  (text) => `{"alg":"none",${text.slice(1)}`, (text) => `${text.slice(0, -1)},"alg":"none"}`,
  (text) => ` ${text}`, (text) => `${text} `, (text) => `\ufeff${text}`, (text) => `[${text}]`, () => 'null',
  (text) => text.replace('}', ',}'), (text) => `${text.slice(0, -1)},"\\u0061lg":"EdDSA"}`,
];

/** Changes a token's text without signing it again. */
function mutate(text, next, pick) {
  const at = next() % text.length;
  const parts = text.split('.');
  const other = (character) => pick([...'ABab019-_='].filter((own) => own !== character));
  return pick([
    () => text.slice(0, at) + other(text[at]) + text.slice(at + 1),
    () => text.slice(0, at) + text.slice(at + 1),
    () => `${text.slice(0, at)}${pick([' ', '\n', '=', '.', '+', '/', '%', '\u0000', 'é'])}${text.slice(at)}`,
    () => `${text}=`, () => ` ${text}`, () => `${text}\n`, () => `${text}.`, () => text.slice(0, -1),
    () => parts.slice(0, 2).join('.'), () => [...parts, parts[2]].join('.'),
    () => [parts[0], parts[1], ''].join('.'), () => [parts[1], parts[0], parts[2]].join('.'),
    // The last character of each segment, which can hold unused trailing bits.
    () => parts.map((part) => part.slice(0, -1) + other(part.at(-1))).join('.'),
    () => text.slice(0, -1) + String.fromCharCode(text.charCodeAt(text.length - 1) + 1),
    () => [parts[0], parts[1], twin(parts)].join('.'),
  ])();
}

/** (r, n - s): the other valid ES256 signature of the same message. */
function twin([header, , signature]) {
  const bytes = Buffer.from(signature ?? '', 'base64url');
  if (!header || bytes.length !== 64) return b64(Buffer.alloc(64));
  const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const s = BigInt(`0x${bytes.subarray(32).toString('hex')}`) % n;
  const other = (n - s).toString(16).padStart(64, '0').slice(-64);
  return b64(Buffer.concat([bytes.subarray(0, 32), Buffer.from(other, 'hex')]));
}
