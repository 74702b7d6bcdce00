// The package's face: options in, verdicts out. The checks themselves are Rust, in the Wasm module.

import { BatchCore, Core, decode, steps } from '../wasm/edgepass_npm.js';

/** A duration with a unit, such as `"10s"`, `"2500ms"` or `"1h"`. */
export type Duration = string;

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
}

/** A verifier of one issuer's tokens, or of several's, each with its own keys and expectations. */
export type VerifierOptions = HostOptions & (IssuerOptions | { issuers: IssuerOptions[] });

/** What one call asks of the token. */
export interface Demand {
  /** Every one of these scope tokens. */
  allOf?: string[];
  /** At least one of these scope tokens. */
  anyOf?: string[];
  /** Only tokens of these issuers, of those that the verifier trusts. */
  issuers?: string[];
  /** Instead of the verifier's audience. */
  audience?: string | string[];
  /** How long past the deadline a held copy may serve while its source is unreachable. */
  staleIfError?: Duration;
  /** Seconds since the epoch, to replay a decision. Default: the clock. */
  now?: number;
  /**
   * SHA-256 of the certificate that the client proved to hold, in hexadecimal, as the platform
   * reports it: `request.cf.tlsClientAuth.certFingerprintSHA256` in a Worker. Never from a header.
   */
  certificateSha256?: string;
  /** Given the promise of a due refresh, such as `ctx.waitUntil` of a Worker. */
  waitUntil?: (work: Promise<unknown>) => void;
}

/** The status that was looked up. */
export interface Status {
  /** 0 valid, 1 revoked, 2 suspended. */
  value: number;
  /** Milliseconds since the epoch: when the list was last confirmed at its source. */
  confirmedAt: number;
  /** Whether the list served beyond its freshness window because its source is unreachable. */
  stale: boolean;
}

/** The checks, in the order they run. */
export type Step =
  | 'parse' | 'policy' | 'key' | 'signature' | 'claims' | 'binding' | 'scopes' | 'status';

/** What came of a check. */
export class Verdict {
  /** Whether the token is accepted. */
  readonly accepted: boolean;
  /** The stable code of the first check that failed, such as `"token_expired"`. */
  readonly code: string | null;
  /** The check that failed. */
  readonly step: Step | null;
  /** A sentence for people. It holds nothing that the caller sent. */
  readonly message: string | null;
  /** The claims of an accepted token; `null` for a refused one. */
  readonly claims: Readonly<Record<string, unknown>> | null;
  /** The status that was looked up, if it came to that. */
  readonly status: Status | null;
  /** Whether a held copy served beyond its freshness window. */
  readonly stale: boolean;
  readonly #refusal: { status: number; headers: [string, string][]; body: string } | null;

  /** @internal */
  constructor(json: string) {
    const { status, refusal, ...rest } = JSON.parse(json);
    this.accepted = rest.accepted;
    this.code = rest.code;
    this.step = rest.step;
    this.message = rest.message;
    this.claims = rest.claims;
    this.stale = rest.stale;
    this.status = status && {
      value: status.value, confirmedAt: status.confirmed_at, stale: status.stale,
    };
    this.#refusal = refusal;
  }

  /** The refusal as a response: RFC 6750 challenge and RFC 9457 body. Throws for an accepted one. */
  toResponse(): Response {
    if (!this.#refusal) throw new TypeError('the token is accepted: there is nothing to refuse');
    const { status, headers, body } = this.#refusal;
    return new Response(body, { status, headers });
  }
}

/** Verifies tokens. Make one per isolate or process, in global scope. */
export class Verifier {
  readonly #make: () => Core;
  readonly #background: 'await' | 'detach';
  readonly #externalUrl: string | undefined;
  #core: Core;

  private constructor(
    make: () => Core, background: 'await' | 'detach', externalUrl: string | undefined,
  ) {
    this.#make = make;
    this.#background = background;
    this.#externalUrl = externalUrl;
    this.#core = make();
  }

  /** Does no I/O and draws no randomness. Throws when the options are not a policy. */
  static create(options: VerifierOptions): Verifier {
    if (typeof options !== 'object' || options === null) {
      throw new TypeError('create takes options: { issuer, audience, ... }');
    }
    const {
      cache, fetch, background, externalUrl, dpopNonceSecrets, firstUse, ...trusted
    } = options;
    if (cache !== undefined && cache !== 'cache-api' && cache !== 'none') {
      throw new TypeError('cache is "cache-api" or "none"');
    }
    if (background !== undefined && background !== 'await' && background !== 'detach') {
      throw new TypeError('background is "await" or "detach"');
    }
    const secrets: unknown = dpopNonceSecrets;
    if (secrets !== undefined
      && !(Array.isArray(secrets) && secrets.every((secret) => typeof secret === 'string'))) {
      throw new TypeError('dpopNonceSecrets is an array of one or two secrets');
    }
    if (externalUrl !== undefined && new URL(externalUrl).origin !== externalUrl) {
      throw new TypeError('externalUrl is a scheme and an authority: "https://api.example"');
    }
    if ('issuers' in trusted && Object.keys(trusted).length > 1) {
      throw new TypeError('what is expected of tokens is written for each of the issuers');
    }
    const issuers = 'issuers' in trusted ? trusted.issuers : [trusted];
    const config = JSON.stringify({
      issuers: issuers.map(({ jwks, ...policy }) => ({
        policy: snakeCased(policy),
        jwks: typeof jwks === 'object' ? JSON.stringify(jwks) : jwks,
      })),
      nonce_secrets: dpopNonceSecrets,
    });
    const cacheApi = cache === undefined ? inWorkerd() : cache === 'cache-api';
    const make = () => new Core(config, cacheApi, fetch, firstUse);
    return new Verifier(
      make, background ?? (endsWithItsResponse() ? 'await' : 'detach'), externalUrl,
    );
  }

