// The options of a verifier and of a call, and the checks of a call's options.

import { isPlain } from './json.js';
import type { Cause } from './verdict.js';

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
 * The values that a claim may have.
 *
 * - A string, a boolean or a number: the claim equals it, or is an array that contains it.
 * - An array of these, or `{ any: [...] }`: at least one of them fits.
 * - `{ all: [...] }`: the claim is an array that contains all of them, or the only one of them.
 * - `{ like: 'refs/heads/release/*' }`, or an array of patterns: the claim, or an item of its array,
 *   is a string of that form. `*` stands for any characters except `/`, `**` for any characters, and
 *   everything else for itself. The pattern must cover the whole string.
 */
export type ExpectedValues = ExpectedValue | ExpectedValue[] | {
  /** Values of which at least one fits. */
  any: ExpectedValue | ExpectedValue[];
} | {
  /** Values that the claim's array contains, all of them. */
  all: ExpectedValue | ExpectedValue[];
} | {
  /** Patterns of which the claim, or an item of its array, has one. */
  like: string | string[];
};

/** A value that a claim may have. */
export type ExpectedValue = string | boolean | number;

/** A claim that grants scope. It has either `prefix` or `map`, or neither. */
export interface ScopeClaim {
  /** Path of the claim. */
  claim: string;
  /**
   * Whether a string is a `scope` value: scope tokens, separated by spaces. Otherwise it is one name.
   * Default: if the path ends in `scope`, `scopes` or `scp`.
   */
  split?: boolean;
  /** Text that is put before each name in the claim. Default none. */
  prefix?: string;
  /**
   * Scope tokens that each name in the claim grants. A name that is not in it grants nothing.
   * Default: each name grants itself.
   */
  map?: Record<string, string | string[]>;
}

