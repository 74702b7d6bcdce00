// The verifier as programs use it. The steps of a check run in Rust, in the Wasm module.

import { ANSWER, FACT, Engine } from './engine.js';
import { agreesAboutEd25519 } from './host-key.js';
import { endsWithItsResponse, inWorkerd, mayWatch } from './host.js';
import {
  type HostOptions, type Requirements, type IssuerOptions, type VerifierOptions, type VerifyOptions, checkIssuerOptions,
  type TokenPlace, checkOptions, checkRequirements, snakeCased,
} from './options.js';
import { ready } from './module.js';
import type { RequestFacts } from './request.js';
import { JudgedToken, type Reason, type Verdict } from './verdict.js';
import { isPlain, refuseUnlessJson } from './json.js';

/** The verifier looks for background work once in this many calls. */
const CALLS_BETWEEN_WORK = 16;

const NONE: Requirements & VerifyOptions = {};

/**
 * Replaces a text that cannot be a token, because it is too long or not visible ASCII. The module
 * refuses this one as malformed.
 */
const NO_TOKEN = '....';

/**
 * Counts since the verifier was made, and the memory that it uses.
 *
 * Counts restart at 0 after the Wasm module has failed.
 */
export interface Counters {
  /** Checks that needed no signature check, because the verifier remembered the token. */
  remembered: number;
  /**
   * Times that the reference path disagreed with the tables of a key about a signature.
   *
   * Anything but 0 is a fault of this software or of the machine. Report it.
   */
  faults: number;
  /** Memory that the tables of keys use, in bytes. */
  tableBytes: number;
  /** Number of status lists held. */
  lists: number;
  /** Memory that the status lists use, in bytes. */
  listBytes: number;
  /** Verdicts that used a stale copy, because fetching it failed. */
  stale: number;
  /**
   * Confirmations of status lists past half of their lifetime, and of JWK Sets with less than half
   * of `maxListAge` left until their `exp`.
   *
   * The issuer renews its documents earlier, so a cache or another party may be repeating an old
   * one.
   */
  aged: number;
  /**
   * Status heads that were signed later than now by more than `freshness.clockSkew`.
   *
   * Anything but 0 shows that the clock of this host is behind that of an issuer.
   */
  clock: number;
  /** Requests that wait for the next status head of an issuer. */
  watches: number;
  /** Failed fetches and refused documents, by reason. */
  refused: Record<Reason, number>;
}

/**
 * Verifies access tokens of one or more issuers.
 *
 * Make one for each isolate or process, in global scope: it holds JWK Sets, status lists and
 * verified tokens.
 *
 * @example
 * ```ts
 * import { Verifier } from 'edgepass';
 *
 * const verifier = Verifier.create({
 *   issuer: 'https://issuer.example',
 *   audience: 'https://api.example',
 * });
 * const verdict = await verifier.verify('eyJ...', { allOf: ['invoices:read'] });
 * console.log(verdict.accepted ? verdict.claims.sub : verdict.code);
 * ```
 */
export class Verifier {
  readonly #make: () => Engine;
  readonly #background: 'await' | 'detach';
  readonly #watches: boolean;
  readonly #externalUrl: string | undefined;
  /** Header fields that the places of the token need. `undefined`: the token is in `Authorization`. */
  readonly #fields: string[] | undefined;
  #engine: Engine;
  // The first token looks for work, after the check with which a verifier begins.
  #calls = CALLS_BETWEEN_WORK - 2;

  private constructor(
    make: () => Engine, background: 'await' | 'detach', watches: boolean, externalUrl: string | undefined,
    fields: string[] | undefined,
  ) {
    this.#make = make;
    this.#background = background;
    this.#watches = watches;
    this.#externalUrl = externalUrl;
    this.#fields = fields;
    this.#engine = make();
  }

