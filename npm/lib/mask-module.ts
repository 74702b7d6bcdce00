// Loads the Wasm module of the masker when something needs it first. Each entry says where its bytes are.

import { initSync } from '../wasm/edgepass_npm_mask.js';

let source: (() => WebAssembly.Module | Uint8Array<ArrayBuffer>) | undefined;
let isReady = false;

/** Says where the module is. Called by an entry when it is loaded. */
export function provide(from: () => WebAssembly.Module | Uint8Array<ArrayBuffer>): void {
  source = from;
}

/** Compiles and starts the module, unless that has happened. */
export function ready(): void {
  if (isReady) return;
  initSync({ module: source!() });
  isReady = true;
}