/**
 * The policy for the tokens of one issuer: expected claims, keys, status and freshness.
 *
 * `issuer` and `audience` are required; the other options have defaults. {@link Verifier.create}
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
   *
   * It may be a template with one variable, which names a claim:
   * `"https://login.example/{tid}/v2.0"`. `iss` must then equal it with the token's own value of that
   * claim in place of the variable, which has 1 to 256 letters, digits or characters of `-._~`.
   * `{tenantid}`, as Microsoft Entra writes it, stands for the claim `tid`.
   */
  issuer: string;
  /**
   * For an issuer template: the accepted values of its claim, or `"any"`. Default: those in
   * `expectedClaims`.
   */
  tenants?: string | string[];
  /** Identifiers of this resource server, at least one. The token must name one as its audience. */
  audience: string | string[];
  /**
   * Claim that names the audience. Default `"aud"`; allowed only with profile `"jwt"`.
   *
   * Access tokens of Amazon Cognito name it in `"client_id"`.
   *
   * This and every other claim of a policy is a name or a path. `"realm_access.roles"` is a member
   * inside another one, and `"/kubernetes.io/namespace"` a JSON Pointer (RFC 6901) through objects.
   * Names with dots, such as `"https://app.example/roles"`, are found as well. A token in which a
   * path with dots has several readings is refused with `claim_invalid`.
   */
  audienceClaim?: string;
  /**
   * Allowed values of `alg`, of tokens and of status lists. Default `["EdDSA", "ES256", "RS256"]`.
   *
   * Known are `EdDSA` and its other name `Ed25519`, `ES256`, `ES384`, `RS256`, `RS384`, `RS512`,
   * `PS256`, `PS384` and `PS512`. An empty array refuses every token.
   */
  algorithms?: string[];
  /**
   * Media type expected in `typ`; `null` accepts any value, and a token without `typ`.
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
   * Claims that must have one of the given values. Default none.
   *
   * Amazon Cognito's access tokens, for example, have `{ token_use: 'access' }`.
   */
  expectedClaims?: Record<string, ExpectedValues>;
  /**
   * Claim or claims that grant scope. Default `"scope"`; allowed only with profile `"jwt"`.
   *
   * With that profile a claim is a string or an array of names. Each name in an array is judged by
   * itself, and may hold any character. A string is one name, or a list of scope tokens if the path
   * ends in `scope`, `scopes` or `scp`: see {@link ScopeClaim.split}.
   */
  scopeClaim?: string | ScopeClaim | (string | ScopeClaim)[];
  /**
   * Clock skew tolerated for `exp`, `nbf` and `iat`, also for `iat` of DPoP proofs. Default
   * `"10s"`, at most `"5m"`.
   */
  leeway?: Duration;
  /** The longest `exp - iat` accepted; without `iat`, the longest `exp - now`. Default `"24h"`. */
  maxLifetime?: Duration;
  /** The longest accepted token, in bytes. Default 16384, at most 1048576. */
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
     * The longest time since the `iat` of a proof. Default `"300s"`. Not used with
     * `dpopNonceSecrets`.
     *
     * A shorter time leaves less room for replays, and less tolerance for clients with wrong
     * clocks.
     */
    maxAge?: Duration;
  };
  /**
   * Rules for the status of a token. By default the verifier refuses a token without the claim
   * `status`, and looks up the status of every other token.
   */
  status?: {
    /**
     * Whether the status is looked up. Default `"required"`; profile `"jwt"` has no default.
     *
     * - `"required"`: a token without `status` is refused.
     * - `"when_present"`: a token without `status` passes without a look-up.
     * - `"ignore"`: no status is looked up, so a revoked token is accepted until it expires.
     */
    mode?: 'required' | 'when_present' | 'ignore';
    /**
     * The issuer that publishes the lists and signs them with its own keys, if it is not the tokens'
     * issuer. Its JWK Set is found through its metadata. Default: the tokens' issuer.
     */
    issuer?: string;
    /**
     * Allowed prefixes of status list URIs: https URLs (http only on loopback). A prefix matches
     * whole path segments. Default: the identifier of the issuer that publishes the lists, followed
     * by `/`.
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
   * Where `status.mode` is `"ignore"` and `keys` is `"http"`, the settings that concern lists or a
   * deadline have no effect. {@link Verifier.create} then throws for them.
   *
   * {@link Verifier.create} throws if `deadline` is less than `publishDelay` + `sharedMaxAge` +
   * `refreshInterval` (0 for `"ttl"`) + `fetchTimeout`. With a deadline, the freshness lifetime of
   * a copy is `deadline` - `publishDelay` - `sharedMaxAge`, by default 8.5 s.
   */
  freshness?: {
    /**
     * How long a fetched JWK Set is fresh. Default `"http"` for profile `"jwt"` without a
     * `deadline`, otherwise `"deadline"`.
     *
     * - `"deadline"`: by the revocation deadline, like lists. For issuers that publish a change of
     *   their keys within it.
     * - `"http"`: by `Cache-Control` and `Age` of the response (RFC 9111), at most 24 hours; 10
     *   minutes if the response states nothing. A check after 70 to 80 % of that time causes a
     *   refresh, at most once a minute. Besides, the source is asked at most once in 30 s for a
     *   `kid` that is not in the set. If it cannot be reached, it is asked again after 30 s, without
     *   a usable copy after 1 s, and the copy is used until `keysHardStop`.
     */
    keys?: 'deadline' | 'http';
    /**
     * The age from which on a stale JWK Set is not used, whatever `staleIfError` says. Default
     * `"24h"`. The `Age` with which the set came counts.
     */
    keysHardStop?: Duration;
    /**
     * The longest time from a revocation to the last acceptance of the token, where the source of
     * the status list can be reached. Default `"10s"`.
     *
     * A shorter deadline means more requests to the issuer. `"none"` is for issuers that guarantee
     * no deadline: once a list is stale, the verifier fetches it before it decides. If the fetch
     * fails, the copy is used until its `exp`, or for `staleIfError` if that is given. JWK Sets
     * for which `keys` is `"deadline"` then have the default deadline.
     */
    deadline?: Duration | 'none';
    /** How long the issuer may take to serve the list after a revocation. Default `"500ms"`. */
    publishDelay?: Duration;
    /**
     * The `max-age` for which shared caches between verifier and issuer keep documents. Default
     * `"1s"`.
     */
    sharedMaxAge?: Duration;
    /**
     * The age from which on a check causes a refresh of the copy. Default `"5s"`.
     *
     * `"ttl"` takes the claim `ttl` of each list, and `"5s"` for a document without one. Without a
     * deadline, the interval is the freshness lifetime of a list, and lists are not refreshed; with
     * `"ttl"`, a list without `ttl` is then fresh until its `exp`.
     */
    refreshInterval?: Duration | 'ttl';
    /** The time after which a fetch counts as failed. Default `"2500ms"`. */
    fetchTimeout?: Duration;
    /**
     * How long a copy may be used after its freshness lifetime, while fetches of it fail.
     *
     * Default `"60s"`, so that a restart of the issuer does not interrupt the API. With `"0s"`, no
     * stale copy is used. Without a deadline, lists are by default used until their `exp`. JWK Sets
     * for which `keys` is `"http"` are by default used until `keysHardStop`.
     */
    staleIfError?: Duration;
    /**
     * The longest time for which a list is used after its signed `iat`, whatever caches report as
     * its age.
     *
     * Default `"5m"` for profile `"rfc9068"` with a deadline, or 1.5 times the outage bound
     * (`deadline` + `staleIfError`) if that is longer; otherwise the list's own `exp` (24 h after
     * `iat` for a list without `exp`). A value below 15 s or below 1.5 times the outage bound is
     * refused.
     */
    maxListAge?: Duration;
    /**
     * Whether status heads are used. Default `"follow"`.
     *
     * A head is a small signed document in which an issuer names the current edition of each list.
     * - `"follow"`: a list that names a head is current only while a head says so, whatever caches
     *   answer. One request for the head then takes the place of one for each list.
     * - `"ignore"`: each list is asked for: where the head cannot be fetched.
     */
    head?: 'follow' | 'ignore';
    /**
     * The largest difference between the clocks of issuer and verifier for which the deadline holds.
     * Default `"2s"`. Only heads need it, since they state when they were signed.
     */
    clockSkew?: Duration;
  };
}

