// Vercel's and Next.js' edge runtime, which may not compile bytes at run time either. Their bundlers
// want `?module`.

// @ts-expect-error The bundler turns this import into a WebAssembly.Module.
import module from '../wasm/edgepass_npm_mask_bg.wasm?module';
import { provide } from './mask-module.js';

provide(() => {
  // The module may come from another realm, whose `WebAssembly.Module` is another class.
  if (!(module instanceof WebAssembly.Module)) Object.setPrototypeOf(module, WebAssembly.Module.prototype);
  return module;
});

export * from './masking.js';
