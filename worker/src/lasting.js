// What goes on once the guard has answered, a socket or a long answer, and how it is ended.

/** Once the token is refused: a code of this program's own (RFC 6455, section 7.4.2). */
const REFUSED = 4401;
/** Try again later: nobody can say whether the token still holds. */
const UNAVAILABLE = 1013;
/** Close codes that are told, never sent (RFC 6455, section 7.4.1). */
const NOT_SENT = [1004, 1005, 1006, 1015];

/**
 * Join the origin's socket with one for the client; gives that. `look(...facts)` is asked after `milliseconds`,
 * and then after as many as it answers; a text that it answers is why the socket ends.
 */
export function joined(origin, milliseconds, look, ...facts) {
  const [client, server] = Object.values(new WebSocketPair());
  const over = new AbortController();
  for (const [from, to] of [[origin, server], [server, origin]]) {
    from.binaryType = 'arraybuffer';
    from.addEventListener('message', ({ data }) => send(to, data));
    from.addEventListener('close', ({ code, reason }) => {
      over.abort();
      close(to, NOT_SENT.includes(code) ? 1000 : code, reason);
      close(from, 1000, '');
    });
    from.addEventListener('error', () => {
      over.abort();
      close(to, 1011, '');
    });
    from.accept();
  }
  watch(milliseconds, () => look(...facts), over.signal, (why) => {
    const code = why.endsWith('_unavailable') ? UNAVAILABLE : REFUSED;
    close(server, code, why);
    close(origin, code, why);
  });
  return client;
}

/** Pass an answer's body on, of so many bytes where that is known; gives what the client reads. */
export function relayed(body, length, milliseconds, look, ...facts) {
  const { readable, writable } = length === undefined
    ? new IdentityTransformStream() : new FixedLengthStream(length);
  const over = new AbortController();
  const cut = new AbortController();
  body.pipeTo(writable, { signal: cut.signal }).then(() => over.abort(), () => over.abort());
  watch(milliseconds, () => look(...facts), over.signal, (why) => cut.abort(new Error(why)));
  return readable;
}

/** Look again and again, until it is over or must end. */
function watch(milliseconds, look, over, end) {
  let timer;
  const later = (time) => {
    if (!over.aborted) timer = setTimeout(again, time);
  };
  const again = async () => {
    const answer = await look();
    if (typeof answer === 'number') later(answer);
    else if (!over.aborted) end(answer);
  };
  over.addEventListener('abort', () => clearTimeout(timer));
  later(milliseconds);
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
    socket.close(code, reason);
  } catch {
    // It is closed already, or the peer's code is none that may be sent.
  }
}