/**
 * A place of a request in which the token may be.
 *
 * - `"authorization"`: the field `Authorization`, with the scheme Bearer or DPoP.
 * - `"header:NAME"`: a field that holds nothing but the token, such as
 *   `"header:Cf-Access-Jwt-Assertion"`.
 * - `"cookie:NAME"`: a cookie. A request with an unsafe method, or for a WebSocket, must then come
 *   from a page of the API's own origin: `Sec-Fetch-Site` is `same-origin` or, where it is absent,
 *   `Origin` is that of `externalUrl`. Others are refused with `cross_site_request`.
 * - `"websocket"`: an item `bearer.TOKEN` of `Sec-WebSocket-Protocol`.
 * - `"query"`: the parameter `access_token`; `"query:NAME"`: another one. URLs reach logs and
 *   histories, so use it only where a client can do nothing else.
 */
export type TokenPlace = 'authorization' | `header:${string}` | `cookie:${string}` | 'websocket' | 'query'
  | `query:${string}`;

/** An event that {@link HostOptions.onEvent} is told of. */
export interface DocumentEvent extends Cause {
  /** The kind of event. Kinds may be added. */
  type: 'refused';
  /** The URL that was asked. */
  url: string;
  /** What `fetch` threw, if it did: on most hosts an `Error` whose `cause` tells more. */
  error?: unknown;
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
   * If the function throws or rejects, if it does not give a whole response within
   * `freshness.fetchTimeout`, or if it gives something else, the fetch has failed.
   */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /**
   * Places of a request in which the token may be. Default `"authorization"`. Exactly one of them
   * may hold one; other places are not looked at.
   *
   * Shared caches do not store responses to requests with `Authorization` unless told to (RFC 9111
   * section 3.5). For tokens in other places send `Cache-Control: private` or `no-store` with every
   * response that is for one client.
   */
  tokenFrom?: TokenPlace | TokenPlace[];
  /**
   * URL of the protected resource's metadata (RFC 9728), which `toResponse()` names in its challenge,
   * so that a client finds the issuer. Serve the document there. Default none.
   */
  resourceMetadata?: string;
  /**
   * What requests for documents say in `User-Agent`. Default `"edgepass/VERSION"`.
   *
   * Browsers send their own value, and another one would make them ask the source for permission
   * first, so there this option has no effect.
   */
  userAgent?: string;
  /**
   * Handling of a due refresh when `verify` is called without `waitUntil`.
   *
   * - `"await"`: `verify` awaits the refresh before it resolves. It builds no tables of keys and
   *   prefetches no lists. Default in Workers and serverless functions, where work that is not
   *   awaited ends with the response.
   * - `"detach"`: the refresh runs without being awaited. Default elsewhere.
   */
  background?: 'await' | 'detach';
  /**
   * Whether the verifier waits for the issuer's next status head behind responses, so that a
   * revocation takes effect within a fraction of a second. It waits only while tokens are checked,
   * and only with `waitUntil` or where `background` is `"detach"`.
   *
   * Default: `true` in Workers and servers, `false` in pages and in functions whose time is billed.
   * Without it, the head is asked for in each `freshness.refreshInterval`.
   */
  watch?: boolean;
  /**
   * Scheme and authority of this API as its clients see them, such as `"https://api.example"`,
   * without a slash at the end.
   *
   * A DPoP proof names the URL that it was made for. The verifier compares that URL with this
   * option and the path of the request, not with a `Host` header. Default: none, and tokens that
   * are bound to a key are refused.
   */
  externalUrl?: string;
  /**
   * Secrets for nonces that DPoP proofs must carry (RFC 9449 section 9). Default: no nonce is
   * required.
   *
   * Each has at least 32 bytes, is drawn at random, and is shared by all isolates. The first signs
   * nonces. Nonces that the second signed are accepted as well, so that a secret can be replaced
   * without refusing a client.
   */
  dpopNonceSecrets?: [string] | [string, string];
  /**
   * Records the use of a DPoP proof, and resolves to `true` if it is the first.
   *
   * Remember `id`, 64 hexadecimal digits, until `until`, in milliseconds since the epoch. If the
   * function throws, rejects, resolves to no boolean, or does not settle within 2.5 s, the token is
   * refused with `replay_unavailable`. Default: a memory of this isolate, which other isolates do not share.
   */
  firstUse?: (id: string, until: number) => Promise<boolean>;
  /**
   * Function that is told of each failed fetch and each refused document, for a log. Default: none.
   *
   * It is called at once, so it must be quick. What it throws is ignored.
   */
  onEvent?: (event: DocumentEvent) => void;
  /**
   * Memory limit for verified tokens, in bytes. Default 4194304; 0 remembers none.
   *
   * A remembered token is not parsed again, and its signature is not checked again while its key
   * stays trusted. The later steps of the check run each time.
   */
  verifiedBytes?: number;
  /**
   * Memory limit for the status lists of one issuer, in bytes. Default 16777216.
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
  /**
   * Scope tokens, all of which the token must grant. Default none; `[]` is an error.
   *
   * Where an issuer's policy takes names from an array, this may be any such name.
   */
  allOf?: string[];
  /** Scope tokens, at least one of which the token must grant. Default none; `[]` is an error. */
  anyOf?: string[];
  /**
   * Purposes, of which the agreement of the token must have at least one: the claim
   * `authorization_details` (RFC 9396) with the type `edgepass_agreement`. Default none; `[]` is an error.
   */
  purposes?: string[];
  /** Categories of data that the agreement of the token must cover, all of them. Default none; `[]` is an error. */
  data?: string[];
  /** Accepted issuers, among those of the verifier. Default: all; `[]` refuses every token. */
  issuers?: string[];
  /** Accepted audience. Default: that of the policy. `[]` refuses every token. */
  audience?: string | string[];
  /**
   * How long a copy may be used after its freshness lifetime, while fetches of it fail.
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
   * SHA-256 of the client's certificate in DER, as 64 hexadecimal digits. Default: no certificate;
   * an empty string means the same.
   *
   * Take it from the platform, which verified that the client holds the key:
   * `request.cf.tlsClientAuth.certFingerprintSHA256` in a Worker. Never take it from a header.
   */
  certificateSha256?: string;
  /**
   * Where the request comes from, for tokens that name networks (claim `edgepass_networks`). Default:
   * unknown; then such a token is refused. What cannot be read counts as unknown.
   *
   * Take it from the platform. In a Worker: `{ address: request.headers.get('cf-connecting-ip') ??
   * undefined, asn: request.cf?.asn, country: request.cf?.country }`. In Node.js:
   * `{ address: request.socket.remoteAddress }`, unless a proxy is in front.
   */
  client?: {
    /** Its address: IPv4 or IPv6. */
    address?: string;
    /** The number of its autonomous system. */
    asn?: number;
    /** Its country, by the two capital letters of ISO 3166-1. */
    country?: string;
  };
  /**
   * Function that keeps the host alive until a promise settles. In a Worker pass
   * `(work) => ctx.waitUntil(work)`.
   *
   * The verifier calls it with promises for due refreshes, tables of keys and prefetched lists.
   * If it throws, the work runs without it, for as long as the host allows.
   * Default: see {@link HostOptions.background}.
   */
  waitUntil?: (work: Promise<unknown>) => void;
  /**
   * Time at which the token is judged, in seconds since the epoch, to replay a decision.
   *
   * Default: the host's clock. The range is 0 to 253402300799, the end of the year 9999.
   */
  now?: number;
}

