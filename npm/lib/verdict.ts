// Verdicts: their types, and how they are made.

/** The status of a token, and how current the status list was. */
export interface Status {
  /**
   * The value at the token's index in the list. `"revoked"` is the value INVALID.
   *
   * `"unknown"` is any other value; such a token is refused with `status_invalid`.
   */
  value: 'valid' | 'revoked' | 'suspended' | 'unknown';
  /** Time at which the list was last confirmed at its source, in milliseconds since the epoch. */
  confirmedAt: number;
  /** Whether the list was stale, and was used because fetching it failed. */
  stale: boolean;
}

/**
 * A step of a check. The steps run in this order:
 *
 * - `parse`: one token in the request; compact JWS, strict JSON, size and depth.
 * - `policy`: `typ`, `alg` and `iss`.
 * - `key`: a key of the issuer, bound to `alg`.
 * - `signature`: the signature.
 * - `claims`: required claims, times, lifetime and audience.
 * - `binding`: the key or certificate that the token is bound to, and the networks that it names.
 * - `scopes`: the scope tokens that the call requires.
 * - `status`: the status in the issuer's status list.
 */
export type Step =
  | 'parse' | 'policy' | 'key' | 'signature' | 'claims' | 'binding' | 'scopes' | 'status';

/**
 * The stable code of a refusal. The codes are in the order of the steps, and never change.
 *
 * - `token_missing`: the request carries no token.
 * - `cross_site_request`: the token is in a cookie, and a page of another site may have caused the
 *   request.
 * - `request_invalid`: two credentials, or a malformed `Authorization` field.
 * - `token_malformed`: not a compact JWS of JSON objects within the limits.
 * - `typ_not_accepted`: `typ` is not the expected one.
 * - `alg_not_allowed`: `alg` is not in `algorithms`.
 * - `issuer_mismatch`: `iss` is no issuer of the verifier, or the requirements exclude it.
 * - `key_not_found`: no key of the issuer fits `kid` and `alg`.
 * - `keys_unavailable`: no usable JWK Set, or an unknown `kid` cannot be looked up now.
 * - `signature_invalid`: the signature does not verify.
 * - `claim_missing`: a required claim is absent; the message names it.
 * - `claim_invalid`: a claim has the wrong type, form or value; the message names it.
 * - `token_expired`: `exp` plus `leeway` has passed.
 * - `token_not_yet_valid`: `nbf` or `iat` is later than now plus `leeway`.
 * - `lifetime_exceeded`: the lifetime is longer than `maxLifetime`.
 * - `audience_mismatch`: the token is for another audience.
 * - `binding_mismatch`: scheme, key or certificate do not fit the claim `cnf`, or the verifier
 *   cannot check `cnf`.
 * - `network_not_allowed`: the token names networks or regions, and the request comes from none of them, or the
 *   call does not say from where (option `client`).
 * - `dpop_proof_missing`: a token bound to a key came without a DPoP proof.
 * - `dpop_proof_invalid`: the DPoP proof is not valid, or was used before.
 * - `dpop_nonce_required`: the DPoP proof lacks a current nonce of this server.
 * - `replay_unavailable`: the store of used DPoP proofs does not answer.
 * - `scope_insufficient`: the token lacks scope; the message names the missing scope tokens.
 * - `purpose_not_allowed`: the agreement of the token has none of the required purposes, or lacks data;
 *   the message names them.
 * - `status_unavailable`: no usable status list now.
 * - `status_invalid`: the list has no entry at the token's index, or the entry is none of VALID,
 *   INVALID and SUSPENDED.
 * - `token_revoked`: the status is INVALID.
 * - `token_suspended`: the status is SUSPENDED.
 */
export type Code =
  | 'token_missing' | 'cross_site_request' | 'request_invalid' | 'token_malformed' | 'typ_not_accepted' | 'alg_not_allowed'
  | 'issuer_mismatch' | 'key_not_found' | 'keys_unavailable' | 'signature_invalid' | 'claim_missing'
  | 'claim_invalid' | 'token_expired' | 'token_not_yet_valid' | 'lifetime_exceeded'
  | 'audience_mismatch' | 'binding_mismatch' | 'network_not_allowed' | 'dpop_proof_missing' | 'dpop_proof_invalid'
  | 'dpop_nonce_required' | 'replay_unavailable' | 'scope_insufficient' | 'purpose_not_allowed' | 'status_unavailable'
  | 'status_invalid' | 'token_revoked' | 'token_suspended';

