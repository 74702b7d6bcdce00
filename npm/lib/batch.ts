// Judges the lines of a batch.

import { BatchCore } from '../wasm/edgepass_npm.js';
import { ready } from './module.js';

/**
 * The answer to one line of a batch.
 *
 * `String(answer)` gives it as one line of JSON, in the form that `edgepass verify --batch` prints.
 */
export class BatchAnswer {
  /** The `id` of the line, as given. `null` when the line has none or is not a JSON object. */
  declare readonly id: unknown;
  /**
   * The verdict about the token. `"rejected"` means that it is refused, `"error"` that the line
   * cannot be judged.
   */
  declare readonly verdict: 'accepted' | 'rejected' | 'error';
  /** The stable code of the refusal ({@link Code}); `null` unless the token is refused. */
  declare readonly code: string | null;
  /** Whether the check used a stale status list, because fetching it failed. */
  declare readonly stale: boolean;
  /** The URLs of the fetches that the line caused, in order, background refreshes included. */
  declare readonly fetched: readonly string[];
  /** The mistake in the line; absent unless `verdict` is `"error"`. Repeats no text of the line. */
  declare readonly message?: string;

  /** @internal */
  constructor(json: string) {
    Object.assign(this, JSON.parse(json));
  }

  /** Returns the answer as one line of JSON. */
  toString(): string {
    return JSON.stringify(this);
  }
}

/**
 * Judges the lines of a log, a migration or any corpus, in order, as `edgepass verify --batch`
 * does.
 *
 * Each line carries its own policy, JWK Set, time and fetched responses; `docs/batch.md` in the
 * repository describes the form. The function fetches nothing and reads no clock. A line that
 * cannot be judged is answered with `"error"`, and the next line is judged.
 *
 * @param lines - JSON objects, their JSON texts, or one text with one object a line. Blank lines
 * of that text are skipped.
 * @returns One answer for each line, in the same order.
 * @throws TypeError (as a rejection) when an object cannot be written as JSON. An error of the
 * iterable is passed on.
 *
 * @example
 * ```ts
 * import { verifyBatch } from 'edgepass';
 *
 * const answers = await verifyBatch([{
 *   id: '7',
 *   token: 'eyJ...',
 *   jwks: { keys: [] },
 *   policy: { issuer: 'https://issuer.example', audience: 'https://api.example' },
 *   now: 1_800_000_000,
 * }]);
 * for (const { id, verdict, code } of answers) console.log(id, verdict, code);
 * ```
 */
export async function verifyBatch(
  lines: string | Iterable<string | object> | AsyncIterable<string | object>,
): Promise<BatchAnswer[]> {
  ready();
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