const HOST_OPTIONS: Record<keyof HostOptions, true> = {
  cache: true, fetch: true, tokenFrom: true, resourceMetadata: true, userAgent: true, background: true, externalUrl: true, dpopNonceSecrets: true,
  firstUse: true, onEvent: true, verifiedBytes: true, listBytes: true, watch: true,
};
const ISSUER_OPTIONS: Record<keyof IssuerOptions, true> = {
  profile: true, issuer: true, tenants: true, audience: true, audienceClaim: true, algorithms: true, typ: true,
  requiredClaims: true, expectedClaims: true, scopeClaim: true, leeway: true, maxLifetime: true,
  maxTokenBytes: true, jwks: true, dpop: true, status: true, freshness: true,
};
type Group = 'dpop' | 'status' | 'freshness';
const GROUPS: { [Name in Group]: Record<keyof NonNullable<IssuerOptions[Name]>, true> } = {
  dpop: { algorithms: true, maxAge: true },
  status: { mode: true, issuer: true, uriPrefixes: true, maxListBytes: true, maxResponseBytes: true },
  freshness: {
    keys: true, keysHardStop: true, deadline: true, publishDelay: true, sharedMaxAge: true,
    refreshInterval: true, fetchTimeout: true, staleIfError: true, maxListAge: true, head: true,
    clockSkew: true,
  },
};

