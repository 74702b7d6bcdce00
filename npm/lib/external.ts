// For programs that load the Wasm module themselves, such as a page whose bundler copies it.

import { initWith } from './module.js';

export * from './index.js';

/**
 * Starts the Wasm module that the program found: a `WebAssembly.Module`, its bytes, a `Response` or a
 * URL, or a promise of one of them. Await it before any other call.
 *
 * The module is `edgepass/module.wasm`.
 *
 * @example
 * ```ts
 * import { init, Verifier } from 'edgepass/external';
 *
 * await init(new URL('edgepass_npm_bg.wasm', import.meta.url));
 * ```
 */
export function init(module: unknown): Promise<void> {
  return initWith(module);
}
