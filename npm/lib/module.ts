// Loads the Wasm module when something needs it first. Each entry says where its bytes are.

import { initSync } from '../wasm/edgepass_npm.js';

/** The module, compiled or as bytes. */
type Source = WebAssembly.Module | Uint8Array<ArrayBuffer>;

let source: (() => Source) | undefined;
let isReady = false;

/** Says where the module is. Called by an entry when it is loaded. */
export function provide(from: () => Source): void {
  source = from;
}

/** Compiles and starts the module, unless that has happened. */
export function ready(): void {
  if (!isReady) start(find());
}

function find(): Source {
  if (!source) throw new Error('await init(module) of edgepass/external before anything else');
  return source();
}

function start(module: Source): void {
  initSync({ module });
  isReady = true;
}

/**
 * Compiles the Wasm module now.
 *
 * Otherwise the first call of {@link Verifier.create}, {@link verifyBatch} or another function does
 * so, which takes some milliseconds once. Never required.
 *
 * @example
 * ```ts
 * import { init } from 'edgepass';
 *
 * await init();
 * ```
 */
export async function init(): Promise<void> {
  if (isReady) return;
  const from = find();
  const module = from instanceof WebAssembly.Module ? from : await WebAssembly.compile(from);
  if (!isReady) start(module);
}

/** Compiles a module that the program found itself, unless one is running. */
export async function initWith(given: unknown): Promise<void> {
  const found = await given;
  if (isReady) return;
  const module = found instanceof WebAssembly.Module ? found : await compiled(found);
  if (!isReady) start(module);
}

async function compiled(found: unknown): Promise<WebAssembly.Module> {
  if (found instanceof ArrayBuffer || ArrayBuffer.isView(found)) {
    return WebAssembly.compile(found as ArrayBuffer);
  }
  const isUrl = typeof found === 'string' || found instanceof URL;
  const response = isUrl ? await fetch(found) : found as Response;
  if (typeof response?.arrayBuffer !== 'function') {
    throw new TypeError('init expects a WebAssembly.Module, its bytes, a Response or a URL');
  }
  if (!response.ok) throw new Error(`the Wasm module cannot be fetched: status ${response.status}`);
  return WebAssembly.compile(await response.arrayBuffer());
}
