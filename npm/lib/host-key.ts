// An issuer's key in the host's crypto. `node:crypto` checks a signature at once, WebCrypto in a later turn,
// which takes longer; but it leaves the thread free for other requests.

import { ed25519_questions } from '../wasm/edgepass_npm.js';
import { inEdgeRuntime, inWorkerd } from './host.js';

/** Bun and Deno have it as well. */
type NodeCrypto = Pick<typeof import('node:crypto'), 'constants' | 'createPublicKey' | 'verify'>;

/** Name, hash, curve and salt length, as WebCrypto takes them. */
interface KeyAlgorithm { name: string; hash: string; namedCurve?: string; saltLength?: number }

type CheckNow = (signature: Uint8Array, input: Uint8Array) => boolean;

/** Longest time of a check in milliseconds for which other requests may be held up. */
const LONGEST = 0.25;
/** Number of accepted signatures of a key that are timed. The quickest counts: the first ones compile code. */
const TIMED = 8;

/** An issuer's key. */
export class HostKey {
  readonly #jwk: JsonWebKey;
  readonly algorithm: KeyAlgorithm;
  #checkNow: CheckNow | undefined;
  /** Whether `node:crypto` has accepted a signature by this key. Other hosts imitate it, not always well. */
  #isProven = false;
  /** Where `node:crypto` agrees about Ed25519, it alone checks such signatures: nobody asked WebCrypto. */
  readonly #isEd25519: boolean;
  #timed = 0;
  #quickest = Infinity;
  #imported: CryptoKey | Promise<CryptoKey> | undefined;

  constructor([jwk, algorithm]: [JsonWebKey, KeyAlgorithm]) {
    this.#jwk = jwk;
    this.algorithm = algorithm;
    this.#isEd25519 = algorithm.name === 'Ed25519' && agreesAboutEd25519();
    this.#isProven = this.#isEd25519;
    this.#checkNow = atOnce(jwk, algorithm);
  }

  /** Checks a signature at once. Undefined where WebCrypto must do so; its answer goes to {@link answered}. */
  checkNow(signature: Uint8Array, input: Uint8Array): boolean | undefined {
    const check = this.#checkNow;
    if (!check) return undefined;
    try {
      const isTimed = this.#timed < TIMED;
      const from = isTimed ? performance.now() : 0;
      const valid = check(signature, input);
      // A refusal may take much less time.
      if (isTimed && valid) this.#measured(performance.now() - from);
      this.#isProven ||= valid;
      return this.#isProven ? valid : undefined;
    } catch {
      // WebCrypto may use another equation.
      if (this.#isEd25519) return false;
      this.#checkNow = undefined;
      return undefined;
    }
  }

  /** Takes an answer of WebCrypto, which is right where the two disagree. */
  answered(valid: boolean): void {
    if (valid && !this.#isProven) this.#checkNow = undefined;
  }

  #measured(time: number): void {
    this.#quickest = Math.min(this.#quickest, time);
    this.#timed += 1;
    if (this.#timed === TIMED && this.#quickest > LONGEST && !this.#isEd25519) this.#checkNow = undefined;
  }

  /** The key of WebCrypto, imported once. A failed import is tried again. */
  imported(): CryptoKey | Promise<CryptoKey> {
    return this.#imported ??= this.#import();
  }

  async #import(): Promise<CryptoKey> {
    try {
      return this.#imported = await crypto.subtle.importKey('jwk', this.#jwk, this.algorithm, false, ['verify']);
    } catch (error) {
      this.#imported = undefined;
      throw error;
    }
  }
}

let found: NodeCrypto | null | undefined;
let agrees: boolean | undefined;

/** Whether `node:crypto` is here, and checks signatures of Ed25519 as this verifier does. */
export function agreesAboutEd25519(): boolean {
  return agrees ??= nodeCrypto() !== null && isStrict();
}

/** The check of signatures by `node:crypto`. Undefined where it cannot be used. */
function atOnce(jwk: JsonWebKey, algorithm: KeyAlgorithm): CheckNow | undefined {
  if (algorithm.name !== 'Ed25519') return byNode(jwk, algorithm);
  // A key that it cannot import has no valid signatures.
  return agreesAboutEd25519() ? byNode(jwk, algorithm) ?? (() => false) : undefined;
}

function byNode(jwk: JsonWebKey, { name, hash, saltLength }: KeyAlgorithm): CheckNow | undefined {
  const node = nodeCrypto();
  if (!node) return undefined;
  const { constants, createPublicKey, verify } = node;
  try {
    const key = {
      key: createPublicKey({ key: { ...jwk }, format: 'jwk' }),
      ...(name === 'ECDSA' && { dsaEncoding: 'ieee-p1363' as const }),
      ...(name === 'RSA-PSS' && { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }),
    };
    const digest = name === 'Ed25519' ? null : hash.replace('-', '').toLowerCase();
    return (signature, input) => verify(digest, input, key, signature);
  } catch {
    return undefined;
  }
}

/** Not in Workers: there `node:crypto` takes as long as WebCrypto, and milliseconds to load. */
function nodeCrypto(): NodeCrypto | null {
  if (found === undefined) found = inWorkerd() || inEdgeRuntime() ? null : find();
  return found;
}

function find(): NodeCrypto | null {
  const { process } = globalThis as { process?: { getBuiltinModule?(name: string): NodeCrypto | undefined } };
  try {
    return process?.getBuiltinModule?.('node:crypto') ?? null;
  } catch {
    return null;
  }
}

function isStrict(): boolean {
  type Question = [JsonWebKey, Uint8Array, Uint8Array, boolean];
  try {
    return (ed25519_questions() as [Question, Question]).every(([jwk, input, signature, expected]) => {
      const check = byNode(jwk, { name: 'Ed25519', hash: '' });
      return check?.(signature, input) === expected;
    });
  } catch {
    return false;
  }
}
