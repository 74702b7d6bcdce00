// What workerd loads: the guard's handlers, around its Wasm module.

import module from '../wasm/edgepass_guard_bg.wasm';
import { __wbg_reset_state as restart, answer, initSync } from '../wasm/edgepass_guard.js';

export { UsedProofs } from './used-proofs.js';

initSync({ module });

/** Whether the module has stopped in the middle of something. */
let isBroken = false;
const note = (error) => {
  isBroken ||= error instanceof WebAssembly.RuntimeError;
};
// What the module does between requests ends here.
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
