// What workerd loads: the guard's handlers, around its Wasm module.

import module from '../wasm/edgepass_guard_bg.wasm';
import { __wbg_reset_state as restart, answer, initSync } from '../wasm/edgepass_guard.js';

export { UsedProofs } from './used-proofs.js';

initSync({ module });

/** Whether the module has stopped in the middle of something. */
let isBroken = false;

/** Memory that was left in a wrong state shows itself as a range error, too. */
function note(error) {
  if (!(error instanceof WebAssembly.RuntimeError || error instanceof RangeError)) return;
  isBroken = true;
  console.error('the guard has stopped in the middle of something; what it held and counted is gone');
}

// What the module does between requests, and after the origin has answered, ends here.
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
