/**
 * An issuer in memory, for the tests of a program that verifies tokens.
 *
 * Its tokens, keys and status lists are as an Edgepass issuer makes them, and the verifier judges them
 * with all its rules. Nothing is on the network.
 *
 * @packageDocumentation
 */

import type { IssuerOptions, HostOptions } from './options.js';
import type { Claims } from './verdict.js';

/** What {@link TestIssuer.create} takes. */
export interface TestIssuerOptions {
  /** Issuer identifier. Default `"https://issuer.test"`. */
  issuer?: string;
  /** Audience of the tokens. Default `"https://api.test"`. */
  audience?: string | string[];
}

/** Header fields of a request with a token that is bound to a key. */
export interface ProofHeaders extends Record<string, string> {
  /** The token, with the scheme DPoP. */
  authorization: string;
  /** The proof. */
  dpop: string;
}

/** How {@link TestIssuer.token} makes a token, besides its claims. */
export interface TokenOptions {
  /** Members of the JOSE header that replace those of the issuer. */
  header?: Record<string, unknown>;
  /** Key of the client that the token is bound to, for DPoP. */
  boundTo?: TestClient;
}

/** How many tokens one list of the issuer has room for. */
const TOKENS = 1 << 16;
const LIFETIME = 300;
const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/**
 * An issuer in memory.
 *
 * @example
 * ```ts
 * import { Verifier } from 'edgepass';
 * import { TestIssuer } from 'edgepass/testing';
 *
 * const issuer = await TestIssuer.create();
 * const verifier = Verifier.create(issuer.options());
 * const token = await issuer.token({ scope: 'invoices:read' });
 * console.log((await verifier.verify(token)).accepted); // true
 * issuer.revoke(token);
 * console.log((await verifier.verify(token)).code); // token_revoked
 * ```
 */
export class TestIssuer {
  /** Issuer identifier. */
  readonly issuer: string;
  /** Audience of the tokens. */
  readonly audience: string | string[];
  /** Whether requests fail, as when the issuer is down. Set it to see what your program does then. */
  down = false;
  /** Requests so far. */
  requests = 0;
  readonly #keys: SigningKey[] = [];
  readonly #statuses = new Uint8Array(TOKENS);
  #tokens = 0;

  private constructor({ issuer = 'https://issuer.test', audience = 'https://api.test' }: TestIssuerOptions) {
    this.issuer = issuer;
    this.audience = audience;
  }

  /** Makes an issuer with one key. */
  static async create(options: TestIssuerOptions = {}): Promise<TestIssuer> {
    const issuer = new TestIssuer(options);
    await issuer.rotate();
    return issuer;
  }

  /**
   * Returns options for `Verifier.create`: this issuer, its audience, and a `fetch` that asks it.
   *
   * The verifier looks at the issuer's status list for each token, so that a test need not wait. Change
   * or add what your program sets.
   */
  options(): IssuerOptions & HostOptions {
    return {
      issuer: this.issuer,
      audience: this.audience,
      fetch: (url) => this.fetch(url),
      cache: 'none',
      freshness: { deadline: 'none', refreshInterval: '0s' },
    };
  }

  /** Answers a request for one of the issuer's documents, as `fetch` would. */
  async fetch(url: string): Promise<Response> {
    this.requests += 1;
    if (this.down) throw new TypeError('the test issuer is down');
    const { pathname } = new URL(url);
    const { pathname: path } = new URL(`${this.issuer}/`);
    const base = path.replace(/\/$/, '');
    if (pathname === `/.well-known/oauth-authorization-server${base}`) {
      return Response.json({ issuer: this.issuer, jwks_uri: `${this.issuer}/jwks.json` });
    }
    if (pathname === `${base}/jwks.json`) {
      return Response.json({ keys: this.#keys.map(({ jwk }) => jwk) });
    }
    if (pathname === `${base}/statuslists/1`) {
      return new Response(await this.#list(), { headers: { 'content-type': 'application/statuslist+jwt' } });
    }
    return new Response('not found', { status: 404 });
  }

  /**
   * Signs a token.
   *
   * @param claims - Claims that replace or add to those of the issuer: `iss`, `aud`, `sub`, `client_id`,
   * `iat`, `exp` in five minutes, `jti`, and `status`. A claim of `undefined` is left out.
   * @param options - The header, and the key that the token is bound to.
   */
  async token(claims: Claims = {}, options: TokenOptions = {}): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    if (this.#tokens >= TOKENS) throw new RangeError(`a test issuer signs ${TOKENS} tokens`);
    const idx = this.#tokens;
    this.#tokens += 1;
    return this.#sign({ typ: 'at+jwt', ...options.header }, {
      iss: this.issuer, aud: this.audience, sub: 'test-subject', client_id: 'test-client', iat: now,
      exp: now + LIFETIME, jti: crypto.randomUUID(), status: { status_list: { uri: this.#listUrl(), idx } },
      ...options.boundTo && { cnf: { jkt: options.boundTo.thumbprint } },
      ...claims,
    });
  }

  /** Revokes a token of this issuer. Its status is INVALID from now on. */
  revoke(token: string): void {
    this.#setStatus(token, 1);
  }

  /** Suspends a token of this issuer. {@link TestIssuer.resume} ends that. */
  suspend(token: string): void {
    this.#setStatus(token, 2);
  }

  /** Makes the status of a token VALID again. */
  resume(token: string): void {
    this.#setStatus(token, 0);
  }

  /**
   * Signs with a new key from now on.
   *
   * @param options - With `keep: false` the earlier keys are withdrawn, and tokens that they signed are
   * refused. Default: they stay.
   */
  async rotate({ keep = true }: { keep?: boolean } = {}): Promise<void> {
    const key = await signingKey();
    this.#keys.splice(0, keep ? 0 : this.#keys.length, key);
  }

  #listUrl(): string {
    return `${this.issuer}/statuslists/1`;
  }

  #setStatus(token: string, status: number): void {
    const { iss, status: reference } = JSON.parse(fromBase64url(token.split('.')[1] ?? '')) as {
      iss: string; status?: { status_list?: { idx?: number } };
    };
    const index = reference?.status_list?.idx;
    if (iss !== this.issuer || index === undefined) throw new TypeError('the token has no status in this issuer');
    this.#statuses[index] = status;
  }

  async #list(): Promise<string> {
    // Two bits for each status, the first in the lowest bits (Token Status List section 4.1).
    const bits = new Uint8Array(TOKENS / 4);
    this.#statuses.forEach((status, index) => { bits[index >> 2]! |= status << (index % 4 * 2); });
    const deflated = new Response(new Blob([bits]).stream().pipeThrough(new CompressionStream('deflate')));
    const lst = base64url(new Uint8Array(await deflated.arrayBuffer()));
    const now = Math.floor(Date.now() / 1000);
    return this.#sign({ typ: 'statuslist+jwt' }, {
      sub: this.#listUrl(), iat: now, exp: now + LIFETIME, status_list: { bits: 2, lst },
    });
  }

  #sign(header: Record<string, unknown>, claims: object): Promise<string> {
    const [{ pair, jwk }] = this.#keys as [SigningKey];
    return signed({ alg: 'ES256', kid: jwk.kid, ...header }, claims, pair.privateKey);
  }
}

