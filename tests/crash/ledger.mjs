// What clients of an issuer hold: the tokens and acts that it acknowledged, and the documents it served.

import { claims } from '../stage/issuer.mjs';

/** An invariant does not hold. The message says where; `cases` has a line for each case, if several ran. */
export class Broken extends Error {}

/** Everything that an issuer acknowledged or published. */
export class Ledger {
  /** Received tokens by `jti`: `{ jti, uri, index, expiration, keyId }`. */
  tokens = new Map();
  /** `jti` of the token at each place `uri#index`. */
  places = new Map();
  /** `jti` of each token whose revocation was acknowledged. */
  revoked = new Set();
  /** The newest edition of each list by URI: `{ number, issuedAt, text }`. */
  lists = new Map();
  /** `iat` of the newest JWK Set. */
  keySetIssuedAt = 0;

  /** Notes a token that a client received. Throws [`Broken`] if its `jti` or its index was used before. */
  addToken(text) {
    const { jti, exp: expiration, status: { status_list: { uri, idx: index } } } = claims(text);
    const { kid: keyId } = JSON.parse(Buffer.from(text.split('.')[0], 'base64url'));
    const place = `${uri}#${index}`;
    if (this.tokens.has(jti)) throw new Broken(`the jti ${jti} was issued twice`);
    if (this.places.has(place)) {
      throw new Broken(`index ${place} was issued twice: to ${this.places.get(place)} and to ${jti}`);
    }
    this.places.set(place, jti);
    this.tokens.set(jti, { jti, uri, index, expiration, keyId });
    return jti;
  }

  /** Notes a served edition of a list. Throws [`Broken`] if it is older than one that was served before. */
  addEdition(uri, text) {
    const { number, iat: issuedAt, exp, sub } = claims(text);
    const before = this.lists.get(uri);
    if (sub !== uri) throw new Broken(`${uri} returns a list for ${sub}`);
    if (exp * 1000 <= Date.now()) throw new Broken(`${uri} expired at ${exp}, and is served`);
    if (before && (number < before.number || issuedAt < before.issuedAt)) {
      const editions = `number ${before.number}, iat ${before.issuedAt} to number ${number}, iat ${issuedAt}`;
      throw new Broken(`${uri} went from ${editions}`);
    }
    if (before && number === before.number && text !== before.text) {
      throw new Broken(`${uri} has two editions with number ${number}`);
    }
    this.lists.set(uri, { number, issuedAt, text });
  }

  /** Notes a served JWK Set. Throws [`Broken`] if it is older than one before. */
  addKeySet({ iat, exp }) {
    const before = this.keySetIssuedAt;
    if (iat < before) throw new Broken(`iat of the JWK Set went from ${before} to ${iat}`);
    if (exp * 1000 <= Date.now()) throw new Broken(`the JWK Set expired at ${exp}, and is served`);
    this.keySetIssuedAt = iat;
  }

  /** A ledger with the same entries. */
  copy() {
    return Object.assign(new Ledger(), {
      tokens: new Map(this.tokens), places: new Map(this.places), revoked: new Set(this.revoked),
      lists: new Map(this.lists), keySetIssuedAt: this.keySetIssuedAt,
    });
  }
}
