// Waiting for something that happens by itself.

import { setTimeout } from 'node:timers/promises';

/** Waits until `found()` is not undefined, and returns it. `what` is for the message; `within` is in milliseconds. */
export async function until(found, what, within = 15_000) {
  for (const from = Date.now(); Date.now() - from < within; await setTimeout(25)) {
    const value = await found();
    if (value !== undefined) return value;
  }
  throw new Error(`not in time: ${what}`);
}