/**
 * A client that proves the possession of its key with DPoP (RFC 9449).
 *
 * @example
 * ```ts
 * import { Verifier } from 'edgepass';
 * import { TestClient, TestIssuer } from 'edgepass/testing';
 *
 * const issuer = await TestIssuer.create();
 * const verifier = Verifier.create({ ...issuer.options(), externalUrl: 'https://api.test' });
 * const client = await TestClient.create();
 * const token = await issuer.token({}, { boundTo: client });
 * const request = new Request('https://api.test/invoices', {
 *   headers: await client.headers(token, 'GET', 'https://api.test/invoices'),
 * });
 * console.log((await verifier.verify(request)).accepted); // true
 * ```
 */
export class TestClient {
  /** SHA-256 thumbprint of the client's key (RFC 7638), as in `cnf.jkt` of its tokens. */
  readonly thumbprint: string;
  readonly #pair: CryptoKeyPair;
  readonly #jwk: JsonWebKey;

  private constructor(pair: CryptoKeyPair, jwk: JsonWebKey, thumbprint: string) {
    this.#pair = pair;
    this.#jwk = jwk;
    this.thumbprint = thumbprint;
  }

  /** Makes a client with a new key. */
  static async create(): Promise<TestClient> {
    const pair = await crypto.subtle.generateKey(ECDSA, true, ['sign', 'verify']);
    const { crv, kty, x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey);
    const jwk = { crv, kty, x, y };
    return new TestClient(pair, jwk as JsonWebKey, await sha256(JSON.stringify(jwk)));
  }

  /**
   * Returns the header fields of a request: the token, and a new proof for it.
   *
   * @param token - The access token.
   * @param method - The method of the request.
   * @param url - Its URL, as clients see it.
   * @param nonce - The nonce that the server asked for in `DPoP-Nonce`. Default: none.
   */
  async headers(
    token: string, method: string, url: string, nonce?: string,
  ): Promise<ProofHeaders> {
    const { origin, pathname } = new URL(url);
    const proof = await signed({ alg: 'ES256', typ: 'dpop+jwt', jwk: this.#jwk }, {
      htm: method, htu: `${origin}${pathname}`, iat: Math.floor(Date.now() / 1000), jti: crypto.randomUUID(),
      ath: await sha256(token), ...nonce !== undefined && { nonce },
    }, this.#pair.privateKey);
    return { authorization: `DPoP ${token}`, dpop: proof };
  }
}

interface SigningKey { pair: CryptoKeyPair; jwk: JsonWebKey & { kid: string } }

async function signingKey(): Promise<SigningKey> {
  const pair = await crypto.subtle.generateKey(ECDSA, true, ['sign', 'verify']);
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey);
  return { pair, jwk: { kty, crv, x, y, kid: crypto.randomUUID(), alg: 'ES256', use: 'sig' } as SigningKey['jwk'] };
}

async function signed(header: object, claims: object, key: CryptoKey): Promise<string> {
  const input = `${base64url(encode(JSON.stringify(header)))}.${base64url(encode(JSON.stringify(claims)))}`;
  return `${input}.${base64url(new Uint8Array(await crypto.subtle.sign(ECDSA, key, encode(input))))}`;
}

async function sha256(text: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', encode(text))));
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function base64url(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

function fromBase64url(text: string): string {
  const octets = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return new TextDecoder().decode(Uint8Array.from(octets, (char) => char.charCodeAt(0)));
}
