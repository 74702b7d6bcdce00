// The verifier as programs use it. The checks themselves are Rust, in the Wasm module.

import { ANSWER, FACT, Engine, type HostKey } from './engine.js';
import {
  type Requirements, type IssuerOptions, type VerifierOptions, type VerifyOptions, checkRequirements, checkOptions, snakeCased,
} from './options.js';
import { JudgedToken, type Verdict } from './verdict.js';
import { isPlain, refuseUnwritable } from './written.js';

/** Work behind the response is looked for after so many calls. */
const CALLS_BETWEEN_WORK = 16;

const NOTHING_MORE: Requirements & VerifyOptions = {};

/** Stands for a text that is no token whatever it says: too long, or with more than visible ASCII. */
const NO_TOKEN = '....';

/** What a verifier did so far, and holds. */
export interface Counters {
  /** Tokens that were found among those verified before. */
  remembered: number;
  /** How often the host's crypto disagreed with the tables of a key. Report anything but 0. */
  faults: number;
  /** What the tables of keys take. */
  tableBytes: number;
  /** How many status lists are held, and what they take. */
  lists: number;
  listBytes: number;
  /** Verdicts for which a copy served beyond its freshness window. */
  stale: number;
  /**
   * Confirmations of lists past half of the time that they may be used. Their issuer signs anew before:
   * a cache repeats what it once said.
   */
  aged: number;
  /** Fetched documents that were not taken in, by reason, such as `older` or `unreachable`. */
  refused: Record<string, number>;
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
    if (!isPlain(options)) {
      throw new TypeError('create takes options: { issuer, audience, ... }');
    }
    const {
      cache, fetch, background, externalUrl, dpopNonceSecrets, firstUse, verifiedBytes,
      listBytes, ...trusted
    } = options;
    if (cache !== undefined && cache !== 'cache-api' && cache !== 'none') {
      throw new TypeError('cache is "cache-api" or "none"');
    }
    if (background !== undefined && background !== 'await' && background !== 'detach') {
      throw new TypeError('background is "await" or "detach"');
    }
    for (const [name, hook] of Object.entries({ fetch, firstUse })) {
      if (hook !== undefined && typeof hook !== 'function') throw new TypeError(`${name} is a function`);
    }
    const secrets: unknown = dpopNonceSecrets;
    if (secrets !== undefined && !(Array.isArray(secrets) && secrets.length > 0
      && secrets.every((secret) => typeof secret === 'string'))) {
      throw new TypeError('dpopNonceSecrets is an array of one or two secrets');
    }
    if (externalUrl !== undefined && !isOrigin(externalUrl)) {
      throw new TypeError('externalUrl is a scheme and an authority: "https://api.example"');
    }
    for (const [name, bytes] of Object.entries({ verifiedBytes, listBytes })) {
      if (bytes !== undefined && !(Number.isSafeInteger(bytes) && bytes >= 0)) {
        throw new TypeError(`${name} is a number of bytes`);
      }
    }
    if ('issuers' in trusted && Object.keys(trusted).length > 1) {
      throw new TypeError('what is expected of tokens is written for each of the issuers');
    }
    const issuers: unknown = 'issuers' in trusted ? trusted.issuers : [trusted];
    if (!Array.isArray(issuers) || !issuers.every(isPlain)) {
      throw new TypeError('issuers is an array of { issuer, audience, ... }');
    }
    const config = JSON.stringify({
      issuers: (issuers as IssuerOptions[]).map(({ jwks, ...policy }) => {
        // A JWK Set is somebody else's text: it may hold what it likes.
        refuseUnwritable(policy, 'create');
        if (jwks !== undefined && typeof jwks !== 'string' && !isPlain(jwks)) {
          throw new TypeError('jwks is a URL or a JWK Set');
        }
        return { policy: snakeCased(policy), jwks: typeof jwks === 'object' ? JSON.stringify(jwks) : jwks };
      }),
      nonce_secrets: dpopNonceSecrets,
      verified_bytes: verifiedBytes,
      list_bytes: listBytes,
    });
    const cacheApi = cache === undefined ? inWorkerd() : cache === 'cache-api';
    const make = () => new Engine(config, cacheApi, { fetch, firstUse });
    const verifier = new Verifier(
      make, background ?? (endsWithItsResponse() ? 'await' : 'detach'), externalUrl,
    );
    // Code is compiled when it first runs: better now, in global scope, than under a request.
    verifier.#begin(verifier.#engine, NO_TOKEN, NOTHING_MORE, NOTHING_MORE);
    return verifier;
  }

  /**
   * Judge a token, or the token of a request. Resolves to a verdict, also for a token that is
   * refused; rejects only when the call itself is wrong. `Own` types claims of the issuer's own.
   */
  verify<Own extends object = object>(
    input: string | Request, requirements: Requirements = NOTHING_MORE, options: VerifyOptions = NOTHING_MORE,
  ): Promise<Verdict<Own>> {
    const engine = this.#engine;
    try {
      return Promise.resolve(this.#begin(engine, input, requirements, options)) as Promise<Verdict<Own>>;
    } catch (error) {
      return this.#failed(engine, error);
    }
  }

  /** What was done so far, and what is held. */
  counters(): Counters {
    return JSON.parse(this.#engine.core.counters());
  }

  #begin(
    engine: Engine, input: string | Request, requirements: Requirements, options: VerifyOptions,
  ): Verdict | Promise<Verdict> {
    if (requirements !== NOTHING_MORE) checkRequirements(requirements);
    if (options !== NOTHING_MORE) checkOptions(options);
    const { now, certificateSha256 } = options;
    let text = '';
    let isField = false;
    let simple = !certificateSha256;
    if (typeof input === 'string') {
      text = input;
    } else if (typeof input?.headers?.get === 'function') {
      // Only a request for which nothing but its Authorization field can matter is simple.
      const authorization = input.headers.get('authorization');
      simple &&= authorization !== null && this.#externalUrl === undefined
        && !input.headers.has('dpop') && !mayHoldToken(input.url);
      text = authorization ?? '';
      isField = true;
    } else {
      throw new TypeError('verify takes a token or a Request of the Fetch API');
    }
    const number = engine.requirements(requirements);
    const length = simple ? engine.write(text) : -1;
    if (length < 0) {
      const request = isField
        ? this.#requestText(input as Request, certificateSha256)
        : JSON.stringify({
          authorization: `Bearer ${engine.mayBeToken(text) ? text : NO_TOKEN}`,
          method: '', certificate: certificateSha256,
        });
      return this.#later(engine, engine.core.verify_request(request, number, replayed(now)), options);
    }
    const answer = engine.core.begin(length, isField, number, now === undefined ? Date.now() : now * 1000);
    return this.#told(engine, answer, text, options);
  }

  #told(engine: Engine, answer: number, text: string, options: VerifyOptions): Verdict | Promise<Verdict> {
    const kind = answer & ANSWER.KIND;
    if (kind === ANSWER.CHECK_SIGNATURE) return this.#checkSignature(engine, answer, text, options);
    if (kind !== ANSWER.ACCEPTED && kind !== ANSWER.REFUSED) {
      return this.#later(engine, engine.core.resume(answer >>> ANSWER.SLOT_SHIFT, replayed(options.now)), options);
    }
    const verdict = kind === ANSWER.REFUSED ? JudgedToken.parse(engine.core.verdict()!) : JudgedToken.accepted(
      text,
      answer & ANSWER.HAS_STATUS
        ? { value: 'valid', confirmedAt: engine.facts[FACT.CONFIRMED_AT], stale: (answer & ANSWER.STATUS_STALE) !== 0 }
        : null,
      (answer & ANSWER.STALE) !== 0,
    );
    this.#work(engine, options);
    if (answer & ANSWER.REFRESH_DUE) {
      const refresh = engine.core.refresh(replayed(options.now));
      if (refresh && options.waitUntil) options.waitUntil(refresh);
      else if (refresh && this.#background === 'await') return refresh.then(() => verdict);
    }
    return verdict;
  }

  /** Promises without `async`: each `await` would cost as much as the crossing. */
  #checkSignature(
    engine: Engine, answer: number, text: string, options: VerifyOptions,
  ): Promise<Verdict> {
    const { facts } = engine;
    const number = facts[FACT.KEY];
    const [input, inputLength] = [facts[FACT.INPUT], facts[FACT.INPUT_LENGTH]];
    const [signature, signatureLength] = [facts[FACT.SIGNATURE], facts[FACT.SIGNATURE_LENGTH]];
    const slot = answer >>> ANSWER.SLOT_SHIFT;
    const verify = ({ key, algorithm }: HostKey): Promise<boolean> => {
      try {
        return crypto.subtle.verify(
          algorithm, key, engine.bytes(signature, signatureLength), engine.bytes(input, inputLength),
        );
      } catch (error) {
        return Promise.reject(error);
      }
    };
    const checked = (valid: boolean) => {
      const { now } = options;
      const next = engine.core.signature_checked(slot, valid, now === undefined ? Date.now() : now * 1000);
      return this.#told(engine, next, text, options);
    };
    const held = engine.key(number);
    const answered = held instanceof Promise ? held.then(verify) : verify(held);
    // What the host cannot do is not valid.
    return answered.then(checked, () => checked(false)).catch((error) => this.#failed(engine, error));
  }

  async #later(
    engine: Engine, answer: Promise<[string, Promise<void> | undefined]>, options: VerifyOptions,
  ): Promise<Verdict> {
    try {
      const [json, refresh] = await answer;
      if (refresh && options.waitUntil) options.waitUntil(refresh);
      else if (refresh && this.#background === 'await') await refresh;
      this.#work(engine, options, true);
      return JudgedToken.parse(json);
    } catch (error) {
      return this.#failed(engine, error);
    }
  }

  /**
   * Where something outlives the response: lay out tables of keys that have earned them; once lists
   * are known, fetch the others.
   */
  #work(engine: Engine, { waitUntil }: VerifyOptions, hasFetched = false): void {
    if (++this.#calls % CALLS_BETWEEN_WORK !== 0 && !hasFetched) return;
    if (!waitUntil && this.#background === 'await') return;
    const work = engine.core.work();
    if (work && waitUntil) waitUntil(work);
  }

  #failed(engine: Engine, error: unknown): Promise<never> {
    // A trap leaves the module's object locked for ever; another one takes its place, once.
    if (error instanceof WebAssembly.RuntimeError && engine === this.#engine) this.#engine = this.#make();
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

function isOrigin(url: unknown): boolean {
  return typeof url === 'string' && URL.canParse(url) && new URL(url).origin === url;
}

/** Whether a query may hold a token, which is refused: also by an escaped name. */
function mayHoldToken(url: string): boolean {
  const start = url.indexOf('?');
  return start >= 0 && /%|access_token/.test(url.slice(start));
}

/** The time that a decision is replayed at, in milliseconds. */
function replayed(now: number | undefined): number | undefined {
  return now === undefined ? undefined : now * 1000;
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
