// Node reads the Wasm module from disk. It does so synchronously, so that `require` works too.

import { readFileSync } from 'node:fs';
import { initSync } from '../wasm/edgepass_npm.js';

initSync({ module: readFileSync(new URL('../wasm/edgepass_npm_bg.wasm', import.meta.url)) });

export * from './index.js';
