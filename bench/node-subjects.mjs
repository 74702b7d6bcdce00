// Libraries that are compared in Node.js only.

import { createPublicKey } from 'node:crypto';
import { createVerifier } from 'fast-jwt';
import jsonwebtoken from 'jsonwebtoken';

export const NODE_SUBJECTS = {
  'fast-jwt'({ alg, issuer, audience, pem }) {
    const verify = createVerifier({
      key: pem, algorithms: [alg], allowedIss: issuer, allowedAud: audience, checkTyp: 'at+jwt', cache: true,
    });
    return ({ text }) => {
      try {
        return verify(text) !== undefined;
      } catch {
        return false;
      }
    };
  },

  jsonwebtoken({ kind, alg, issuer, audience, pem }) {
    if (kind === 'Ed25519') return undefined;
    const key = createPublicKey(pem);
    return ({ text }) => {
      try {
        return jsonwebtoken.verify(text, key, { algorithms: [alg], issuer, audience }) !== undefined;
      } catch {
        return false;
      }
    };
  },
};
