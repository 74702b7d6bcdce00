import module from '../wasm/edgepass_tests_wasm_bg.wasm';
import { initSync } from '../wasm/edgepass_tests_wasm.js';

initSync({ module });

export * from '../wasm/edgepass_tests_wasm.js';
