// What goes on once the guard has answered, a socket or a long answer, and how it is ended.

/** Once the token is refused: a code of this program's own (RFC 6455, section 7.4.2). */
const REFUSED = 4401;
/** Try again later: nobody can say whether the token still holds. */
const UNAVAILABLE = 1013;
/** The other side has failed. */
const FAILED = 1011;
/** Close codes that are told, never sent (RFC 6455, section 7.4.1), and what is sent instead. */
const INSTEAD = new Map([[1005, undefined], [1004, FAILED], [1006, FAILED], [1015, FAILED]]);

/**
 * Join the origin's socket with one for the client; gives what the client's answer holds. The token ends in `left` milliseconds.
 * `look(isPast, ...facts)` is asked after `first`, and then after as many as it answers, `isPast` once the
 * token has ended; a text that it answers is why the socket ends.
 */
export function joined({ webSocket: origin }, first, left, look, ...facts) {
  const [client, server] = Object.values(new WebSocketPair());
  const stop = watch(first, left, (isPast) => look(isPast, ...facts), (why) => {
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

/** Pass an answer's body on, of so many bytes where that is known; gives what the client's answer holds. */
export function relayed({ body }, length, first, left, look, ...facts) {
  const { readable, writable } = length === undefined
    ? new IdentityTransformStream() : new FixedLengthStream(length);
  const cut = new AbortController();
  const stop = watch(first, left, (isPast) => look(isPast, ...facts), (why) => cut.abort(new Error(why)));
  body.pipeTo(writable, { signal: cut.signal }).then(stop, stop);
  return { body: readable };
}

/** In milliseconds: more than keys and a list take that are fetched one after the other, however slowly. */
const LONGEST_LOOK = 20_000;

/** Look again and again until it must end, at the latest when the token does; gives what stops that. */
function watch(first, left, look, end) {
  const ends = Date.now() + left;
  // One timer at a time: for the next look, or, while one is under way, for the token's end.
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
    // Neither the token's end nor a revocation waits for a look that hangs.
    if (rest > LONGEST_LOOK) timer = setTimeout(finish, LONGEST_LOOK, 'status_unavailable');
    else if (rest > 0) timer = setTimeout(again, rest);
    // Whoever cannot look does not know.
    const answer = await Promise.resolve(rest <= 0).then(look).catch(() => 'status_unavailable');
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
    // It was closed a moment ago.
  }
}

function close(socket, code, reason) {
  try {
    if (code === undefined) socket.close();
    else socket.close(code, reason);
  } catch {
    // The peer's code or reason is none that may be sent. A socket that is closed already takes this in silence.
    socket.close(FAILED, '');
  }
}