  /**
   * Judge a token, or the token of a request. Resolves to a verdict, also for a token that is
   * refused; rejects only when the call itself is wrong.
   */
  async verify(input: string | Request, demand: Demand = {}): Promise<Verdict> {
    if (typeof input !== 'string' && typeof input?.headers?.get !== 'function') {
      throw new TypeError('verify takes a token or a Request of the Fetch API');
    }
    const { now, waitUntil, audience, certificateSha256, ...rest } = demand;
    const asked = JSON.stringify(snakeCased({
      ...rest, audience: typeof audience === 'string' ? [audience] : audience,
    }));
    const [token, request] = typeof input !== 'string'
      ? ['', this.#requestText(input, certificateSha256)]
      : certificateSha256
        ? ['', JSON.stringify({ authorization: `Bearer ${input}`, method: '', certificate: certificateSha256 })]
        : [input, undefined];
    let answer: [string, Promise<void> | undefined];
    try {
      answer = await this.#core.verify(token, request, asked, now);
    } catch (error) {
      // A trap leaves the module's object locked for ever; another one takes its place.
      if (error instanceof WebAssembly.RuntimeError) this.#core = this.#make();
      throw error;
    }
    const [json, work] = answer;
    if (work) {
      if (waitUntil) waitUntil(work);
      else if (this.#background === 'await') await work;
    }
    return new Verdict(json);
  }

  #requestText({ headers, method, url }: Request, certificate: string | undefined): string {
    const external = this.#externalUrl;
    const seen = external === undefined ? undefined : external + new URL(url).pathname
      + new URL(url).search;
    return JSON.stringify({
      authorization: headers.get('authorization') ?? undefined,
      dpop: headers.get('dpop') ?? undefined,
      query: new URL(url).search.slice(1), method, url: seen, certificate,
    });
  }
}

/** What came of one line of a batch. As a string it is its line. */
export class BatchAnswer {
  /** The line's `id`. */
  declare readonly id: unknown;
  /** What came of it; `"error"` when the line itself cannot be judged. */
  declare readonly verdict: 'accepted' | 'rejected' | 'error';
  /** The stable code of the first check that failed. */
  declare readonly code: string | null;
  /** Whether a held list served beyond its freshness window. */
  declare readonly stale: boolean;
  /** What was asked for, in order. */
  declare readonly fetched: readonly string[];
  /** Why a line cannot be judged. */
  declare readonly message?: string;

  /** @internal */
  constructor(json: string) {
    Object.assign(this, JSON.parse(json));
  }

  /** The line. */
  toString(): string {
    return JSON.stringify(this);
  }
}

/**
 * Judge lines of a log, a migration or any corpus, in order, as `edgepass verify --batch` does:
 * JSON objects, their texts, or one text with a line each. See docs/batch.md for their form.
 * Nothing is fetched and no clock is read.
 */
export async function verifyBatch(
  lines: string | Iterable<string | object> | AsyncIterable<string | object>,
): Promise<BatchAnswer[]> {
  const batch = new BatchCore();
  const answers: BatchAnswer[] = [];
  const each = typeof lines === 'string' ? lines.split('\n').filter((line) => line.trim()) : lines;
  try {
    for await (const line of each) {
      const text = typeof line === 'string' ? line : JSON.stringify(line);
      answers.push(new BatchAnswer(await batch.judge(text)));
    }
  } finally {
    batch.free();
  }
  return answers;
}

/** Decode a token WITHOUT verifying it, for display. `null` when it is not a compact JWS. */
export function decodeUnverified(
  token: string,
): { header: Record<string, unknown>; claims: Record<string, unknown> } | null {
  const text = decode(token, 1 << 20);
  return text === undefined ? null : JSON.parse(text);
}

/** The names of the checks, in the order they run. */
export const STEPS: () => readonly Step[] = () => JSON.parse(steps());

/** Option names as the policy writes them; names of claims stay as they are. */
function snakeCased(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    name === 'expectedClaims' ? inner : snakeCased(inner),
  ]));
}

function inWorkerd(): boolean {
  return globalThis.navigator?.userAgent === 'Cloudflare-Workers';
}

/** Whether work that is not awaited is lost once the response is sent. */
function endsWithItsResponse(): boolean {
  const env: Record<string, unknown> =
    (globalThis as { process?: { env?: Record<string, unknown> } }).process?.env ?? {};
  const serverless = [
    'AWS_LAMBDA_FUNCTION_NAME', 'FUNCTION_TARGET', 'FUNCTIONS_WORKER_RUNTIME', 'K_SERVICE',
    'NETLIFY', 'VERCEL',
  ];
  return inWorkerd() || serverless.some((name) => env[name] !== undefined);
}
