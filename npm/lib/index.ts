/**
 * Verifies short-lived, revocable access tokens: RFC 9068 with Token Status List.
 *
 * {@link Verifier} judges tokens and requests, {@link verifyBatch} the lines of a log.
 *
 * @packageDocumentation
 */

import { decode, steps } from '../wasm/edgepass_npm.js';
import { ready } from './module.js';
import type { Step } from './verdict.js';

export { BatchAnswer, verifyBatch } from './batch.js';
export type {
  DocumentEvent, Duration, ExpectedValue, ExpectedValues, HostOptions, IssuerOptions, JwkSet, Requirements,
  ScopeClaim, TokenPlace, VerifierOptions, VerifyOptions,
} from './options.js';
export type { Accepted, Cause, Claims, Code, Reason, Refused, Status, Step, Verdict } from './verdict.js';
export { init } from './module.js';
export type { RequestFacts } from './request.js';
export { Verifier, type Counters } from './verifier.js';

/** A token that was decoded, but not verified. */
export interface DecodedToken {
  /** The JOSE header. */
  header: Record<string, unknown>;
  /** The claims. */
  claims: Record<string, unknown>;
}

/**
 * Decodes a token WITHOUT verifying it, for display only.
 *
 * The result must not decide about access: no signature, time or audience is checked.
 *
 * @param token - A JWS in compact serialization, at most 1048576 bytes long.
 * @returns The JOSE header and the claims. `null` when the token is longer, or is not a compact JWS
 * of JSON objects.
 *
 * @example
 * ```ts
 * import { decodeUnverified } from 'edgepass';
 *
 * const decoded = decodeUnverified('eyJ...');
 * if (decoded) console.log(decoded.header.alg, decoded.claims.iss);
 * ```
 */
export function decodeUnverified(token: string): DecodedToken | null {
  ready();
  const text = decode(token, 1 << 20);
  return text === undefined ? null : JSON.parse(text);
}

/**
 * Returns the names of the steps of a check, in the order in which they run.
 *
 * @example
 * ```ts
 * import { STEPS } from 'edgepass';
 *
 * console.log(STEPS().join(', ')); // parse, policy, key, ...
 * ```
 */
export const STEPS: () => readonly Step[] = () => {
  ready();
  return JSON.parse(steps());
};
