// Options of the verifier and of a call, and their checks.

import { isPlain } from './json.js';

type Time = `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`;

/**
 * A duration with a unit, such as `"10s"`, `"2500ms"` or `"1h 30m"`.
 *
 * Units are `ms`, `s`, `m`, `h` and `d`. A bare number is refused: seconds and milliseconds must
 * not be confused.
 */
export type Duration = Time | `${Time} ${Time}`;

/** A JWK Set (RFC 7517). */
export interface JwkSet {
  /** Public keys. Keys that cannot be used are ignored. */
  keys: object[];
}

/**
 * The policy for the tokens of one issuer: expected claims, keys, status and freshness.
 *
 * `issuer` and `audience` are required; every other option has a default. {@link Verifier.create}
 * throws for an unknown option, and for a value that cannot be used.
 */
export interface IssuerOptions {
  /**
   * Kind of token: a JWT access token of RFC 9068, or another issuer's JWT.
   *
   * Default `"rfc9068"`. With `"jwt"`, `typ` and `status.mode` have no default and are required.
   */
  profile?: 'rfc9068' | 'jwt';
  /**
   * Issuer identifier; `iss` must equal it exactly.
   *
   * Without `jwks` it must be an https URL (http only on loopback) without query or fragment.
   */
  issuer: string;
  /** Identifiers of this resource server, at least one; `aud` must contain one of them. */
  audience: string | string[];
  /**
   * Claim that names the audience. Default `"aud"`; allowed only with profile `"jwt"`.
   *
   * Access tokens of Amazon Cognito name it in `"client_id"`.
   */
  audienceClaim?: string;
  /**
   * Allowed `alg` values. Default `["EdDSA", "ES256", "RS256"]`.
   *
   * Known are `EdDSA` and its other name `Ed25519`, `ES256`, `ES384`, `RS256`, `RS384`, `RS512`,
   * `PS256`, `PS384` and `PS512`. An empty array refuses every token.
   */
  algorithms?: string[];
  /**
   * Media type expected in `typ`; `null` accepts any and none.
   *
   * Default `"at+jwt"` (RFC 9068). Profile `"jwt"` has no default.
   */
  typ?: string | null;
  /**
   * Claims that must be present, besides `iss`, `exp` and the audience. Default none; allowed only
   * with profile `"jwt"`.
   *
   * Profile `"rfc9068"` requires `sub`, `client_id`, `iat` and `jti`.
   */
  requiredClaims?: string[];
  /**
   * Claims that must be a string equal to one of the given values. Default none.
   *
   * Amazon Cognito's access tokens, for example, have `{ token_use: 'access' }`.
   */
  expectedClaims?: Record<string, string | string[]>;
  /**
   * Claim that holds the scope. Default `"scope"`; allowed only with profile `"jwt"`.
   *
   * With that profile the claim is a string or an array.
   */
  scopeClaim?: string;
  /** Clock skew tolerated for `exp`, `nbf` and `iat`. Default `"10s"`, at most `"5m"`. */
  leeway?: Duration;
  /** The longest `exp - iat` accepted; without `iat`, the longest `exp - now`. Default `"24h"`. */
  maxLifetime?: Duration;
  /** The longest token read, in bytes. Default 16384, at most 1048576. */
  maxTokenBytes?: number;
  /**
   * The issuer's JWK Set: its https URL (http only on loopback) or the set itself.
   *
   * By default the URL is taken from the issuer's metadata (RFC 8414). A set that is passed here is
   * never refreshed; keys in it that cannot be used are left out.
   */
  jwks?: string | JwkSet;
  /** Rules for DPoP proofs (RFC 9449). */
  dpop?: {
    /** Algorithms allowed for proofs. Default `["EdDSA", "ES256", "RS256"]`. */
    algorithms?: string[];
    /**
     * The oldest proof accepted, by its `iat`, where no nonce bounds its age. Default `"300s"`.
     *
     * A shorter time leaves less room for replays, and less tolerance for clients with wrong
     * clocks.
     */
    maxAge?: Duration;
  };
  /**
   * Rules for the status of a token. By default every token must carry one, and it is looked up.
   */
  status?: {
    /**
     * Whether the status is looked up. Default `"required"`; profile `"jwt"` has no default.
     *
     * - `"required"`: a token without `status` is refused.
     * - `"when_present"`: a token without `status` passes this step.
     * - `"ignore"`: no status is looked up, so a revoked token passes until it expires.
     */
    mode?: 'required' | 'when_present' | 'ignore';
    /**
     * Allowed prefixes of status list URIs, as https URLs. Default: the issuer identifier and `/`.
     */
    uriPrefixes?: string[];
    /** The largest list, inflated, in bytes. Default 1048576: 8 million one-bit statuses. */
    maxListBytes?: number;
    /** The largest response read for any document, in bytes. Default 1048576. */
    maxResponseBytes?: number;
  };
  /**
   * How long copies of documents may be used, and so how soon a revocation takes effect.
   *
   * {@link Verifier.create} throws if `deadline` is less than `publishDelay` + `sharedMaxAge` +
   * `refreshInterval` (0 for `"ttl"`) + `fetchTimeout`.
   */
  freshness?: {
    /**
     * The longest time from a revocation to the last acceptance of the token, where the source of
     * the status list can be reached. Default `"10s"`.
     *
     * A shorter deadline means more requests to the issuer. `"none"` is for issuers that guarantee
     * no deadline: once a list is stale, the verifier asks its source before it decides. If that
     * fails, the copy serves until its `exp`, or for `staleIfError` if that is given. JWK Sets keep
     * the default deadline.
     */
    deadline?: Duration | 'none';
    /** How long the issuer may take to serve the list after a revocation. Default `"500ms"`. */
    publishDelay?: Duration;
    /** The `max-age` that shared caches between verifier and issuer may add. Default `"1s"`. */
    sharedMaxAge?: Duration;
    /**
     * How often a copy is refreshed while there is traffic. Default `"5s"`.
     *
     * `"ttl"` takes the interval from the claim `ttl` of each list. Without a deadline, the
     * interval is the freshness lifetime of a list.
     */
    refreshInterval?: Duration | 'ttl';
    /** The longest time that one fetch may take. Default `"2500ms"`. */
    fetchTimeout?: Duration;
    /**
     * How long past the deadline a stale copy may serve while its source is unreachable.
     *
     * Default `"60s"`, so that a restart of the issuer does not interrupt the API; `"0s"` grants no
     * such time. Without a deadline the default for lists is their `exp`; for JWK Sets it stays
     * `"60s"`. A JWK Set never serves for longer than 24 hours after it was confirmed.
     */
    staleIfError?: Duration;
    /**
     * The longest time since the `iat` of a signed list, whatever caches report as its age.
     *
     * Default `"5m"` for profile `"rfc9068"` with a deadline, or 1.5 times the outage bound
     * (`deadline` + `staleIfError`) if that is longer; otherwise the list's own `exp` (24 h after
     * `iat` for a list without `exp`). A value below 15 s or below 1.5 times the outage bound is
     * refused.
     */
    maxListAge?: Duration;
  };
}

