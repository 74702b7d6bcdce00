// Browsers fetch the module once, from beside this file, before anything is exported.

import init from '../wasm/edgepass_npm.js';

await init({ module_or_path: new URL('../wasm/edgepass_npm_bg.wasm', import.meta.url) });

export * from './index.js';
