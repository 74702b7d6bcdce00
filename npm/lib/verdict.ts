// Verdicts.

/** The status that was looked up. */
export interface Status {
  /** What the list says of the token. `"unknown"`: a value that has no meaning here. */
  value: 'valid' | 'revoked' | 'suspended' | 'unknown';
  /** Milliseconds since the epoch: when the list was last confirmed at its source. */
  confirmedAt: number;
  /** Whether the list served beyond its freshness window because its source is unreachable. */
  stale: boolean;
}

/** The checks, in the order they run. */
export type Step =
  | 'parse' | 'policy' | 'key' | 'signature' | 'claims' | 'binding' | 'scopes' | 'status';

/** Why a token is refused, in the order of the checks. Codes are never reworded. */
export type Code =
  | 'token_missing' | 'request_invalid' | 'token_malformed' | 'typ_not_accepted' | 'alg_not_allowed'
  | 'issuer_mismatch' | 'key_not_found' | 'keys_unavailable' | 'signature_invalid' | 'claim_missing'
  | 'claim_invalid' | 'token_expired' | 'token_not_yet_valid' | 'lifetime_exceeded'
  | 'audience_mismatch' | 'binding_mismatch' | 'dpop_proof_missing' | 'dpop_proof_invalid'
  | 'dpop_nonce_required' | 'replay_unavailable' | 'scope_insufficient' | 'status_unavailable'
  | 'status_invalid' | 'token_revoked' | 'token_suspended';

/**
 * The claims of an accepted token: those of RFC 7519 section 4.1 and RFC 9068 section 2.2, and any other. Profile
 * `rfc9068` requires `iss`, `exp`, `aud`, `sub`, `client_id`, `iat` and `jti`. `aud` and `scope` are of these types
 * unless the policy reads other claims in their place (`audienceClaim`, `scopeClaim`).
 */
export interface Claims {
  iss?: string;
  sub?: string;
  aud?: string | string[];
  /** Seconds since the epoch, as `nbf` and `iat`. */
  exp?: number;
  nbf?: number;
  iat?: number;
  jti?: string;
  client_id?: string;
  /** An array with profile `jwt` alone. */
  scope?: string | string[];
  [name: string]: unknown;
}

interface Judged {
  /** The status that was looked up, if it came to that. */
  readonly status: Status | null;
  /** Whether a held copy served beyond its freshness window. */
  readonly stale: boolean;
  /** Everything but the response. */
  toJSON(): object;
}

/** The token is accepted. `Own` are claims of the user's own issuer. */
export interface Accepted<Own extends object = object> extends Judged {
  readonly accepted: true;
  readonly code: null;
  readonly step: null;
  readonly message: null;
  readonly claims: Readonly<Claims & Own>;
}

/** The token is refused. */
export interface Refused extends Judged {
  readonly accepted: false;
  /** The stable code of the first check that failed. */
  readonly code: Code;
  /** The check that failed. */
  readonly step: Step;
  /** A sentence for people. It holds nothing that the caller sent. */
  readonly message: string;
  readonly claims: null;
  /** The refusal as a response: RFC 6750 challenge and RFC 9457 body. */
  toResponse(): Response;
}

/** What came of a token: `accepted` tells which. */
export type Verdict<Own extends object = object> = Accepted<Own> | Refused;

/** @internal Both kinds of verdict, as they are made. */
export class JudgedToken {
  readonly accepted: boolean;
  readonly code: string | null;
  readonly step: string | null;
  readonly message: string | null;
  readonly status: Status | null;
  readonly stale: boolean;
  readonly #refusal: Refusal | null;
  /** Claims, or the text of the token that holds them, until they are asked for. */
  #claims: object | string | null;

  private constructor(
    { accepted, code, step, message, status, stale }: Facts, refusal: Refusal | null,
    claims: object | string | null,
  ) {
    this.accepted = accepted;
    this.code = code;
    this.step = step;
    this.message = message;
    this.status = status;
    this.stale = stale;
    this.#refusal = refusal;
    this.#claims = claims;
  }

  /** What the module says in JSON. */
  static parse(json: string): Verdict {
    const { status, refusal, claims, ...facts } = JSON.parse(json);
    const told = status && { value: status.value, confirmedAt: status.confirmed_at, stale: status.stale };
    return new JudgedToken({ ...facts, status: told }, refusal, claims) as Verdict;
  }

  /** An accepted token, whose claims are read when they are asked for. */
  static accepted(token: string, status: Status | null, stale: boolean): Verdict {
    const facts = { accepted: true, code: null, step: null, message: null, status, stale };
    return new JudgedToken(facts, null, token) as Verdict;
  }

  get claims(): object | null {
    if (typeof this.#claims === 'string') this.#claims = claimsOf(this.#claims);
    return this.#claims;
  }

  toResponse(): Response {
    if (!this.#refusal) throw new TypeError('the token is accepted: there is nothing to refuse');
    const { status, headers, body } = this.#refusal;
    return new Response(body, { status, headers });
  }

  toJSON(): object {
    return { ...this, claims: this.claims };
  }
}

interface Refusal { status: number; headers: [string, string][]; body: string }

interface Facts {
  accepted: boolean; code: string | null; step: string | null; message: string | null;
  status: Status | null; stale: boolean;
}

/** The claims in a token that was accepted: strict JSON, of which there is one reading. */
function claimsOf(token: string): object {
  const start = token.indexOf('.') + 1;
  const text = token.slice(start, token.indexOf('.', start)).replaceAll('-', '+').replaceAll('_', '/');
  return JSON.parse(decoder.decode(Uint8Array.from(atob(text), (char) => char.charCodeAt(0))));
}

const decoder = new TextDecoder();
