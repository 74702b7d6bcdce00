// Prints keys and tokens for the native benchmark as JSON.

import { ALGORITHMS, makeKey, makeToken } from './tokens.mjs';

const kinds = Object.keys(ALGORITHMS).map((kind) => {
  const key = makeKey(kind);
  return [kind, { jwk: key.jwk, pem: key.pem, tokens: Array.from({ length: 1000 }, (_, n) => makeToken(key, n)) }];
});
console.log(JSON.stringify(Object.fromEntries(kinds)));
