// What a program tells a verifier.

import { isPlain } from './written.js';

type Time = `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`;

/** A duration with a unit, such as `"10s"`, `"2500ms"` or `"1h 30m"`. */
export type Duration = Time | `${Time} ${Time}`;

/** What a resource server expects of one issuer's tokens. Unknown options are refused. */
export interface IssuerOptions {
  /**
   * What kind of token is expected: JWT access tokens of RFC 9068, the default, or other issuers'
   * JWTs. Profile `"jwt"` needs `typ` and `status.mode` to be named.
   */
  profile?: 'rfc9068' | 'jwt';
  /** Issuer identifier; `iss` must equal it exactly. */
  issuer: string;
  /** This resource server's identifiers; `aud` must contain one of them. */
  audience: string | string[];
  /** Profile `"jwt"`: the claim that names the audience. Default `"aud"`. */
  audienceClaim?: string;
  /** Allowed `alg` values. Default: `["EdDSA", "ES256", "RS256"]`. An empty list allows nothing. */
  algorithms?: string[];
  /** Media type expected in `typ`. Default `"at+jwt"` (RFC 9068); `null` accepts any. */
  typ?: string | null;
  /** Profile `"jwt"`: claims that must be present besides `iss`, `exp` and the audience. */
  requiredClaims?: string[];
  /** Claims that must be a string equal to one of these, such as `{ token_use: 'access' }`. */
  expectedClaims?: Record<string, string | string[]>;
  /** Profile `"jwt"`: the claim that holds the scope, a string or an array. Default `"scope"`. */
  scopeClaim?: string;
  /** Clock skew absorbed on `exp`, `nbf` and `iat`. Default `"10s"`, at most `"5m"`. */
  leeway?: Duration;
  /** The longest `exp - iat` accepted. Default `"24h"`. */
  maxLifetime?: Duration;
  /** The longest token read, in bytes. Default 16384. */
  maxTokenBytes?: number;
  /** The issuer's JWK Set: a URL or the set itself. Default: found through the issuer's metadata. */
  jwks?: string | { keys: object[] };
  /** How DPoP proofs are judged. */
  dpop?: {
    /** Algorithms allowed for proofs. Default: `["EdDSA", "ES256", "RS256"]`. */
    algorithms?: string[];
    /** The oldest proof accepted where no nonce says how old it is. Default `"300s"`. */
    maxAge?: Duration;
  };
  /** Status checking. Default: every token must carry a status, and it is looked up. */
  status?: {
    mode?: 'required' | 'when_present' | 'ignore';
    /** What the URIs of lists begin with. Default: the issuer identifier and `/`. */
    uriPrefixes?: string[];
    /** Largest list, inflated, in bytes. Default 1048576. */
    maxListBytes?: number;
    /** Largest response, in bytes. Default 1048576. */
    maxResponseBytes?: number;
  };
  /** The terms of the revocation deadline. Refused when they don't add up. */
  freshness?: {
    /** `"none"` follows lists of issuers that promise no deadline. Default `"10s"`. */
    deadline?: Duration | 'none';
    publishDelay?: Duration;
    sharedMaxAge?: Duration;
    /** `"ttl"` goes by what each list says of itself. Default `"5s"`. */
    refreshInterval?: Duration | 'ttl';
    fetchTimeout?: Duration;
    staleIfError?: Duration;
    /**
     * How old the `iat` that a list is signed with may be, whatever caches say. Default `"5m"` for RFC
     * 9068 tokens with a deadline, otherwise the list's own `exp`.
     */
    maxListAge?: Duration;
  };
}

/** What a verifier does, whoever's tokens it verifies. */
export interface HostOptions {
  /** Share fetched documents between isolates. Default: `"cache-api"` in workerd, else `"none"`. */
  cache?: 'cache-api' | 'none';
  /** Used instead of the global `fetch`. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /**
   * What happens to a due refresh when `verify` is called without `waitUntil`: `"await"` it before
   * the verdict, or `"detach"` it. Default: awaited in serverless functions and in Workers, where
   * nothing outlives the response, and detached elsewhere.
   */
  background?: 'await' | 'detach';
  /**
   * Scheme and authority of this API as its clients see them, such as `"https://api.example"`.
   * DPoP proofs name the URL they were made for; a `Host` header does not decide what it is. Without
   * this option tokens that are bound to a key are refused.
   */
  externalUrl?: string;
  /**
   * Ask for server nonces in DPoP proofs. Secrets of at least 32 characters, drawn at random and
   * shared by all isolates: the first signs; a second is accepted while secrets are exchanged.
   */
  dpopNonceSecrets?: [string] | [string, string];
  /**
   * Whether a DPoP proof is used for the first time; remember `id` until `until`, in milliseconds
   * since the epoch. Default: this isolate's own memory, which other isolates do not know of.
   */
  firstUse?: (id: string, until: number) => Promise<boolean>;
  /**
   * What remembered tokens may take, in bytes. A token that was verified is not parsed and its
   * signature not checked again while its key stays trusted; everything else is. Default 4194304; 0
   * remembers none.
   */
  verifiedBytes?: number;
  /**
   * What the status lists of one issuer may take, in bytes; the least recently used make room. Lists
   * of which little is set are kept as what is set. Default 16777216.
   */
  listBytes?: number;
}

