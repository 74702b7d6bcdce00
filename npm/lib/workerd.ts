// Workers import the Wasm module statically: compiling bytes at run time is not allowed there.

// @ts-expect-error The bundler turns this import into a WebAssembly.Module.
import module from '../wasm/edgepass_npm_bg.wasm';
import { initSync } from '../wasm/edgepass_npm.js';

initSync({ module });

export * from './index.js';