/** Options of the verifier that do not depend on an issuer: network, caches, DPoP and memory. */
export interface HostOptions {
  /**
   * How isolates of a data centre share fetched documents: through the Cache API, or not at all.
   *
   * Default `"cache-api"` in Workers, elsewhere `"none"`.
   */
  cache?: 'cache-api' | 'none';
  /**
   * Function that fetches documents. Default: the global `fetch`.
   *
   * `init` holds header fields, `cache: 'no-store'`, `redirect: 'manual'` and a timeout `signal`.
   * If it rejects, the source counts as unreachable.
   */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /**
   * Handling of a due refresh when `verify` is called without `waitUntil`.
   *
   * - `"await"`: `verify` awaits the refresh before it resolves. Tables of keys and prefetched
   *   lists are then left out. Default in Workers and serverless functions, where work that is not
   *   awaited ends with the response.
   * - `"detach"`: the refresh runs without being awaited. Default elsewhere.
   */
  background?: 'await' | 'detach';
  /**
   * Scheme and authority of this API as its clients see them, such as `"https://api.example"`,
   * without a slash at the end.
   *
   * A DPoP proof names the URL that it was made for. The verifier compares that with this option
   * and the path of the request, not with a `Host` header. Default: none, and tokens that are bound
   * to a key are refused.
   */
  externalUrl?: string;
  /**
   * Secrets for nonces that DPoP proofs must carry (RFC 9449 section 9). Default: no nonce is
   * required.
   *
   * Each has at least 32 bytes, is drawn at random, and is shared by all isolates. The first signs
   * nonces. A second is accepted as well, so that secrets can be exchanged without refusing a
   * client.
   */
  dpopNonceSecrets?: [string] | [string, string];
  /**
   * Records the use of a DPoP proof, and resolves to `true` if it is the first.
   *
   * Remember `id`, 64 hexadecimal digits, until `until`, in milliseconds since the epoch. If the
   * function throws, rejects or resolves to another type, the token is refused with
   * `replay_unavailable`. Default: a memory of this isolate, which other isolates do not share.
   */
  firstUse?: (id: string, until: number) => Promise<boolean>;
  /**
   * Memory for verified tokens, in bytes. Default 4194304; 0 remembers none.
   *
   * A remembered token is not parsed again, and its signature is not checked again while its key
   * stays trusted. All other steps run each time.
   */
  verifiedBytes?: number;
  /**
   * Memory for the status lists of one issuer, in bytes. Default 16777216.
   *
   * Beyond it the least recently used lists are dropped. Sparse lists are stored as their set
   * entries.
   */
  listBytes?: number;
}