/**
 * Throws a TypeError for an unknown option of an issuer or of its groups. With `alone`, the options
 * of the host stand beside those of the issuer, and the message names them as well.
 */
export function checkIssuerOptions(options: IssuerOptions, alone: boolean): void {
  const known = alone ? { ...ISSUER_OPTIONS, ...HOST_OPTIONS } : ISSUER_OPTIONS;
  refuseUnknown(options, known, '');
  for (const [group, names] of Object.entries(GROUPS)) {
    const members: unknown = options[group as Group];
    if (isPlain(members)) refuseUnknown(members, names, `${group}.`);
  }
}

function refuseUnknown(members: object, known: object, prefix: string): void {
  for (const name of Object.keys(members)) {
    if (Object.hasOwn(known, name)) continue;
    throw new TypeError(`unknown option ${prefix}${name}; expected one of ${Object.keys(known).join(', ')}`);
  }
}

const REQUIREMENTS: ReadonlySet<string> = new Set([
  'allOf', 'anyOf', 'purposes', 'data', 'issuers', 'audience', 'staleIfError',
] satisfies (keyof Requirements)[]);
const OPTIONS: ReadonlySet<string> = new Set([
  'certificateSha256', 'client', 'waitUntil', 'now',
] satisfies (keyof VerifyOptions)[]);

