// The default entry: the Wasm module's bytes are inside the JavaScript, so it loads wherever
// JavaScript does, however it is bundled.

import bytes from './bytes.js';
import { provide } from './module.js';

provide(() => {
  const text = atob(bytes);
  const module = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) module[at] = text.charCodeAt(at);
  return module;
});

export * from './index.js';