  /**
   * Makes a verifier.
   *
   * This does no I/O and draws no randomness, so a Worker may call it in global scope.
   *
   * @param options - The policy of each issuer, and options of the host.
   * @returns A verifier that holds no documents yet.
   * @throws TypeError when a host option has the wrong type or form, when policy options are given
   * beside `issuers`, and when JSON cannot hold the value of a policy option.
   * @throws Error when an option is unknown, missing or out of range, when the options contradict
   * each other, or when the self-test of the Wasm module fails.
   *
   * @example
   * ```ts
   * import { Verifier } from 'edgepass';
   *
   * export const verifier = Verifier.create({
   *   issuers: [
   *     { issuer: 'https://issuer.example', audience: 'https://api.example' },
   *     {
   *       profile: 'jwt',
   *       issuer: 'https://token.actions.githubusercontent.com',
   *       jwks: 'https://token.actions.githubusercontent.com/.well-known/jwks',
   *       audience: 'https://api.example',
   *       typ: 'JWT',
   *       status: { mode: 'ignore' },
   *       expectedClaims: { repository: 'octo-org/octo-repo', ref: 'refs/heads/main' },
   *     },
   *   ],
   *   externalUrl: 'https://api.example',
   * });
   * ```
   */
  static create(options: VerifierOptions): Verifier {
    if (!isPlain(options)) {
      throw new TypeError('create expects options: { issuer, audience, ... }');
    }
    const {
      cache, fetch, tokenFrom, resourceMetadata, userAgent, background, externalUrl, dpopNonceSecrets, firstUse, onEvent, verifiedBytes,
      listBytes, watch, ...trusted
    } = options;
    if (cache !== undefined && cache !== 'cache-api' && cache !== 'none') {
      throw new TypeError('cache must be "cache-api" or "none"');
    }
    if (background !== undefined && background !== 'await' && background !== 'detach') {
      throw new TypeError('background must be "await" or "detach"');
    }
    if (watch !== undefined && typeof watch !== 'boolean') throw new TypeError('watch must be true or false');
    for (const [name, hook] of Object.entries({ fetch, firstUse, onEvent })) {
      if (hook !== undefined && typeof hook !== 'function') throw new TypeError(`${name} must be a function`);
    }
    if (userAgent !== undefined && !(typeof userAgent === 'string' && /^[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(userAgent))) {
      throw new TypeError('userAgent must be visible ASCII');
    }
    for (const [name, value] of Object.entries({ tokenFrom, resourceMetadata })) {
      if (value !== undefined) refuseUnlessJson(value, name);
    }
    const secrets: unknown = dpopNonceSecrets;
    if (secrets !== undefined && !(Array.isArray(secrets) && secrets.length > 0
      && secrets.every((secret) => typeof secret === 'string'))) {
      throw new TypeError('dpopNonceSecrets must be an array of one or two secrets');
    }
    if (cache === 'cache-api' && typeof caches === 'undefined') {
      throw new TypeError('cache is "cache-api", but this host has no Cache API');
    }
    for (const [name, value] of Object.entries({ firstUse, dpopNonceSecrets })) {
      if (value === undefined || externalUrl !== undefined) continue;
      throw new TypeError(`${name} has no effect without externalUrl: set it`);
    }
    if (externalUrl !== undefined && !isOrigin(externalUrl)) {
      throw new TypeError('externalUrl must be a scheme and an authority: "https://api.example"');
    }
    for (const [name, bytes] of Object.entries({ verifiedBytes, listBytes })) {
      if (bytes !== undefined && !(Number.isSafeInteger(bytes) && bytes >= 0)) {
        throw new TypeError(`${name} must be a number of bytes`);
      }
    }
    if ('issuers' in trusted && Object.keys(trusted).length > 1) {
      throw new TypeError('with issuers, write the policy options into each of them');
    }
    const issuers: unknown = 'issuers' in trusted ? trusted.issuers : [trusted];
    if (!Array.isArray(issuers) || !issuers.every(isPlain)) {
      throw new TypeError('issuers must be an array of { issuer, audience, ... }');
    }
    const config = JSON.stringify({
      issuers: (issuers as IssuerOptions[]).map((issuer) => {
        checkIssuerOptions(issuer, issuer === trusted);
        const { jwks, ...policy } = issuer;
        // The JWK Set is the issuer's document: members that are not read may hold any value.
        refuseUnlessJson(policy, 'create');
        if (jwks !== undefined && typeof jwks !== 'string' && !isPlain(jwks)) {
          throw new TypeError('jwks must be a URL or a JWK Set');
        }
        return { policy: snakeCased(policy), jwks: typeof jwks === 'object' ? JSON.stringify(jwks) : jwks };
      }),
      nonce_secrets: dpopNonceSecrets,
      verified_bytes: verifiedBytes,
      list_bytes: listBytes,
      // The longest RSA key that the runtime's WebCrypto imports.
      max_rsa_bits: 'Deno' in globalThis ? 4096 : undefined,
    });
    const cacheApi = cache === undefined ? inWorkerd() : cache === 'cache-api';
    ready();
    const make = () => new Engine(config, cacheApi, {
      fetch, firstUse, onEvent, userAgent, tokenFrom, resourceMetadata,
    });
    const verifier = new Verifier(
      make, background ?? (endsWithItsResponse() ? 'await' : 'detach'), watch ?? mayWatch(), externalUrl,
      tokenFrom === undefined ? undefined : fieldsOf(tokenFrom),
    );
    refuseIdle(issuers as IssuerOptions[], { userAgent, listBytes, externalUrl, dpopNonceSecrets });
    // The module checks these options with the requirements.
    if (tokenFrom !== undefined || resourceMetadata !== undefined) verifier.#engine.requirements(NONE, true);
    // Runtimes compile code when it first runs. This check makes them do so now, in global scope.
    verifier.#begin(verifier.#engine, NO_TOKEN, NONE, NONE);
    return verifier;
  }

  /**
   * Judges a token, or the token of a request.
   *
   * Resolves to a verdict for a refused token as well. A string is judged as if presented with the
   * scheme Bearer, so a token that is bound to a key needs a `Request`.
   *
   * @typeParam Own - Claims of your own issuer, beside those of {@link Claims}. Their types are not
   * checked at run time.
   * @param input - A token, or a request with the header fields `Authorization` and `DPoP`.
   * @param requirements - Requirements of this call, beyond the policy. Default: none.
   * @param options - The client's certificate, `waitUntil`, and the time for a replay.
   * @returns The verdict.
   * @throws TypeError (as a rejection) when an argument has the wrong type or an unknown member.
   * @throws RangeError (as a rejection) when `now` is out of range.
   * @throws Error (as a rejection) when a requirement or `certificateSha256` has the wrong form.
   * @throws WebAssembly.RuntimeError (as a rejection) when the Wasm module fails. Later calls use a
   * new verifier of the module, which holds no documents yet.
   *
   * @example
   * ```ts
   * import { Verifier } from 'edgepass';
   *
   * const verifier = Verifier.create({
   *   issuer: 'https://issuer.example',
   *   audience: 'https://api.example',
   * });
   *
   * export default {
   *   async fetch(
   *     request: Request, env: unknown, ctx: { waitUntil(work: Promise<unknown>): void },
   *   ): Promise<Response> {
   *     const waitUntil = (work: Promise<unknown>) => ctx.waitUntil(work);
   *     const verdict = await verifier.verify<{ tenant: string }>(
   *       request, { allOf: ['invoices:read'] }, { waitUntil },
   *     );
   *     if (!verdict.accepted) return verdict.toResponse();
   *     return new Response(verdict.claims.tenant);
   *   },
   * };
   * ```
   */
  verify<Own extends object = object>(
    input: string | RequestFacts, requirements: Requirements = NONE, options: VerifyOptions = NONE,
  ): Promise<Verdict<Own>> {
    const engine = this.#engine;
    try {
      return Promise.resolve(this.#begin(engine, input, requirements, options)) as Promise<Verdict<Own>>;
    } catch (error) {
      return this.#failed(engine, error);
    }
  }

  /**
   * Fetches the JWK Set of every issuer, so that the first tokens need not wait for it. Waits for
   * fetches that are under way.
   *
   * Status lists are still fetched when the first token of each needs it. Not in global scope of a
   * Worker, where nothing can be fetched.
   *
   * @returns Whether a JWK Set of every issuer is held now. If not, `onEvent` was told why.
   *
   * @example
   * ```ts
   * import { Verifier } from 'edgepass';
   *
   * const verifier = Verifier.create({
   *   issuer: 'https://issuer.example',
   *   audience: 'https://api.example',
   *   onEvent: (event) => console.warn(`${event.document} ${event.url}: ${event.reason}`),
   * });
   * if (!await verifier.warm()) console.warn('starting without keys');
   * ```
   */
  async warm(): Promise<boolean> {
    return this.#engine.core.warm();
  }

  /**
   * Returns the counts so far, and the memory that the verifier uses, in bytes.
   *
   * @example
   * ```ts
   * import { Verifier } from 'edgepass';
   *
   * const verifier = Verifier.create({
   *   issuer: 'https://issuer.example',
   *   audience: 'https://api.example',
   * });
   * const { faults, refused } = verifier.counters();
   * if (faults > 0) console.error(`tables disagreed with the reference path: ${faults}`);
   * console.log(`timeouts: ${refused.timeout}`);
   * ```
   */
  counters(): Counters {
    return JSON.parse(this.#engine.core.counters());
  }

  #begin(
    engine: Engine, input: string | RequestFacts, requirements: Requirements, options: VerifyOptions,
  ): Verdict | Promise<Verdict> {
    if (requirements !== NONE) checkRequirements(requirements);
    if (options !== NONE) checkOptions(options);
    const { now, certificateSha256, client } = options;
    let text = '';
    let isField = false;
    let simple = !certificateSha256 && client === undefined;
    if (typeof input === 'string') {
      text = input;
    } else if (typeof input?.headers?.get === 'function') {
      // A request is simple if only its `Authorization` field can matter.
      const authorization = input.headers.get('authorization');
      simple &&= authorization !== null && this.#externalUrl === undefined
        && !input.headers.has('dpop') && this.#fields === undefined;
      text = authorization ?? '';
      isField = true;
    } else {
      throw new TypeError(
        'verify expects a token or a Request of the Fetch API; for a request of Node.js, use fromNode of edgepass/node',
      );
    }
    const number = engine.requirements(requirements, isField);
    const length = simple ? engine.write(text) : -1;
    if (length < 0) {
      // Cloudflare reports an empty digest where the client showed no certificate.
      const certificate = certificateSha256 || undefined;
      const request = isField
        ? this.#requestText(input as RequestFacts, certificate, client)
        : JSON.stringify({
          headers: [['authorization', `Bearer ${engine.mayBeToken(text) ? text : NO_TOKEN}`]],
          method: '', certificate_sha256: certificate, client,
        });
      return this.#later(engine, engine.core.verify_request(request, number, replayed(now)), options);
    }
    const answer = engine.core.begin(length, isField, number, now === undefined ? Date.now() : now * 1000);
    return this.#conclude(engine, answer, text, options);
  }

  #conclude(engine: Engine, answer: number, text: string, options: VerifyOptions): Verdict | Promise<Verdict> {
    const kind = answer & ANSWER.KIND;
    if (kind === ANSWER.CHECK_SIGNATURE) return this.#checkSignature(engine, answer, text, options);
    if (kind !== ANSWER.ACCEPTED && kind !== ANSWER.REFUSED) {
      return this.#later(engine, engine.core.resume(answer >>> ANSWER.SLOT_SHIFT, replayed(options.now)), options);
    }
    const verdict = kind === ANSWER.REFUSED ? engine.refusal(
      answer >>> ANSWER.SLOT_SHIFT, answer & ANSWER.SIGNED ? text : null,
    ) : JudgedToken.accepted(
      text,
      answer & ANSWER.HAS_STATUS
        ? { value: 'valid', confirmedAt: engine.facts[FACT.CONFIRMED_AT], stale: (answer & ANSWER.STATUS_STALE) !== 0 }
        : null,
      (answer & ANSWER.STALE) !== 0,
    );
    this.#work(engine, options);
    if (answer & ANSWER.WATCH_DUE) this.#watch(engine, options);
    if (answer & ANSWER.REFRESH_DUE) {
      const refresh = engine.core.refresh(replayed(options.now));
      if (refresh && options.waitUntil) keepAlive(options.waitUntil, refresh);
      else if (refresh && this.#background === 'await') return refresh.then(() => verdict);
    }
    return verdict;
  }

  /**
   * Has the host check the signature, then continues the check.
   *
   * Uses promises without `async`: each `await` would cost as much as a call of the module.
   */
  #checkSignature(
    engine: Engine, answer: number, text: string, options: VerifyOptions,
  ): Verdict | Promise<Verdict> {
    const { facts } = engine;
    // All of them before another call of the module, which may move its memory.
    const number = facts[FACT.KEY];
    const [input, inputLength] = [facts[FACT.INPUT], facts[FACT.INPUT_LENGTH]];
    const [signature, signatureLength] = [facts[FACT.SIGNATURE], facts[FACT.SIGNATURE_LENGTH]];
    const slot = answer >>> ANSWER.SLOT_SHIFT;
    const key = engine.key(number);
    const checked = (valid: boolean) => {
      const { now } = options;
      const next = engine.core.signature_checked(slot, valid, now === undefined ? Date.now() : now * 1000);
      return this.#conclude(engine, next, text, options);
    };
    const valid = key.checkNow(engine.bytes(signature, signatureLength), engine.bytes(input, inputLength));
    if (valid !== undefined) return checked(valid);
    const verify = (imported: CryptoKey): Promise<boolean> => {
      try {
        return crypto.subtle.verify(
          key.algorithm, imported, engine.bytes(signature, signatureLength), engine.bytes(input, inputLength),
        );
      } catch (error) {
        return Promise.reject(error);
      }
    };
    const imported = key.imported();
    const answered = imported instanceof Promise ? imported.then(verify) : verify(imported);
    // A signature that the host cannot check counts as invalid.
    return answered.then((valid) => {
      key.answered(valid);
      return checked(valid);
    }, () => checked(false)).catch((error) => this.#failed(engine, error));
  }

  async #later(
    engine: Engine, answer: Promise<[string, Promise<void> | undefined]>, options: VerifyOptions,
  ): Promise<Verdict> {
    try {
      const [json, refresh] = await answer;
      if (refresh && options.waitUntil) keepAlive(options.waitUntil, refresh);
      else if (refresh && this.#background === 'await') await refresh;
      this.#work(engine, options, true);
      return JudgedToken.parse(json);
    } catch (error) {
      return this.#failed(engine, error);
    }
  }

  /**
   * Starts background work where it can outlive the response: tables of keys that have verified
   * many signatures, and status lists to prefetch. Looks for work at every 16th call, and after
   * each check that was not decided at once, such as one with a fetch.
   */
  #work(engine: Engine, { waitUntil }: VerifyOptions, hasFetched = false): void {
    if (++this.#calls % CALLS_BETWEEN_WORK !== 0 && !hasFetched) return;
    if (engine.core.asks_about_ed25519() && agreesAboutEd25519()) engine.core.ed25519_answered(true);
    if (!waitUntil && this.#background === 'await') return;
    const work = engine.core.work();
    if (work && waitUntil) keepAlive(waitUntil, work);
  }

  /** Starts to wait for status heads where that can outlive the response. No verdict waits for it. */
  #watch(engine: Engine, { waitUntil }: VerifyOptions): void {
    if (!this.#watches || (!waitUntil && this.#background === 'await')) return;
    const watch = engine.core.watch();
    if (watch && waitUntil) keepAlive(waitUntil, watch);
  }

  #failed(engine: Engine, error: unknown): Promise<never> {
    // A trap leaves the `Core` of this engine locked. The first call that fails replaces the
    // engine.
    if (error instanceof WebAssembly.RuntimeError && engine === this.#engine) this.#engine = this.#make();
    return Promise.reject(error);
  }

  #requestText(
    { headers, method, url }: RequestFacts, certificate: string | undefined, client: VerifyOptions['client'],
  ): string {
    const external = this.#externalUrl;
    const seen = external === undefined ? undefined : external + new URL(url).pathname
      + new URL(url).search;
    const names = ['authorization', 'dpop', ...this.#fields ?? []];
    return JSON.stringify({
      headers: names.filter((name) => headers.has(name)).map((name) => [name, headers.get(name)]),
      query: new URL(url).search.slice(1), method, url: seen, certificate_sha256: certificate, client,
    });
  }
}

/** Throws a TypeError for an option that has no effect beside the others: something was meant that does not happen. */
function refuseIdle(
  issuers: IssuerOptions[],
  { userAgent, listBytes, externalUrl, dpopNonceSecrets }:
    Pick<HostOptions, 'userAgent' | 'listBytes' | 'externalUrl' | 'dpopNonceSecrets'>,
): void {
  const hasLists = issuers.some(({ status }) => status?.mode !== 'ignore');
  const fetches = hasLists || issuers.some(({ jwks }) => !isPlain(jwks));
  // A function for fetching may be given all the same: that nothing is fetched is no surprise.
  if (userAgent !== undefined && !fetches) {
    throw new TypeError('userAgent has no effect: nothing is fetched, with given JWK Sets and status.mode "ignore"');
  }
  if (listBytes !== undefined && !hasLists) {
    throw new TypeError('listBytes has no effect: status.mode is "ignore", so no list is held');
  }
  for (const { dpop } of issuers) {
    if (dpop !== undefined && externalUrl === undefined) {
      throw new TypeError('dpop has no effect without externalUrl, with which proofs are compared: set it');
    }
    if (dpop?.maxAge !== undefined && dpopNonceSecrets !== undefined) {
      throw new TypeError('dpop.maxAge has no effect with dpopNonceSecrets: a nonce limits the age of proofs');
    }
  }
}

/**
 * Passes work to `waitUntil`. If that throws or rejects, the verdict stands, and the work runs
 * without it: the context of a request that has ended, for example.
 */
function keepAlive(waitUntil: (work: Promise<unknown>) => unknown, work: Promise<unknown>): void {
  new Promise((resolve) => resolve(waitUntil(work))).catch(() => {});
}

function isOrigin(url: unknown): boolean {
  return typeof url === 'string' && /^https?:/.test(url) && URL.canParse(url) && new URL(url).origin === url;
}

/** Header fields, besides `Authorization`, that these places of a token need. */
function fieldsOf(tokenFrom: TokenPlace | TokenPlace[]): string[] {
  const named = [tokenFrom].flat().map((place) => /^header:(.*)/.exec(place)?.[1]?.toLowerCase());
  return [...named.filter((name) => name !== undefined), 'cookie', 'origin', 'sec-fetch-site', 'upgrade', 'sec-websocket-protocol'];
}

/** The option `now` in milliseconds since the epoch, as the module takes it. */
function replayed(now: number | undefined): number | undefined {
  return now === undefined ? undefined : now * 1000;
}
