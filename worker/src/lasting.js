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
 * Join the origin's socket with one for the client; gives that. The token ends in `left` milliseconds.
 * `look(...facts)` is asked after `first`, and then after as many as it answers; a text that it answers is
 * why the socket ends.
 */
export function joined(origin, first, left, look, ...facts) {
  const [client, server] = Object.values(new WebSocketPair());
  const over = new AbortController();
  for (const [from, to] of [[origin, server], [server, origin]]) {
    from.binaryType = 'arraybuffer';
    from.addEventListener('message', ({ data }) => send(to, data));
    from.addEventListener('close', ({ code, reason }) => {
      over.abort();
      const sent = INSTEAD.has(code) ? INSTEAD.get(code) : code;
      for (const socket of [to, from]) close(socket, sent, reason);
    });
    from.addEventListener('error', () => {
      over.abort();
      close(to, FAILED, '');
    });
    from.accept();
  }
  watch(first, left, () => look(...facts), over, (why) => {
    const code = why.endsWith('_unavailable') ? UNAVAILABLE : REFUSED;
    for (const socket of [server, origin]) close(socket, code, why);
  });
  return client;
}

/** Pass an answer's body on, of so many bytes where that is known; gives what the client reads. */
export function relayed(body, length, first, left, look, ...facts) {
  const { readable, writable } = length === undefined
    ? new IdentityTransformStream() : new FixedLengthStream(length);
  const [over, cut] = [new AbortController(), new AbortController()];
  body.pipeTo(writable, { signal: cut.signal }).then(() => over.abort(), () => over.abort());
  watch(first, left, () => look(...facts), over, (why) => cut.abort(new Error(why)));
  return readable;
}

/** Look again and again, until it is over or must end: at the latest when the token does. */
function watch(first, left, look, over, end) {
  const finish = (why) => {
    if (over.signal.aborted) return;
    over.abort();
    end(why);
  };
  let timer;
  const later = (time) => {
    if (!over.signal.aborted) timer = setTimeout(again, time);
  };
  const again = async () => {
    // Whoever cannot look does not know.
    const answer = await Promise.resolve().then(look).catch(() => 'status_unavailable');
    if (typeof answer === 'number') later(answer);
    else finish(answer);
  };
  const last = setTimeout(() => finish('token_expired'), left);
  over.signal.addEventListener('abort', () => {
    clearTimeout(timer);
    clearTimeout(last);
  });
  later(first);
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
    // It is closed already, or the peer's code is none that may be sent.
  }
}
