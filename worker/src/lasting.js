// Passes on sockets and long responses until their token expires or is refused.

/** Close code for a refused token, for private use (RFC 6455, section 7.4.2). */
const REFUSED = 4401;
/** Close code "try again later": the guard cannot judge the token now. */
const UNAVAILABLE = 1013;
/** Close code for a failure of the other side. */
const FAILED = 1011;
/**
 * Close codes that must not be sent (RFC 6455, section 7.4.1), and the codes sent instead;
 * `undefined` sends none.
 */
const INSTEAD = new Map([[1005, undefined], [1004, FAILED], [1006, FAILED], [1015, FAILED]]);

/**
 * Joins the origin's socket with a new one for the client. Returns the content of the response to
 * the client.
 *
 * Calls `recheck(hasEnded, ...facts)` after `first` milliseconds. If it resolves to a number, calls
 * it again after as many milliseconds. If it resolves to a text, closes the sockets with this
 * reason. The token ends in `left` milliseconds; `recheck` is called at the latest then, and
 * `hasEnded` is true from then on. If it throws or takes longer than the timeout, closes with
 * `status_unavailable`.
 */
export function joined({ webSocket: origin }, first, left, recheck, ...facts) {
  const [client, server] = Object.values(new WebSocketPair());
  const stop = watch(first, left, (hasEnded) => recheck(hasEnded, ...facts), (why) => {
    const code = why.endsWith('_unavailable') ? UNAVAILABLE : REFUSED;
    for (const socket of [server, origin]) close(socket, code, why);
  });
  for (const [from, to] of [[origin, server], [server, origin]]) {
    from.binaryType = 'arraybuffer';
    from.addEventListener('message', ({ data }) => send(to, data));
    from.addEventListener('close', ({ code, reason }) => {
      stop();
      const sent = INSTEAD.has(code) ? INSTEAD.get(code) : code;
      for (const socket of [to, from]) close(socket, sent, reason);
    });
    from.addEventListener('error', () => {
      stop();
      close(to, FAILED, '');
    });
    from.accept();
  }
  return { body: null, webSocket: client };
}

/**
 * Relays a body. `length` is in bytes, or `undefined` if it is unknown. Returns the content of the
 * response to the client. Rechecks as `joined` does; a text aborts the body.
 */
export function relayed({ body }, length, first, left, recheck, ...facts) {
  const { readable, writable } = length === undefined
    ? new IdentityTransformStream() : new FixedLengthStream(length);
  const cut = new AbortController();
  const stop = watch(first, left, (hasEnded) => recheck(hasEnded, ...facts), (why) => cut.abort(new Error(why)));
  body.pipeTo(writable, { signal: cut.signal }).then(stop, stop);
  return { body: readable };
}

/**
 * Timeout of a recheck, in milliseconds. Even slow fetches of a JWK Set and then a list normally
 * take less.
 */
const RECHECK_TIMEOUT = 20_000;

/**
 * Rechecks until `recheck` resolves to a text, then calls `end` with the text. Returns a function
 * that stops the rechecks.
 */
function watch(first, left, recheck, end) {
  const ends = Date.now() + left;
  // One timer at a time: for the next recheck, or, during one, for its timeout or the token's end.
  let timer = setTimeout(again, Math.min(first, left));
  let isOver = false;
  const stop = () => {
    isOver = true;
    clearTimeout(timer);
  };
  const finish = (why) => {
    stop();
    end(why);
  };
  async function again() {
    const rest = ends - Date.now();
    // A recheck that hangs is given up at the timeout, or when the token ends if that is earlier.
    if (rest > RECHECK_TIMEOUT) timer = setTimeout(finish, RECHECK_TIMEOUT, 'status_unavailable');
    else if (rest > 0) timer = setTimeout(again, rest);
    // A recheck that throws leaves the status unknown.
    const answer = await Promise.resolve(rest <= 0).then(recheck).catch(() => 'status_unavailable');
    if (isOver) return;
    clearTimeout(timer);
    if (typeof answer === 'number') timer = setTimeout(again, Math.min(answer, ends - Date.now()));
    else finish(answer);
  }
  return stop;
}

function send(socket, data) {
  try {
    socket.send(data);
  } catch {
    // The socket is closed already.
  }
}

function close(socket, code, reason) {
  try {
    if (code === undefined) socket.close();
    else socket.close(code, reason);
  } catch {
    // This code or reason must not be sent. A socket that is closed already ignores the next call.
    socket.close(FAILED, '');
  }
}
