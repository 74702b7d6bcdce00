import init from '../wasm/edgepass_tests_wasm.js';

await init({ module_or_path: new URL('../wasm/edgepass_tests_wasm_bg.wasm', import.meta.url) });

export * from '../wasm/edgepass_tests_wasm.js';