/**
 * The reason why a fetch failed, or why its answer was refused:
 *
 * - `dns`, `connection`, `tls`: no name, no connection, no valid certificate, as far as the host says.
 * - `timeout`: no whole response within `freshness.fetchTimeout`.
 * - `status`: the HTTP status is no success.
 * - `age`: the field `Age` cannot be read.
 * - `unreachable`: the fetch failed, and the host does not say why.
 * - `too_large`, `redirect`, `media_type`, `malformed`: limits and form of the response.
 * - `typ`, `key`, `signature`, `sub`, `expired`, `not_yet_valid`: what a status list or a JWK Set says.
 *   `sub` of metadata: they name another issuer than the option, or no usable JWK Set.
 * - `older`, `too_old`: older than the held copy, or kept too long by a cache.
 * - `not_held`: status 304 for a copy that is not held.
 */
export type Reason =
  | 'unreachable' | 'dns' | 'connection' | 'tls' | 'timeout' | 'status' | 'age' | 'too_large' | 'redirect'
  | 'media_type' | 'malformed' | 'typ' | 'key' | 'signature' | 'sub' | 'expired' | 'not_yet_valid'
  | 'older' | 'too_old' | 'not_held';

/** Why a document is not available: what the last answer for it was refused for. */
export interface Cause {
  /** The kind of document. */
  document: 'metadata' | 'jwk_set' | 'status_list' | 'aggregation' | 'status_head';
  /** The reason. */
  reason: Reason;
  /** The HTTP status, with the reason `status`. */
  status?: number;
}

/**
 * The claims of an accepted token: those of RFC 7519 section 4.1 and RFC 9068 section 2.2, and any
 * other.
 *
 * Profile `"rfc9068"` requires `iss`, `exp`, `aud`, `sub`, `client_id`, `iat` and `jti`. The
 * verifier does not check the types of `sub`, `client_id` and `jti` if profile `"jwt"` does not require
 * them, nor those of `aud` and `scope` if the policy reads other claims in their
 * place (`audienceClaim`, `scopeClaim`).
 */
export interface Claims {
  /** Issuer identifier (RFC 7519 section 4.1.1). */
  iss?: string;
  /** Subject: the party that the token is about (RFC 7519 section 4.1.2). */
  sub?: string;
  /** Identifiers of the resource servers that the token is for (RFC 7519 section 4.1.3). */
  aud?: string | string[];
  /** Expiration, in seconds since the epoch. The token is refused from `exp` plus `leeway` on. */
  exp?: number;
  /** Start of validity, in seconds since the epoch. The token is refused before `nbf - leeway`. */
  nbf?: number;
  /** Time of issue, in seconds since the epoch. The token is refused before `iat - leeway`. */
  iat?: number;
  /** Identifier of the token, unique for its issuer (RFC 7519 section 4.1.7). */
  jti?: string;
  /** Identifier of the client that requested the token (RFC 9068 section 2.2). */
  client_id?: string;
  /** Granted scope tokens, separated by spaces. An array only with profile `"jwt"`. */
  scope?: string | string[];
  /** Any other claim. */
  [name: string]: unknown;
}

/** Members of both kinds of verdict. */
interface Judged {
  /**
   * The status that was looked up.
   *
   * `null` if there is none: an earlier step failed, no usable list has an entry for the token, or
   * `status.mode` requires no look-up.
   */
  readonly status: Status | null;
  /** Whether the check used a stale JWK Set or status list, because fetching it failed. */
  readonly stale: boolean;
  /** Returns all members for `JSON.stringify`, claims included; not the response of a refusal. */
  toJSON(): object;
}

/**
 * The verdict about an accepted token.
 *
 * @typeParam Own - Claims of your own issuer, beside those of {@link Claims}. Their types are not
 * checked at run time.
 */
export interface Accepted<Own extends object = object> extends Judged {
  /** Always `true`; tells the two kinds of {@link Verdict} apart. */
  readonly accepted: true;
  /** Always `null`: only a refusal has a code. */
  readonly code: null;
  /** Always `null`: no step failed. */
  readonly step: null;
  /** Always `null`: only a refusal has a message. */
  readonly message: null;
  /** The claims of the token. */
  readonly claims: Readonly<Claims & Own>;
}

/** The verdict about a refused token. */
export interface Refused extends Judged {
  /** Always `false`; tells the two kinds of {@link Verdict} apart. */
  readonly accepted: false;
  /** The stable code of the reason for the refusal. */
  readonly code: Code;
  /** The step that failed. */
  readonly step: Step;
  /** An explanation in English. It repeats nothing that the client sent. */
  readonly message: string;
  /**
   * Why keys or status are unavailable, for `keys_unavailable` and `status_unavailable`. It is for
   * your log: `toResponse()` does not tell the client. `null` for other codes, and if no answer was
   * refused, such as while another request fetches.
   */
  readonly cause: Cause | null;
  /** Always `null`: the claims of a refused token cannot be trusted. */
  readonly claims: null;
  /**
   * Returns a response that refuses the request: RFC 6750 challenge and RFC 9457 body.
   *
   * The status is 400 for `request_invalid`, and 403 for `cross_site_request`, `network_not_allowed`,
   * `scope_insufficient` and `purpose_not_allowed`. It is 503, with
   * `Retry-After: 1` and without a challenge, for `keys_unavailable`, `replay_unavailable` and
   * `status_unavailable`. It is 401 for all other codes; that for `dpop_nonce_required` carries
   * `DPoP-Nonce`.
   */
  toResponse(): Response;
}

