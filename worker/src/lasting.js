// Sockets and long responses: they continue after the guard has answered, and end with their token.

/** Close code for a refused token, for private use (RFC 6455, section 7.4.2). */
const REFUSED = 4401;
/** Close code "try again later": the guard cannot judge the token now. */
const UNAVAILABLE = 1013;
/** Close code for a failure of the other side. */
const FAILED = 1011;
/** Close codes that must not be sent (RFC 6455, section 7.4.1), and the codes sent instead. */
const INSTEAD = new Map([[1005, undefined], [1004, FAILED], [1006, FAILED], [1015, FAILED]]);

/**
 * Joins the origin's socket with one for the client. Returns the content of the client's response.
 * Calls `recheck(hasEnded, ...facts)` after `first` milliseconds. If it resolves to a number, calls
 * it again after as many milliseconds. If it resolves to a text, closes the sockets with this reason.
 * The token ends in `left` milliseconds; from then on `hasEnded` is true.
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
 * Relays a body of `length` bytes, or `undefined` if that is unknown. Returns the content of the
 * client's response. Rechecks as `joined` does; a text aborts the body.
 */
export function relayed({ body }, length, first, left, recheck, ...facts) {
  const { readable, writable } = length === undefined
    ? new IdentityTransformStream() : new FixedLengthStream(length);
  const cut = new AbortController();
  const stop = watch(first, left, (hasEnded) => recheck(hasEnded, ...facts), (why) => cut.abort(new Error(why)));
  body.pipeTo(writable, { signal: cut.signal }).then(stop, stop);
  return { body: readable };
}

/** Timeout of a recheck, in milliseconds. Slow fetches of keys and then of a list take less. */
const RECHECK_TIMEOUT = 20_000;

/** Rechecks until it calls `end`, at the latest when the token ends. Returns a function to stop. */
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
    // A recheck that hangs delays neither the token's end nor a revocation.
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
    // The peer's code or reason may not be sent. A closed socket ignores this call.
    socket.close(FAILED, '');
  }
}
