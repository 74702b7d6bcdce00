// Runs one subject over tokens and checks every verdict.

/**
 * Makes a subject's verifier and its tokens. Returns a function `(n) => Promise` that throws on a
 * wrong verdict, or `undefined` if the library does not support the algorithm. A subject is a
 * function `({ kind, alg, jwks, issuer, audience }, edgepass) => token => Promise<boolean>`; a
 * token is `{ text, input, signature }`.
 */
export async function prepare(make, setup, texts, expected, edgepass) {
  const verify = await make(setup, edgepass);
  if (!verify) return undefined;
  let tokens = texts.map(split);
  let next = 0;
  let verdicts = expected;
  const run = async (n) => {
    for (let i = 0; i < n; i++) {
      const verdict = await verify(tokens[next++ % tokens.length]);
      if (verdict !== verdicts) throw new Error(`a wrong verdict: ${verdict}`);
    }
  };
  /** Replaces the tokens and the expected verdict. */
  run.take = (more, accepted) => { [tokens, verdicts] = [more.map(split), accepted]; };
  return run;
}

function split(text) {
  const end = text.lastIndexOf('.');
  const signature = text.slice(end + 1).replaceAll('-', '+').replaceAll('_', '/');
  return {
    text, input: new TextEncoder().encode(text.slice(0, Math.max(end, 0))),
    signature: end < 0 ? new Uint8Array() : Uint8Array.from(atob(signature), (char) => char.charCodeAt(0)),
  };
}