/**
 * The result of a check: {@link Accepted} or {@link Refused}. Its member `accepted` tells which.
 *
 * @typeParam Own - Claims of your own issuer, beside those of {@link Claims}.
 */
export type Verdict<Own extends object = object> = Accepted<Own> | Refused;

/**
 * Implementation of both kinds of verdict.
 *
 * @internal
 */
export class JudgedToken {
  readonly accepted: boolean;
  readonly code: string | null;
  readonly step: string | null;
  readonly message: string | null;
  readonly status: Status | null;
  readonly stale: boolean;
  readonly cause: Cause | null;
  readonly #refusal: Refusal | null;
  /** The claims, or the token that holds them until they are first read. */
  #claims: object | string | null;
  /** The claims of a refused token with a valid signature, or that token. */
  #signed: object | string | null;

  private constructor(
    { accepted, code, step, message, status, stale, cause }: Facts, refusal: Refusal | null,
    claims: object | string | null, signed: object | string | null,
  ) {
    this.accepted = accepted;
    this.code = code;
    this.step = step;
    this.message = message;
    this.status = status;
    this.stale = stale;
    this.cause = cause;
    this.#refusal = refusal;
    this.#claims = claims;
    this.#signed = signed;
  }

  /** Reads a verdict from the JSON of the module. */
  static parse(json: string): Verdict {
    const { status, refusal, claims, cause, signed, ...facts } = JSON.parse(json);
    const told = status && { value: status.value, confirmedAt: status.confirmed_at, stale: status.stale };
    return new JudgedToken({ ...facts, status: told, cause: cause && causeOf(cause) }, refusal, claims, signed) as Verdict;
  }

  /** Makes the verdict about another token that is refused as `known` was; `signed` if its signature is valid. */
  static again(known: Verdict, signed: string | null): Verdict {
    const judged = known as unknown as JudgedToken;
    return new JudgedToken(judged, judged.#refusal, null, signed) as Verdict;
  }

  /** Makes the verdict about an accepted token. Its claims are decoded when they are first read. */
  static accepted(token: string, status: Status | null, stale: boolean): Verdict {
    const facts = { accepted: true, code: null, step: null, message: null, status, stale, cause: null };
    return new JudgedToken(facts, null, token, null) as Verdict;
  }

  get claims(): object | null {
    if (typeof this.#claims === 'string') this.#claims = claimsOf(this.#claims);
    return this.#claims;
  }

  /** The claims of a token with a valid signature, whatever the verdict is. */
  static signedClaims(verdict: Verdict): Claims | null {
    if (!(#signed in verdict)) throw new TypeError('not a verdict of this module');
    const judged = verdict as unknown as JudgedToken;
    if (typeof judged.#signed === 'string') judged.#signed = claimsOf(judged.#signed);
    return (judged.#signed ?? judged.claims) as Claims | null;
  }

  toResponse(): Response {
    if (!this.#refusal) throw new TypeError('toResponse is only for refused tokens');
    const { status, headers, body } = this.#refusal;
    return new Response(body, { status, headers });
  }

  toJSON(): object {
    return { ...this, claims: this.claims };
  }
}

/**
 * The claims of a token with a valid signature, whatever the verdict is: for counts of its use, not for
 * decisions.
 *
 * @internal
 */
export const signedClaims = (verdict: Verdict): Claims | null => JudgedToken.signedClaims(verdict);

/** The response for a refused token, as the module writes it. */
interface Refusal { status: number; headers: [string, string][]; body: string }

/** The plain members of a verdict. */
interface Facts {
  accepted: boolean; code: string | null; step: string | null; message: string | null;
  status: Status | null; stale: boolean; cause: Cause | null;
}

/** The cause, without the status that it has not. */
function causeOf({ document, reason, status }: Cause): Cause {
  // Verdicts share it.
  return Object.freeze({ document, reason, ...typeof status === 'number' && { status } });
}

/**
 * Decodes the claims of an accepted token, which may follow its scheme. The module has checked that
 * they are strict JSON.
 */
function claimsOf(token: string): object {
  const start = token.indexOf('.') + 1;
  const text = token.slice(start, token.indexOf('.', start)).replaceAll('-', '+').replaceAll('_', '/');
  return JSON.parse(decoder.decode(Uint8Array.from(atob(text), (char) => char.charCodeAt(0))));
}

const decoder = new TextDecoder();
