// The batch face.

import { BatchCore } from '../wasm/edgepass_npm.js';

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
