// Deliberate differences between this verifier and others. Each reason is tested on the token
// itself, not on this verifier's code for it, so that a reason cannot excuse a wrong refusal.

import { NOW } from './tokens.mjs';

const MAX_DATE = 253_402_300_799; // 9999-12-31

/** Reasons in order: the first that applies explains a disagreement. */
export const REASONS = [
  {
    why: 'accepts base64url that is not canonical (RFC 7515 §2)',
    is: ({ accepts, text }) => accepts && text.split('.').some(
      (part) => Buffer.from(part, 'base64url').toString('base64url') !== part,
    ),
  },
  {
    why: 'accepts JSON that two readers can read differently: repeated members, a byte order mark, '
      + 'broken UTF-8, half a surrogate pair, infinite numbers, endless depth (RFC 7515 §4, RFC 7519 §4)',
    is: ({ accepts, text }) => accepts && text.split('.').slice(0, 2).some(isAmbiguous),
  },
  {
    why: 'accepts header members that change what a JWS is: crit, b64, zip, enc, a nested JWT (RFC 7515 '
      + '§4.1.11, RFC 7797 §7)',
    is: ({ accepts, header }) => accepts && (['crit', 'b64', 'zip', 'enc'].some((name) => name in header)
      || /^(application\/)?jwt$/i.test(header.cty)),
  },
  {
    why: 'accepts header members of the wrong type (RFC 7515 §4.1)',
    is: ({ accepts, header }) => accepts
      && ['alg', 'kid', 'typ', 'cty'].some((name) => name in header && typeof header[name] !== 'string'),
  },
  {
    why: 'accepts claims of the wrong type, empty, or with an absurd date (RFC 7519 §4.1, RFC 9068 §2.2)',
    is: ({ accepts, claims }) => accepts && !areWellFormed(claims),
  },
  {
    why: 'accepts fractions of a second past exp or before nbf (RFC 7519 §2, §4.1.4)',
    is: ({ accepts, claims }) => accepts && (Math.floor(claims.exp) <= NOW || Math.ceil(claims.nbf) > NOW),
  },
  {
    why: 'accepts a token issued in the future', is: ({ accepts, claims }) => accepts && claims.iat > NOW,
  },
  {
    why: 'accepts a token that lives longer than 24 h, the policy of this run',
    is: ({ accepts, claims }) => accepts && claims.exp - claims.iat > 86_400,
  },
  {
    why: 'accepts a token bound to a sender as a bearer token (RFC 9449 §7.2, RFC 7800)',
    is: ({ accepts, claims }) => accepts && 'cnf' in claims,
  },
  {
    why: 'refuses a token without kid, since its set-up looks up keys only by kid',
    is: ({ peer, accepts, header }) => peer === 'fast-jwt' && !accepts && !('kid' in header),
  },
  {
    why: 'refuses the alias Ed25519 of EdDSA (RFC 9864)',
    is: ({ accepts, header }) => !accepts && header.alg === 'Ed25519',
  },
  {
    why: 'refuses the long form of typ (RFC 7515 §4.1.9)',
    is: ({ peer, accepts, header }) => peer === 'fast-jwt' && !accepts && /^application\//.test(header.typ),
  },
];

function isAmbiguous(part) {
  const bytes = Buffer.from(part, 'base64url');
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return true;
  }
  const names = [...text.matchAll(/"((?:[^"\\]|\\.)*)"\s*:/g)].map(([, name]) => JSON.parse(`"${name}"`));
  return text.startsWith('\ufeff') || new Set(names).size < names.length || text.includes('\\ud800')
    || text.includes('1e400') || text.includes('['.repeat(17));
}

function areWellFormed(claims) {
  const { iss, sub, jti, client_id, aud, scope, cnf } = claims;
  const isDate = (value) => value === undefined || (typeof value === 'number' && value >= 0 && value <= MAX_DATE);
  const isText = (value) => typeof value === 'string' && value !== '';
  const isAudience = typeof aud === 'string'
    || (Array.isArray(aud) && aud.length > 0 && aud.every((item) => typeof item === 'string'));
  return [claims.exp, claims.nbf, claims.iat].every(isDate) && [iss, sub, jti, client_id].every(isText)
    && isAudience && (scope === undefined || typeof scope === 'string')
    && (cnf === undefined || (typeof cnf === 'object' && cnf !== null && !Array.isArray(cnf)));
}
