// Entry point for workerd: the guard's handlers, around its Wasm module.

import module from '../wasm/edgepass_guard_bg.wasm';
import { __wbg_reset_state as restart, answer, initSync } from '../wasm/edgepass_guard.js';

export { UsedProofs } from './used-proofs.js';

initSync({ module });

/** Whether the module has crashed. The next request then restarts it. */
let isBroken = false;

/** Notes a crash. A range error counts as one, since corrupt memory can cause it. */
function note(error) {
  if (!(error instanceof WebAssembly.RuntimeError || error instanceof RangeError)) return;
  isBroken = true;
  console.error('the guard crashed; its caches and counters are lost');
}

// Receives errors outside `fetch`: of background work, and those that `forward.js` reports.
addEventListener('error', ({ error }) => note(error));

export default {
  fetch(request, env, context) {
    if (isBroken) {
      restart();
      isBroken = false;
    }
    try {
      return answer(request, env, context);
    } catch (error) {
      note(error);
      throw error;
    }
  },
};
