// Everything that the package exports.

import { decode, steps } from '../wasm/edgepass_npm.js';
import type { Step } from './verdict.js';

export { BatchAnswer, verifyBatch } from './batch.js';
export type {
  Requirements, Duration, HostOptions, IssuerOptions, VerifierOptions, VerifyOptions,
} from './options.js';
export type { Accepted, Claims, Code, Refused, Status, Step, Verdict } from './verdict.js';
export { Verifier, type Counters } from './verifier.js';

/** Decode a token WITHOUT verifying it, for display. `null` when it is not a compact JWS. */
export function decodeUnverified(
  token: string,
): { header: Record<string, unknown>; claims: Record<string, unknown> } | null {
  const text = decode(token, 1 << 20);
  return text === undefined ? null : JSON.parse(text);
}

/** The names of the checks, in the order they run. */
export const STEPS: () => readonly Step[] = () => JSON.parse(steps());