/** A verifier of one issuer's tokens, or of several's, each with its own keys and expectations. */
export type VerifierOptions = HostOptions & (IssuerOptions | { issuers: IssuerOptions[] });

/**
 * What one call asks of the token. Members that are not known, and `null`, are refused: whoever misspells a
 * condition must not ask for nothing. A member that is `undefined` is not there.
 */
export interface Requirements {
  /** Every one of these scope tokens, of which there is at least one. */
  allOf?: string[];
  /** At least one of these scope tokens; an empty array is refused, since it asks for nothing. */
  anyOf?: string[];
  /** Only tokens of these issuers, of those that the verifier trusts. */
  issuers?: string[];
  /** Instead of the verifier's audience. */
  audience?: string | string[];
  /** How long past the deadline a held copy may serve while its source is unreachable. */
  staleIfError?: Duration;
}

/** What one call tells besides: of the request, and of the host. Members are taken as those of requirements are. */
export interface VerifyOptions {
  /**
   * SHA-256 of the certificate that the client proved to hold, in hexadecimal, as the platform
   * reports it: `request.cf.tlsClientAuth.certFingerprintSHA256` in a Worker. Never from a header.
   */
  certificateSha256?: string;
  /** Given the promise of a due refresh, such as `ctx.waitUntil` of a Worker. */
  waitUntil?: (work: Promise<unknown>) => void;
  /** Seconds since the epoch, to replay a decision. Default: the clock. */
  now?: number;
}

const REQUIREMENTS: ReadonlySet<string> = new Set([
  'allOf', 'anyOf', 'issuers', 'audience', 'staleIfError',
] satisfies (keyof Requirements)[]);
const OPTIONS: ReadonlySet<string> = new Set([
  'certificateSha256', 'waitUntil', 'now',
] satisfies (keyof VerifyOptions)[]);

/** Throws for requirements that do not say what they seem to. */
export function checkRequirements(requirements: Requirements): void {
  checkMembers(requirements, REQUIREMENTS, OPTIONS, 'options, the third argument');
}

/** Throws for options that do not say what they seem to. */
export function checkOptions(options: VerifyOptions): void {
  checkMembers(options, OPTIONS, REQUIREMENTS, 'the requirements, the second argument');
  const { now, certificateSha256, waitUntil } = options;
  if (now !== undefined && !(typeof now === 'number' && now >= 0 && now <= 253_402_300_799)) {
    throw new RangeError('now must be seconds since the epoch');
  }
  if (certificateSha256 !== undefined && typeof certificateSha256 !== 'string') {
    throw new TypeError('certificateSha256 is a text');
  }
  if (waitUntil !== undefined && typeof waitUntil !== 'function') {
    throw new TypeError('waitUntil is a function');
  }
}

const FORM = 'verify takes a token or a Request, requirements such as { allOf: [...] }, and options';

function checkMembers(
  members: object, known: ReadonlySet<string>, others: ReadonlySet<string>, elsewhere: string,
): void {
  if (typeof members !== 'object' || members === null || Array.isArray(members)) throw new TypeError(FORM);
  let isEmpty = true;
  for (const name in members) {
    isEmpty = false;
    if (known.has(name)) continue;
    throw new TypeError(others.has(name)
      ? `${name} belongs to ${elsewhere} of verify`
      : `verify knows no ${name} there; it knows ${[...known].join(', ')}`);
  }
  // A promise, a map: what it would say cannot be seen.
  if (isEmpty && !isPlain(members)) throw new TypeError(FORM);
}

/** Option names as the policy writes them; names of claims stay as they are. */
export function snakeCased(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    name === 'expectedClaims' ? inner : snakeCased(inner),
  ]));
}
