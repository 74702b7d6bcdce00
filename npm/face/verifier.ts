// The package's face: options in, verdicts out. The checks themselves are Rust, in the Wasm module.

import { BatchCore, Core, decode, shared_memory, steps } from '../wasm/edgepass_npm.js';

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
  /**
   * What remembered tokens may take, in bytes. A token that was verified is not parsed and its
   * signature not checked again while its key stays trusted; everything else is. Default 4194304; 0
   * remembers none.
   */
  verifiedBytes?: number;
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
  /** The status that was looked up, if it came to that. */
  readonly status: Status | null;
  /** Whether a held copy served beyond its freshness window. */
  readonly stale: boolean;
  readonly #refusal: Refusal | null;
  /** Claims, or the text of the token that holds them, until they are asked for. */
  #claims: Readonly<Record<string, unknown>> | string | null;

  /** @internal */
  constructor(told: Told) {
    this.accepted = told.accepted;
    this.code = told.code;
    this.step = told.step;
    this.message = told.message;
    this.status = told.status;
    this.stale = told.stale;
    this.#refusal = told.refusal;
    this.#claims = told.claims;
  }

  /** @internal */
  static parse(json: string): Verdict {
    const { status, ...told } = JSON.parse(json);
    return new Verdict({
      ...told,
      status: status && { value: status.value, confirmedAt: status.confirmed_at, stale: status.stale },
    });
  }

  /** The claims of an accepted token; `null` for a refused one. */
  get claims(): Readonly<Record<string, unknown>> | null {
    if (typeof this.#claims === 'string') this.#claims = claimsOf(this.#claims);
    return this.#claims;
  }

  /** The refusal as a response: RFC 6750 challenge and RFC 9457 body. Throws for an accepted one. */
  toResponse(): Response {
    if (!this.#refusal) throw new TypeError('the token is accepted: there is nothing to refuse');
    const { status, headers, body } = this.#refusal;
    return new Response(body, { status, headers });
  }

  /** Everything but the response. */
  toJSON(): object {
    return { ...this, claims: this.claims };
  }
}

interface Refusal { status: number; headers: [string, string][]; body: string }

interface Told {
  accepted: boolean; code: string | null; step: Step | null; message: string | null;
  status: Status | null; stale: boolean; refusal: Refusal | null;
  claims: Readonly<Record<string, unknown>> | string | null;
}

/** The claims in a token that was accepted: strict JSON, of which there is one reading. */
function claimsOf(token: string): Readonly<Record<string, unknown>> {
  const start = token.indexOf('.') + 1;
  const text = token.slice(start, token.indexOf('.', start)).replaceAll('-', '+').replaceAll('_', '/');
  return JSON.parse(decoder.decode(Uint8Array.from(atob(text), (char) => char.charCodeAt(0))));
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What a call of the module answers; see `answer` in core.rs. */
const KIND = 0b111;
const ACCEPTED = 0;
const REFUSED = 1;
const CHECK_SIGNATURE = 2;
const STALE = 1 << 3;
const HAS_STATUS = 1 << 4;
const REFRESH_DUE = 1 << 5;
const SLOT_SHIFT = 8;

/** Work behind the response is looked for after so many calls. */
const CALLS_BETWEEN_WORK = 16;

const NOTHING_MORE: Demand = {};

/** One instance of the module's verifier, and what this side knows of it. */
class Engine {
  readonly core: Core;
  /** Views of the module's memory, made anew whenever it grows. */
  #text = new Uint8Array(0);
  #facts = new Float64Array(0);
  readonly #textAt: number;
  readonly #textLength: number;
  readonly #factsAt: number;
  readonly #demands = new Map<string, number>();
  readonly #keys: (HostKey | Promise<HostKey>)[] = [];
  readonly #memory = shared_memory() as WebAssembly.Memory;

  constructor(config: string, cacheApi: boolean, options: HostOptions) {
    this.core = new Core(config, cacheApi, options.fetch, options.firstUse);
    this.#textAt = this.core.text();
    this.#textLength = this.core.text_length();
    this.#factsAt = this.core.facts();
  }

  /** Write a text into the module's buffer; its length in bytes, or -1 when it is too long. */
  write(text: string): number {
    if (this.#text.byteLength === 0) this.#view();
    const { read, written } = encoder.encodeInto(text, this.#text);
    return read === text.length ? written : -1;
  }

  /** The numbers that go with the last answer; see `Facts` in core.rs. */
  get facts(): Float64Array {
    if (this.#facts.byteLength === 0) this.#view();
    return this.#facts;
  }

  bytes(at: number, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#memory.buffer, at, length);
  }

  #view(): void {
    this.#text = new Uint8Array(this.#memory.buffer, this.#textAt, this.#textLength);
    this.#facts = new Float64Array(this.#memory.buffer, this.#factsAt, 7);
  }

  /** The number of a demand, which crosses once. */
  demand({ allOf, anyOf, issuers, audience, staleIfError }: Demand): number {
    const simple = issuers === undefined && audience === undefined && staleIfError === undefined;
    // Scope tokens hold no spaces, so that counts and spaces tell lists apart.
    const key = simple && (allOf === undefined || Array.isArray(allOf))
      && (anyOf === undefined || Array.isArray(anyOf))
      ? `${allOf ? `${allOf.length} ${allOf.join(' ')}` : ''}|${anyOf ? `${anyOf.length} ${anyOf.join(' ')}` : ''}`
      : JSON.stringify([allOf, anyOf, issuers, audience, staleIfError]);
    let number = this.#demands.get(key);
    if (number === undefined) {
      const text = JSON.stringify(snakeCased({
        allOf, anyOf, issuers, staleIfError, audience: typeof audience === 'string' ? [audience] : audience,
      }));
      number = this.core.demand(text);
      if (number === undefined) {
        this.#demands.clear();
        number = this.core.demand(text) ?? 0;
      }
      this.#demands.set(key, number);
    }
    return number;
  }

  /** A key of the host's crypto, imported once. */
  key(number: number): HostKey | Promise<HostKey> {
    return this.#keys[number] ??= this.#import(number);
  }

  async #import(number: number): Promise<HostKey> {
    try {
      const [jwk, algorithm] = this.core.host_key(number) as [JsonWebKey, RsaHashedImportParams];
      const key = await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['verify']);
      return this.#keys[number] = { key, algorithm };
    } catch (error) {
      delete this.#keys[number];
      throw error;
    }
  }
}

interface HostKey { key: CryptoKey; algorithm: RsaHashedImportParams }

/** What a verifier did so far, and holds. */
export interface Counters {
  /** Tokens that were found among those verified before. */
  remembered: number;
  /** How often the host's crypto disagreed with the tables of a key. Report anything but 0. */
  faults: number;
  /** What the tables of keys take. */
  tableBytes: number;
}

/** Verifies tokens. Make one per isolate or process, in global scope. */
export class Verifier {
  readonly #make: () => Engine;
  readonly #background: 'await' | 'detach';
  readonly #externalUrl: string | undefined;
  #engine: Engine;
  #calls = 0;

  private constructor(
    make: () => Engine, background: 'await' | 'detach', externalUrl: string | undefined,
  ) {
    this.#make = make;
    this.#background = background;
    this.#externalUrl = externalUrl;
    this.#engine = make();
  }

  /** Does no I/O and draws no randomness. Throws when the options are not a policy. */
  static create(options: VerifierOptions): Verifier {
    if (typeof options !== 'object' || options === null) {
      throw new TypeError('create takes options: { issuer, audience, ... }');
    }
    const {
      cache, fetch, background, externalUrl, dpopNonceSecrets, firstUse, verifiedBytes, ...trusted
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
    if (verifiedBytes !== undefined && !(Number.isSafeInteger(verifiedBytes) && verifiedBytes >= 0)) {
      throw new TypeError('verifiedBytes is a number of bytes');
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
      verified_bytes: verifiedBytes,
    });
    const cacheApi = cache === undefined ? inWorkerd() : cache === 'cache-api';
    const make = () => new Engine(config, cacheApi, { fetch, firstUse });
    return new Verifier(
      make, background ?? (endsWithItsResponse() ? 'await' : 'detach'), externalUrl,
    );
  }

  /**
   * Judge a token, or the token of a request. Resolves to a verdict, also for a token that is
   * refused; rejects only when the call itself is wrong.
   */
  verify(input: string | Request, demand: Demand = NOTHING_MORE): Promise<Verdict> {
    try {
      return this.#begin(input, demand);
    } catch (error) {
      return this.#failed(error);
    }
  }

  /** What was done so far, and what is held. */
  counters(): Counters {
    const [remembered, faults, tableBytes] = this.#engine.core.counters();
    return { remembered, faults, tableBytes };
  }

  #begin(input: string | Request, demand: Demand): Promise<Verdict> {
    const engine = this.#engine;
    const { now, certificateSha256 } = demand;
    if (now !== undefined && !(now >= 0 && now <= 253_402_300_799)) {
      throw new RangeError('now must be seconds since the epoch');
    }
    let text = '';
    let isField = false;
    let simple = !certificateSha256;
    if (typeof input === 'string') {
      text = input;
    } else if (typeof input?.headers?.get === 'function') {
      // Only a request for which nothing but its Authorization field can matter is simple.
      const authorization = input.headers.get('authorization');
      simple &&= authorization !== null && this.#externalUrl === undefined
        && !input.headers.has('dpop') && !input.url.includes('access_token');
      text = authorization ?? '';
      isField = true;
    } else {
      throw new TypeError('verify takes a token or a Request of the Fetch API');
    }
    const number = engine.demand(demand);
    const length = simple ? engine.write(text) : -1;
    if (length < 0) {
      const request = isField
        ? this.#requestText(input as Request, certificateSha256)
        : JSON.stringify({ authorization: `Bearer ${text}`, method: '', certificate: certificateSha256 });
      return this.#later(engine.core.verify_request(request, number, replayed(now)), demand);
    }
    const answer = engine.core.begin(length, isField, number, now === undefined ? Date.now() : now * 1000);
    return this.#told(engine, answer, text, demand);
  }

  #told(engine: Engine, answer: number, text: string, demand: Demand): Promise<Verdict> {
    const kind = answer & KIND;
    if (kind === CHECK_SIGNATURE) return this.#checkSignature(engine, answer, text, demand);
    if (kind !== ACCEPTED && kind !== REFUSED) {
      return this.#later(engine.core.resume(answer >>> SLOT_SHIFT, replayed(demand.now)), demand);
    }
    const verdict = kind === REFUSED ? Verdict.parse(engine.core.verdict()!) : new Verdict({
      accepted: true, code: null, step: null, message: null, refusal: null, claims: text,
      stale: (answer & STALE) !== 0,
      status: answer & HAS_STATUS ? {
        value: engine.facts[0], confirmedAt: engine.facts[1], stale: (answer & STALE) !== 0,
      } : null,
    });
    this.#work(engine, demand);
    if (answer & REFRESH_DUE) {
      const refresh = engine.core.refresh(replayed(demand.now));
      if (refresh && demand.waitUntil) demand.waitUntil(refresh);
      else if (refresh && this.#background === 'await') return refresh.then(() => verdict);
    }
    return Promise.resolve(verdict);
  }

  async #checkSignature(engine: Engine, answer: number, text: string, demand: Demand): Promise<Verdict> {
    const [, , number, input, inputLength, signature, signatureLength] = engine.facts;
    const slot = answer >>> SLOT_SHIFT;
    let valid = false;
    try {
      const held = engine.key(number);
      const { key, algorithm } = held instanceof Promise ? await held : held;
      valid = await crypto.subtle.verify(
        algorithm, key, engine.bytes(signature, signatureLength), engine.bytes(input, inputLength),
      );
    } catch {
      // What the host cannot do is not valid.
    }
    try {
      const { now } = demand;
      const next = engine.core.signature_checked(slot, valid, now === undefined ? Date.now() : now * 1000);
      return await this.#told(engine, next, text, demand);
    } catch (error) {
      return this.#failed(error);
    }
  }

  async #later(answer: Promise<[string, Promise<void> | undefined]>, demand: Demand): Promise<Verdict> {
    try {
      const [json, refresh] = await answer;
      if (refresh && demand.waitUntil) demand.waitUntil(refresh);
      else if (refresh && this.#background === 'await') await refresh;
      this.#work(this.#engine, demand);
      return Verdict.parse(json);
    } catch (error) {
      return this.#failed(error);
    }
  }

  /** Lay out tables of keys that have earned them, where something outlives the response. */
  #work(engine: Engine, { waitUntil }: Demand): void {
    if (++this.#calls % CALLS_BETWEEN_WORK !== 0) return;
    if (!waitUntil && this.#background === 'await') return;
    const work = engine.core.work();
    if (work && waitUntil) waitUntil(work);
  }

  #failed(error: unknown): Promise<never> {
    // A trap leaves the module's object locked for ever; another one takes its place.
    if (error instanceof WebAssembly.RuntimeError) this.#engine = this.#make();
    return Promise.reject(error);
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

/** The time that a decision is replayed at, in milliseconds. */
function replayed(now: number | undefined): number | undefined {
  return now === undefined ? undefined : now * 1000;
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