/**
 * Options of a verifier: {@link HostOptions}, and the policy of one issuer or of several.
 *
 * Give policy options either beside the host options or in `issuers`, not in both places.
 */
export type VerifierOptions = HostOptions & (IssuerOptions | {
  /** Policies of 1 to 64 issuers. The issuer that a token names decides which policy applies. */
  issuers: IssuerOptions[];
});

/**
 * Requirements of one call, beyond the policy.
 *
 * An `undefined` member counts as absent. `verify` rejects for an unknown member and for `null`, so
 * that a misspelled condition is noticed.
 */
export interface Requirements {
  /** Scope tokens that the token must all have. Default none; `[]` is an error. */
  allOf?: string[];
  /** Scope tokens, at least one of which the token must have. Default none; `[]` is an error. */
  anyOf?: string[];
  /** Accepted issuers, among those of the verifier. Default: all; `[]` refuses every token. */
  issuers?: string[];
  /** Audience that replaces the policy's. Default: the policy's; `[]` refuses every token. */
  audience?: string | string[];
  /**
   * How long past the deadline a stale copy may serve while its source is unreachable.
   *
   * Default, and upper limit, is `freshness.staleIfError` of the policy.
   */
  staleIfError?: Duration;
}

/**
 * Options of one call that concern the request and the host.
 *
 * Unknown members, `null` and `undefined` are treated as in {@link Requirements}.
 */
export interface VerifyOptions {
  /**
   * SHA-256 of the client's certificate, as 64 hexadecimal digits. Default: no certificate, which
   * an empty string means as well.
   *
   * Take it from the platform, which verified that the client holds the key:
   * `request.cf.tlsClientAuth.certFingerprintSHA256` in a Worker. Never take it from a header.
   */
  certificateSha256?: string;
  /**
   * Function that keeps the host alive until a promise settles. In a Worker pass
   * `(work) => ctx.waitUntil(work)`.
   *
   * It is given due refreshes, tables of keys under construction and prefetched lists. Default: see
   * {@link HostOptions.background}.
   */
  waitUntil?: (work: Promise<unknown>) => void;
  /**
   * Time at which the token is judged, in seconds since the epoch, for replaying a decision.
   *
   * Default: the host's clock. The range is 0 to 253402300799, the end of the year 9999.
   */
  now?: number;
}

const REQUIREMENTS: ReadonlySet<string> = new Set([
  'allOf', 'anyOf', 'issuers', 'audience', 'staleIfError',
] satisfies (keyof Requirements)[]);
const OPTIONS: ReadonlySet<string> = new Set([
  'certificateSha256', 'waitUntil', 'now',
] satisfies (keyof VerifyOptions)[]);

/**
 * Throws a TypeError for an unknown member, and for a value that is not a plain set of
 * requirements.
 */
export function checkRequirements(requirements: Requirements): void {
  checkMembers(requirements, REQUIREMENTS, OPTIONS, 'options, the third argument');
}

/**
 * Throws a TypeError for an unknown member or a wrong type, and a RangeError for `now` out of
 * range.
 */
export function checkOptions(options: VerifyOptions): void {
  checkMembers(options, OPTIONS, REQUIREMENTS, 'the requirements, the second argument');
  const { now, certificateSha256, waitUntil } = options;
  if (now !== undefined && !(typeof now === 'number' && now >= 0 && now <= 253_402_300_799)) {
    throw new RangeError('now must be seconds since the epoch');
  }
  if (certificateSha256 !== undefined && typeof certificateSha256 !== 'string') {
    throw new TypeError('certificateSha256 must be a string');
  }
  if (waitUntil !== undefined && typeof waitUntil !== 'function') {
    throw new TypeError('waitUntil must be a function');
  }
}

const FORM = 'verify expects a token or a Request, requirements such as { allOf: [...] }, and options';

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
      : `unknown member ${name}; expected one of ${[...known].join(', ')}`);
  }
  // The contents of a promise or a map are not members, so they would be ignored.
  if (isEmpty && !isPlain(members)) throw new TypeError(FORM);
}

/** Names of options in snake case, as the policy has them. Names of claims are not changed. */
export function snakeCased(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    name === 'expectedClaims' ? inner : snakeCased(inner),
  ]));
}
