import { readFileSync } from 'node:fs';
import { initSync } from '../wasm/edgepass_tests_wasm.js';

initSync({ module: readFileSync(new URL('../wasm/edgepass_tests_wasm_bg.wasm', import.meta.url)) });

export * from '../wasm/edgepass_tests_wasm.js';
