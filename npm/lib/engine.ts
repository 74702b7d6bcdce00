// The counterpart of core.rs: an instance of the module's verifier, and the memory that both share.

import { Core, shared_memory } from '../wasm/edgepass_npm.js';
import { type HostOptions, type Requirements, type TokenPlace, snakeCased, spelled } from './options.js';
import { HostKey } from './host-key.js';
import { hasCacheMode, isBrowser } from './host.js';
import { refuseUnlessJson } from './json.js';
import { JudgedToken, type Verdict } from './verdict.js';
import { VERSION } from './version.js';

const encoder = new TextEncoder();

/**
 * Bits of a number that the module returns: kind, flags, slot of a waiting check or number of a refusal.
 * As `answer` in core.rs.
 */
export const ANSWER = {
  KIND: 0b111, ACCEPTED: 0, REFUSED: 1, CHECK_SIGNATURE: 2, WAIT: 3,
  STALE: 1 << 3, HAS_STATUS: 1 << 4, REFRESH_DUE: 1 << 5, STATUS_STALE: 1 << 6, WATCH_DUE: 1 << 7,
  SIGNED: 1 << 8, SLOT_SHIFT: 9,
} as const;

/** Positions of the numbers that belong to an answer, as `Facts` in core.rs. */
export const FACT = {
  CONFIRMED_AT: 0, KEY: 1, INPUT: 2, INPUT_LENGTH: 3, SIGNATURE: 4, SIGNATURE_LENGTH: 5, COUNT: 6,
} as const;

/** One verifier of the module, with the numbers of its requirements and with imported keys. */
export class Engine {
  readonly core: Core;
  /** Views of the module's memory. When the memory grows, they become empty and are replaced. */
  #text = new Uint8Array(0);
  #facts = new Float64Array(0);
  readonly #textAt: number;
  readonly #textLength: number;
  readonly #factsAt: number;
  readonly #requirements = new Map<string, number>();
  readonly #keys: HostKey[] = [];
  readonly #refusals: Verdict[] = [];
  readonly #memory = shared_memory() as WebAssembly.Memory;
  readonly #tokenFrom: TokenPlace | TokenPlace[] | undefined;
  readonly #resourceMetadata: string | undefined;

  constructor(config: string, cacheApi: boolean, options: HostOptions) {
    const userAgent = isBrowser() ? undefined : options.userAgent ?? `edgepass/${VERSION}`;
    this.core = spelled(() => new Core(
      config, cacheApi, options.fetch, options.firstUse, userAgent, hasCacheMode(), options.onEvent,
    ));
    this.#tokenFrom = options.tokenFrom;
    this.#resourceMetadata = options.resourceMetadata;
    this.#textAt = this.core.text();
    this.#textLength = this.core.text_length();
    this.#factsAt = this.core.facts();
  }

  /**
   * Writes a text into the module's buffer, in UTF-8. Returns its length in bytes, or -1 when it is
   * too long.
   */
  write(text: string): number {
    if (this.#text.byteLength === 0) this.#view();
    const { read, written } = encoder.encodeInto(text, this.#text);
    return read === text.length ? written : -1;
  }

  /** Whether a text may be a token: visible ASCII, and no longer than the module's buffer. */
  mayBeToken(text: string): boolean {
    return text.length <= this.#textLength && /^[\x21-\x7e]+$/.test(text);
  }

  /** The numbers that belong to the last answer, at the positions of {@link FACT}. */
  get facts(): Float64Array {
    if (this.#facts.byteLength === 0) this.#view();
    return this.#facts;
  }

  /** A view of `length` bytes at the address `at`, valid until the module's memory grows. */
  bytes(at: number, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#memory.buffer, at, length);
  }

  #view(): void {
    this.#text = new Uint8Array(this.#memory.buffer, this.#textAt, this.#textLength);
    this.#facts = new Float64Array(this.#memory.buffer, this.#factsAt, FACT.COUNT);
  }

  /**
   * The number of the requirements in the module, for a request if `ofRequest`. Only new requirements
   * are passed to the module.
   */
  requirements({ allOf, anyOf, purposes, data, issuers, audience, staleIfError }: Requirements, ofRequest: boolean): number {
    const tokenFrom = ofRequest ? this.#tokenFrom : undefined;
    const resourceMetadata = this.#resourceMetadata;
    const simple = issuers === undefined && audience === undefined && staleIfError === undefined
      && tokenFrom === undefined && purposes === undefined && data === undefined
      && areScopes(allOf) && areScopes(anyOf);
    if (!simple) {
      for (const [name, asked] of Object.entries({ allOf, anyOf, purposes, data, issuers, audience, staleIfError })) {
        if (asked !== undefined) refuseUnlessJson(asked, name);
      }
    }
    const key = simple
      ? `${allOf ? `${allOf.length} ${allOf.join(' ')}` : ''}|${anyOf ? `${anyOf.length} ${anyOf.join(' ')}` : ''}`
      : JSON.stringify([allOf, anyOf, purposes, data, issuers, audience, staleIfError, ofRequest]);
    let number = this.#requirements.get(key);
    if (number === undefined) {
      const text = JSON.stringify(snakeCased({
        tokenFrom, resourceMetadata, allOf, anyOf, purposes, data, issuers, staleIfError, audience: typeof audience === 'string' ? [audience] : audience,
      }));
      number = spelled(() => this.core.requirements(text));
      if (number === undefined) {
        this.#requirements.clear();
        number = this.core.requirements(text) ?? 0;
      }
      this.#requirements.set(key, number);
    }
    return number;
  }

  /** The refusal with this number; that of the last verdict if it is 0. `signed` is a token with a valid signature. */
  refusal(number: number, signed: string | null): Verdict {
    if (number === 0) return JudgedToken.parse(this.core.verdict()!);
    // What is kept for later names no token.
    this.#refusals[number] ??= JudgedToken.again(JudgedToken.parse(this.core.verdict()!), null);
    return JudgedToken.again(this.#refusals[number]!, signed);
  }

  /** The key with this number. */
  key(number: number): HostKey {
    return this.#keys[number] ??= new HostKey(this.core.host_key(number));
  }
}

/**
 * Whether `scopes` is absent, or an array of strings without space and `|`, which separate strings
 * in the key of the requirements.
 */
function areScopes(scopes: unknown): boolean {
  return scopes === undefined || (Array.isArray(scopes)
    && scopes.every((scope) => typeof scope === 'string' && !/[ |]/.test(scope)));
}