/**
 * Throws a TypeError for an unknown member, for a value that is no object, and for an object
 * without members that is not plain, such as a map.
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
  const { now, certificateSha256, client, waitUntil } = options;
  if (now !== undefined && !(typeof now === 'number' && now >= 0 && now <= 253_402_300_799)) {
    throw new RangeError('now must be seconds since the epoch');
  }
  if (certificateSha256 !== undefined && typeof certificateSha256 !== 'string') {
    throw new TypeError('certificateSha256 must be a string');
  }
  if (client !== undefined) checkClient(client);
  if (waitUntil !== undefined && typeof waitUntil !== 'function') {
    throw new TypeError('waitUntil must be a function');
  }
}

const CLIENT: Record<keyof NonNullable<VerifyOptions['client']>, string> = {
  address: 'string', asn: 'number', country: 'string',
};

function checkClient(client: object): void {
  if (!isPlain(client)) throw new TypeError('client must be an object: { address, asn, country }');
  for (const [name, value] of Object.entries(client)) {
    const type = Object.hasOwn(CLIENT, name) && CLIENT[name as keyof typeof CLIENT];
    if (!type) throw new TypeError(`unknown member client.${name}; expected one of ${Object.keys(CLIENT).join(', ')}`);
    if (value !== undefined && typeof value !== type) throw new TypeError(`client.${name} must be a ${type}`);
  }
  const { asn } = client as { asn?: number };
  if (asn !== undefined && !(Number.isInteger(asn) && asn >= 0 && asn < 2 ** 32)) {
    throw new TypeError('client.asn must be the number of an autonomous system');
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
  // The content of a promise or a map is not in members, so it would be ignored.
  if (isEmpty && !isPlain(members)) throw new TypeError(FORM);
}

/** Returns the options with names in snake case, as in a policy. Names of claims stay. */
export function snakeCased(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    name === 'expectedClaims' || name === 'scopeClaim' ? inner : snakeCased(inner),
  ]));
}

/** Names of options that the module spells in snake case. */
const SPELLED: ReadonlySet<string> = new Set([
  ...Object.keys({ ...ISSUER_OPTIONS, ...HOST_OPTIONS }), ...Object.values(GROUPS).flatMap(Object.keys), ...REQUIREMENTS,
]);

/**
 * Runs `make`. The message of its error then names options as TypeScript spells them, with the path
 * from the options of the program.
 */
export function spelled<Made>(make: () => Made): Made {
  try {
    return make();
  } catch (error) {
    if (error instanceof Error && !(error instanceof WebAssembly.RuntimeError)) {
      error.message = error.message
        .replace(/^issuers(\[\d+\])\.policy\.?/, (_, index) => (index === '[0]' ? '' : `issuers${index}.`))
        .replace(/^issuers\[0\](\.jwks)?: /, (path) => (path.includes('jwks') ? 'jwks: ' : path))
        .replaceAll('jwks_uri', 'jwks').replaceAll('nonce_secrets', 'dpopNonceSecrets')
        .replace(/\b[a-z]+(?:_[a-z]+)+\b/g, (name) => {
          const option = name.replace(/_[a-z]/g, (letter) => letter.charAt(1).toUpperCase());
          return SPELLED.has(option) ? option : name;
        })
        .replace(/\b(\w+) = "/g, '$1: "');
    }
    throw error;
  }
}
