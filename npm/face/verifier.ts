// The package's face: options in, verdicts out. The checks themselves are Rust, in the Wasm module.

import { Core, decode, steps } from '../wasm/edgepass_npm.js';

/** A duration with a unit, such as `"10s"`, `"2500ms"` or `"1h"`. */
export type Duration = string;

/** What a resource server expects of tokens. Unknown options are refused. */
export interface VerifierOptions {
  /** Issuer identifier; `iss` must equal it exactly. */
  issuer: string;
  /** This resource server's identifiers; `aud` must contain one of them. */
  audience: string | string[];
  /** Allowed `alg` values. Default: `["EdDSA", "ES256", "RS256"]`. An empty list allows nothing. */
  algorithms?: string[];
  /** Media type expected in `typ`. Default `"at+jwt"` (RFC 9068); `null` accepts any. */
  typ?: string | null;
  /** Clock skew absorbed on `exp`, `nbf` and `iat`. Default `"10s"`, at most `"5m"`. */
  leeway?: Duration;
  /** The longest `exp - iat` accepted. Default `"24h"`. */
  maxLifetime?: Duration;
  /** The longest token read, in bytes. Default 16384. */
  maxTokenBytes?: number;
  /** The issuer's JWK Set: a URL or the set itself. Default: found through the issuer's metadata. */
  jwks?: string | { keys: object[] };
  /** Share fetched documents between isolates. Default: `"cache-api"` in workerd, else `"none"`. */
  cache?: 'cache-api' | 'none';
  /** Status checking. Default: every token must carry a status, and it is looked up. */
  status?: {
    mode?: 'required' | 'when_present' | 'ignore';
    /** Where lists may lie; each ends in `/`. Default: below the issuer identifier. */
    uriPrefixes?: string[];
    /** Largest list, inflated, in bytes. Default 1048576. */
    maxListBytes?: number;
    /** Largest response, in bytes. Default 1048576. */
    maxResponseBytes?: number;
  };
  /** The terms of the revocation deadline. Refused when they don't add up. */
  freshness?: {
    deadline?: Duration;
    publishDelay?: Duration;
    sharedMaxAge?: Duration;
    refreshInterval?: Duration;
    fetchTimeout?: Duration;
    staleIfError?: Duration;
  };
  /** Used instead of the global `fetch`. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /**
   * What happens to a due refresh when `verify` is called without `waitUntil`: `"await"` it before
   * the verdict, or `"detach"` it. Default: awaited in serverless functions and in Workers, where
   * nothing outlives the response, and detached elsewhere.
   */
  background?: 'await' | 'detach';
}

/** What one call asks of the token. */
export interface Demand {
  /** Every one of these scope tokens. */
  allOf?: string[];
  /** At least one of these scope tokens. */
  anyOf?: string[];
  /** Instead of the verifier's audience. */
  audience?: string | string[];
  /** How long past the deadline a held copy may serve while its source is unreachable. */
  staleIfError?: Duration;
  /** Seconds since the epoch, to replay a decision. Default: the clock. */
  now?: number;
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

/** Verifies tokens of one issuer. Make one per isolate or process, in global scope. */
export class Verifier {
  readonly #make: () => Core;
  readonly #background: 'await' | 'detach';
  #core: Core;

  private constructor(make: () => Core, background: 'await' | 'detach') {
    this.#make = make;
    this.#background = background;
    this.#core = make();
  }

  /** Does no I/O and draws no randomness. Throws when the options are not a policy. */
  static create(options: VerifierOptions): Verifier {
    const { jwks, cache, fetch, background, ...policy } = options;
    if (cache !== undefined && cache !== 'cache-api' && cache !== 'none') {
      throw new TypeError('cache is "cache-api" or "none"');
    }
    if (background !== undefined && background !== 'await' && background !== 'detach') {
      throw new TypeError('background is "await" or "detach"');
    }
    const config = JSON.stringify(snakeCased(policy));
    const keys = typeof jwks === 'object' ? JSON.stringify(jwks) : jwks;
    const cacheApi = cache === undefined ? inWorkerd() : cache === 'cache-api';
    const make = () => new Core(config, keys, cacheApi, fetch);
    return new Verifier(make, background ?? (endsWithItsResponse() ? 'await' : 'detach'));
  }

  /**
   * Judge a token, or the token in a request's `Authorization` header. Resolves to a verdict, also
   * for a token that is refused; rejects only when the call itself is wrong.
   */
  async verify(input: string | Request, demand: Demand = {}): Promise<Verdict> {
    const { now, waitUntil, audience, ...rest } = demand;
    const asked = snakeCased({
      ...rest, audience: typeof audience === 'string' ? [audience] : audience,
    });
    const isToken = typeof input === 'string';
    const text = isToken ? input : input.headers.get('authorization') ?? undefined;
    let answer: [string, Promise<void> | undefined];
    try {
      answer = await this.#core.verify(text, !isToken, JSON.stringify(asked), now);
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

/** Option names as the policy writes them. */
function snakeCased(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), snakeCased(inner),
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
