// Verdicts.

/** The status that was looked up. */
export interface Status {
  /** 0 valid, 1 revoked, 2 suspended. */
  value: number;
  /** Milliseconds since the epoch: when the list was last confirmed at its source. */
  confirmedAt: number;
  /** Whether the list served beyond its freshness window because its source is unreachable. */
  stale: boolean;
}

/** The checks, in the order they run. */
export type Step =
  | 'parse' | 'policy' | 'key' | 'signature' | 'claims' | 'binding' | 'scopes' | 'status';

/** What came of a check. */
export class Verdict {
  /** Whether the token is accepted. */
  readonly accepted: boolean;
  /** The stable code of the first check that failed, such as `"token_expired"`. */
  readonly code: string | null;
  /** The check that failed. */
  readonly step: Step | null;
  /** A sentence for people. It holds nothing that the caller sent. */
  readonly message: string | null;
  /** The status that was looked up, if it came to that. */
  readonly status: Status | null;
  /** Whether a held copy served beyond its freshness window. */
  readonly stale: boolean;
  readonly #refusal: Refusal | null;
  /** Claims, or the text of the token that holds them, until they are asked for. */
  #claims: Readonly<Record<string, unknown>> | string | null;

  /** @internal */
  constructor(told: Told) {
    this.accepted = told.accepted;
    this.code = told.code;
    this.step = told.step;
    this.message = told.message;
    this.status = told.status;
    this.stale = told.stale;
    this.#refusal = told.refusal;
    this.#claims = told.claims;
  }

  /** @internal */
  static parse(json: string): Verdict {
    const { status, ...told } = JSON.parse(json);
    return new Verdict({
      ...told,
      status: status && { value: status.value, confirmedAt: status.confirmed_at, stale: status.stale },
    });
  }

  /** The claims of an accepted token; `null` for a refused one. */
  get claims(): Readonly<Record<string, unknown>> | null {
    if (typeof this.#claims === 'string') this.#claims = claimsOf(this.#claims);
    return this.#claims;
  }

  /** The refusal as a response: RFC 6750 challenge and RFC 9457 body. Throws for an accepted one. */
  toResponse(): Response {
    if (!this.#refusal) throw new TypeError('the token is accepted: there is nothing to refuse');
    const { status, headers, body } = this.#refusal;
    return new Response(body, { status, headers });
  }

  /** Everything but the response. */
  toJSON(): object {
    return { ...this, claims: this.claims };
  }
}

interface Refusal { status: number; headers: [string, string][]; body: string }

/** @internal */
export interface Told {
  accepted: boolean; code: string | null; step: Step | null; message: string | null;
  status: Status | null; stale: boolean; refusal: Refusal | null;
  claims: Readonly<Record<string, unknown>> | string | null;
}

/** The claims in a token that was accepted: strict JSON, of which there is one reading. */
function claimsOf(token: string): Readonly<Record<string, unknown>> {
  const start = token.indexOf('.') + 1;
  const text = token.slice(start, token.indexOf('.', start)).replaceAll('-', '+').replaceAll('_', '/');
  return JSON.parse(decoder.decode(Uint8Array.from(atob(text), (char) => char.charCodeAt(0))));
}

const decoder = new TextDecoder();
