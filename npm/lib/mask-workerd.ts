// Workers import the Wasm module statically, since they may not compile bytes at run time.

// @ts-expect-error The bundler turns this import into a WebAssembly.Module.
import module from '../wasm/edgepass_npm_mask_bg.wasm';
import { provide } from './mask-module.js';

provide(() => module);

export * from './masking.js';
