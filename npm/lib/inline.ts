// The default entry: the Wasm module's bytes are inside the JavaScript, so it loads wherever
// JavaScript does, however it is bundled.

import { octetsOf } from './base64.js';
import bytes from './bytes.js';
import { provide } from './module.js';

provide(() => octetsOf(bytes));

export * from './index.js';
