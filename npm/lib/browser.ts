// A browser fetches the Wasm module once, relative to this file, before the exports can be used.

import init from '../wasm/edgepass_npm.js';

await init({ module_or_path: new URL('../wasm/edgepass_npm_bg.wasm', import.meta.url) });

export * from './index.js';
