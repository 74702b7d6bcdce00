// Masks bodies, in a Wasm module of its own. As the guard does (worker/src/masking.js, worker/src/respond.js).

import { type BodyMasker, Rules } from '../wasm/edgepass_npm_mask.js';
import { isPlain } from './json.js';
import { ready } from './mask-module.js';
import type { Verdict } from './verdict.js';

/** What takes the place of a masked value. */
export type MaskWith = 'remove' | 'null' | 'last4' | 'hash' | 'email';

/** Values that are masked. */
export interface MaskRule {
  /**
   * Paths to the values, such as `$.customers[*].iban` and `$..email`: the subset of JSONPath (RFC 9535) with names,
   * indices, `*`, and `..` before any of them.
   */
  fields: string[];
  /** A scope token with which the values stay. Default: they are masked for every token. */
  unless?: string;
  /**
   * What takes their place: nothing (`remove`), `null`, `****` and the last four characters (`last4`), a keyed hash
   * that is stable for an issuer and agreement (`hash`), or the first character and the domain of an address (`email`).
   */
  with: MaskWith;
}

/** Options of {@link Mask.create}. */
export interface MaskOptions {
  /** The rules. Of those that hold for a token, the first that fits a value counts. At most 32 paths. */
  rules: MaskRule[];
  /** Secret of at least 32 characters for `hash`. Required if and only if a rule has it. */
  key?: string;
}

/** Options of {@link Mask.response} and {@link Mask.stream}. */
export interface MaskCall {
  /**
   * The scope tokens that count for `unless`, also as one text with spaces. Default: those of the claim `scope`. For a
   * verifier with `scopeClaim`, the names that its claims grant.
   */
  granted?: Iterable<string>;
}

/** Octets that are read and masked at once: of a short body, and of a longer one. */
const [PIECE, LARGE] = [64 * 1024, 192 * 1024];
/** Header fields of a request that ask for a part of a response, or for none: the origin answers for what it sends. */
const CONDITIONS = ['if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since', 'range'];
/** Header fields that say something of the body, which is another one once it is masked. */
const OF_THE_BODY = new RegExp(
  '^(?:accept-ranges|content-(?:digest|length|md5|range)|(?:repr-)?digest|etag|signature(?:-input)?|x-goog-hash'
  + '|x-(?:amz-checksum-|ms-content-crc).*)$',
);
/** Header fields that override `Cache-Control` in shared caches (RFC 9213, and its predecessors). */
const FOR_SHARED_CACHES = /-cache-control$|^(?:edge-control|surrogate-control|x-accel-expires)$/;
const VARIES_BY_TOKEN = /(?:^|,)\s*(?:\*|authorization)\s*(?:,|$)/i;

/** In workerd, a stream for octets that the host passes on by itself. */
const Identity = (globalThis as { IdentityTransformStream?: new () => TransformStream<Uint8Array, Uint8Array> }).IdentityTransformStream;

/** The body of a response cannot be masked: nothing more of it is passed on. */
export class MaskingImpossible extends Error {
  /** The stable code, as that of the guard. */
  readonly code = 'masking_impossible';

  /** @internal */
  constructor() {
    super('the response cannot be masked');
    this.name = 'MaskingImpossible';
  }
}

/**
 * Masks values in responses.
 *
 * Make one for each set of rules, and keep it. A body passes in pieces: its size does not matter. What cannot be masked
 * does not pass: no JSON in UTF-8, a part of a document, a compressed body, a name that comes twice where a path looks.
 *
 * @example
 * ```ts
 * import { Verifier } from 'edgepass';
 * import { Mask } from 'edgepass/mask';
 *
 * const verifier = Verifier.create({ issuer: 'https://issuer.example', audience: 'https://api.example' });
 * const mask = Mask.create({
 *   rules: [{ fields: ['$.customers[*].iban'], unless: 'customers:pii', with: 'last4' }],
 * });
 *
 * export async function handle(request: Request): Promise<Response> {
 *   const verdict = await verifier.verify(request, { allOf: ['customers:read'] });
 *   if (!verdict.accepted) return verdict.toResponse();
 *   const origin = await fetch(mask.request(new Request('https://origin.example/customers', request)));
 *   return mask.response(origin, verdict);
 * }
 * ```
 */
export class Mask {
  readonly #rules: Rules;
  readonly #unless: (string | undefined)[];
  readonly #key: Uint8Array;

  private constructor(rules: Rules, unless: (string | undefined)[], key: Uint8Array) {
    this.#rules = rules;
    this.#unless = unless;
    this.#key = key;
  }

  /**
   * Makes the rules ready.
   *
   * @param options - The rules, and the key for hashes.
   * @throws TypeError when an option is unknown, missing or wrong.
   */
  static create(options: MaskOptions): Mask {
    if (!isPlain(options)) throw new TypeError('create expects options: { rules }');
    refuseUnknown(options, ['rules', 'key'], '');
    const { rules, key } = options;
    if (!Array.isArray(rules) || rules.length === 0) throw new TypeError('rules must be an array that is not empty');
    ready();
    const all = new Rules();
    const unless: (string | undefined)[] = [];
    rules.forEach((rule, at) => {
      if (!isPlain(rule)) throw new TypeError(`rules[${at}] must be { fields, with }`);
      refuseUnknown(rule, ['fields', 'unless', 'with'], `rules[${at}].`);
      if (!Array.isArray(rule.fields) || rule.fields.length === 0) throw new TypeError(`rules[${at}].fields must be an array of paths`);
      if (rule.unless !== undefined && !(typeof rule.unless === 'string' && /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(rule.unless))) {
        throw new TypeError(`rules[${at}].unless must be one scope token`);
      }
      if (!['remove', 'null', 'last4', 'hash', 'email'].includes(rule.with)) {
        throw new TypeError(`rules[${at}].with must be one of remove, null, last4, hash and email`);
      }
      for (const field of rule.fields) {
        if (typeof field !== 'string' || !all.add(field, rule.with)) {
          throw new TypeError(`rules[${at}].fields: write a path such as $.customers[*].iban or $..email`);
        }
        unless.push(rule.unless);
      }
    });
    if (!all.ready()) throw new TypeError('rules: at most 32 paths, with at most 96 segments in all');
    const isHashing = rules.some((rule) => rule.with === 'hash');
    if (isHashing !== (key !== undefined)) throw new TypeError('key is required if and only if a rule has with: "hash"');
    if (key !== undefined && !(typeof key === 'string' && key.length >= 32)) throw new TypeError('key must have at least 32 characters');
    return new Mask(all, unless, new TextEncoder().encode(key ?? ''));
  }

  /**
   * A request to the origin whose response can be masked: it asks for a whole and uncompressed one.
   *
   * @param request - The request.
   */
  request(request: Request): Request {
    const headers = new Headers(request.headers);
    headers.set('accept-encoding', 'identity');
    if (['GET', 'HEAD'].includes(request.method)) CONDITIONS.forEach((name) => headers.delete(name));
    return new Request(request, { headers });
  }

  /**
   * Masks a response for whoever holds the token of the verdict. Also one with an error status.
   *
   * The response that it returns is for one token: `Cache-Control` has `private`, `Vary` has `Authorization`, and header
   * fields about the unmasked body are gone. If the body cannot be masked, it is a 502 with the code
   * `masking_impossible`; if that shows later, the body ends as an error.
   *
   * @param response - The response of the origin. Its body is read.
   * @param verdict - The verdict about the token. For a refused one every rule holds.
   * @param call - What counts as granted.
   */
  async response(response: Response, verdict: Verdict, call: MaskCall = {}): Promise<Response> {
    if (typeof response?.headers?.get !== 'function') throw new TypeError('response expects a Response');
    const active = this.#active(verdict, call);
    const headers = new Headers(response.headers);
    for (const name of [...headers.keys()]) {
      if (FOR_SHARED_CACHES.test(name) || active !== 0 && OF_THE_BODY.test(name)) headers.delete(name);
    }
    const cacheControl = privately(headers.get('cache-control') ?? '');
    if (cacheControl !== undefined) headers.set('cache-control', cacheControl);
    const vary = headers.get('vary');
    if (!vary) headers.set('vary', 'Authorization');
    else if (!VARIES_BY_TOKEN.test(vary)) headers.append('vary', 'Authorization');
    const { status, statusText } = response;
    const encoding = headers.get('content-encoding') ?? '';
    if (active === 0 || response.body === null) {
      // Of a fetched response the host has decoded the body, and left the header fields. In workerd it encodes it again.
      if (!Identity && response.url !== '' && !['', 'identity'].includes(encoding.toLowerCase())) {
        headers.delete('content-encoding');
        headers.delete('content-length');
      }
      return new Response(response.body, { status, statusText, headers });
    }
    const isWhole = ![206, 226].includes(status) && ['', 'identity'].includes(encoding.toLowerCase());
    const masker = isWhole ? this.#masker(active, headers.get('content-type') ?? '', verdict) : undefined;
    const reader = readerOf(response.body);
    const pieces = masked(reader, masker);
    try {
      // The begin decides: what is no JSON becomes a refusal. Whoever waits for events wants to know that they come.
      const first = masker?.is_events() ? undefined : await pieces.next();
      const body = first?.done ? null : streamOf(reader, pieces, first?.value);
      return new Response(body, { status, statusText, headers });
    } catch (error) {
      reader.cancel(error).catch(() => {});
      if (error instanceof MaskingImpossible) return refusal();
      throw error;
    }
  }

  /**
   * A stream that masks the octets that pass. It ends as an error with {@link MaskingImpossible} if they cannot be masked.
   *
   * @param contentType - The media type of the octets, such as `application/json` or `application/x-ndjson`.
   * @param verdict - The verdict about the token. For a refused one every rule holds.
   * @param call - What counts as granted.
   */
  stream(contentType: string, verdict: Verdict, call: MaskCall = {}): TransformStream<Uint8Array, Uint8Array> {
    const active = this.#active(verdict, call);
    let masker = active === 0 ? undefined : this.#masker(active, contentType, verdict);
    const isImpossible = active !== 0 && !masker;
    let isEmpty = true;
    const put = (octets: Uint8Array | undefined, controller: TransformStreamDefaultController<Uint8Array>) => {
      if (!octets) {
        masker?.free();
        masker = undefined;
        throw new MaskingImpossible();
      }
      if (octets.length > 0) controller.enqueue(octets);
    };
    return new TransformStream({
      transform(given, controller) {
        if (active === 0) return controller.enqueue(given);
        const piece = asOctets(given);
        isEmpty &&= piece.length === 0;
        if (isImpossible && !isEmpty) throw new MaskingImpossible();
        for (let at = 0; at < piece.length; at += masker!.taken()) put(masker?.feed(piece.subarray(at, at + LARGE)), controller);
      },
      flush(controller) {
        if (active === 0 || isEmpty) return;
        put(masker?.finish(), controller);
        masker?.free();
      },
    });
  }

  /** The rules that hold for a token, as bits. */
  #active(verdict: Verdict, call: MaskCall): number {
    if (typeof verdict?.accepted !== 'boolean') throw new TypeError('mask expects the verdict about the token');
    if (verdict.accepted && !isPlain(verdict.claims)) throw new TypeError('mask expects the verdict of a verifier: it has claims');
    if (!isPlain(call)) throw new TypeError('mask expects options: { granted }');
    refuseUnknown(call, ['granted'], '');
    const { granted } = call;
    if (granted !== undefined && typeof granted?.[Symbol.iterator] !== 'function') throw new TypeError('granted must be scope tokens');
    const scope = verdict.accepted ? granted ?? verdict.claims.scope ?? [] : [];
    const names = new Set(typeof scope === 'string' ? scope.split(' ') : scope);
    return this.#unless.reduce((all, unless, at) => (unless !== undefined && names.has(unless) ? all : all | 1 << at), 0);
  }

  #masker(active: number, contentType: string, verdict: Verdict): BodyMasker | undefined {
    const claims = verdict.accepted ? verdict.claims : {};
    const issuer = typeof claims.iss === 'string' ? claims.iss : '';
    return this.#rules.masker(active, contentType, this.#key, issuer, agreementOf(claims));
  }
}

/** Reads a body piece by piece. */
interface Reader {
  read(): Promise<{ done: boolean; value?: Uint8Array }>;
  cancel(reason: unknown): Promise<void>;
}

/** A reader of large pieces where the host has such, since each piece costs time. A piece is overwritten by the next one. */
function readerOf(body: ReadableStream<Uint8Array>): Reader {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = body.getReader({ mode: 'byob' });
  } catch {
    // Not a stream of octets for the host, such as one that a program made.
    return body.getReader();
  }
  let piece = new Uint8Array(PIECE);
  return {
    async read() {
      const { done, value } = await reader.read(piece);
      if (value) {
        const isFull = value.length === PIECE && value.buffer.byteLength === PIECE;
        piece = isFull ? new Uint8Array(LARGE) : new Uint8Array(value.buffer);
      }
      return { done, value };
    },
    cancel: (reason) => reader.cancel(reason),
  };
}

/** The masked octets of a body, piece by piece. Nothing comes of an empty body, whatever it is. */
async function* masked(reader: Reader, masker: BodyMasker | undefined): AsyncGenerator<Uint8Array, void, void> {
  const put = (octets: Uint8Array | undefined): Uint8Array => {
    if (!octets) throw new MaskingImpossible();
    return octets;
  };
  let isEmpty = true;
  try {
    for (;;) {
      const { done, value: piece } = await reader.read();
      if (done) break;
      const value = asOctets(piece);
      for (let at = 0; at < value.length; at += masker!.taken()) {
        isEmpty = false;
        const octets = put(masker?.feed(value.subarray(at, at + LARGE)));
        if (octets.length > 0) yield octets;
      }
    }
    const rest = isEmpty ? new Uint8Array(0) : put(masker?.finish());
    if (rest.length > 0) yield rest;
  } catch (error) {
    reader.cancel(error).catch(() => {});
    throw error;
  } finally {
    masker?.free();
  }
}

/** A body of these pieces, after the first one. */
function streamOf(
  reader: Reader, pieces: AsyncGenerator<Uint8Array, void, void>, first: Uint8Array | void,
): ReadableStream<Uint8Array> {
  if (Identity) {
    // In workerd, what passes through this stream does not pass through JavaScript again.
    const { readable, writable } = new Identity();
    void pump(reader, pieces, first, writable.getWriter());
    return readable;
  }
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (first) {
        controller.enqueue(first);
        first = undefined;
        return;
      }
      const { done, value } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel(reason) {
      await reader.cancel(reason);
      await pieces.return();
    },
  }, { highWaterMark: 0 });
}

/** Writes the pieces, until nobody reads them. Never rejects. */
async function pump(
  reader: Reader, pieces: AsyncGenerator<Uint8Array, void, void>, first: Uint8Array | void,
  writer: WritableStreamDefaultWriter<Uint8Array>,
): Promise<void> {
  // Whoever reads may leave while the origin sends nothing.
  writer.closed.catch((error) => reader.cancel(error)).catch(() => {});
  try {
    if (first) await writer.write(first);
    for await (const piece of pieces) await writer.write(piece);
    await writer.close();
  } catch (error) {
    writer.abort(error).catch(() => {});
    reader.cancel(error).catch(() => {});
  }
}

/** The octets of a piece of a body. Programs put other things into streams, too. */
function asOctets(piece: unknown): Uint8Array {
  if (piece instanceof Uint8Array) return piece;
  if (ArrayBuffer.isView(piece)) return new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
  if (piece instanceof ArrayBuffer) return new Uint8Array(piece);
  throw new TypeError('a body consists of octets');
}

/** The response for a body that cannot be masked, as that of the guard. */
function refusal(): Response {
  const body = {
    type: 'about:blank', title: 'Bad Gateway', status: 502, code: 'masking_impossible',
    detail: 'the response of the origin cannot be masked',
  };
  const headers = { 'content-type': 'application/problem+json', 'cache-control': 'no-store' };
  return new Response(JSON.stringify(body), { status: 502, headers });
}

/** The agreement of a token, by its claim `authorization_details`. Empty if there is none, or more than one. */
function agreementOf(claims: Record<string, unknown>): string {
  const details = Array.isArray(claims.authorization_details) ? claims.authorization_details : [];
  const own = details.filter((detail) => detail?.type === 'edgepass_agreement');
  return own.length === 1 && typeof own[0].agreement === 'string' ? own[0].agreement : '';
}

/** `Cache-Control` for a response to one client. `undefined` if the value is as strict. */
function privately(written: string): string | undefined {
  const isConditional = /must-understand/i.test(written);
  const kept = ['private'];
  for (const directive of written.match(/(?:"(?:\\.|[^"])*"?|[^,"])+/g) ?? []) {
    const name = directive.split('=')[0]!.trim().toLowerCase();
    if (name === 'no-store' && !isConditional) return undefined;
    if (name === 'private' && !directive.includes('=')) return undefined;
    if (!['private', 'public', 's-maxage', 'proxy-revalidate', ''].includes(name)) kept.push(directive.trim());
  }
  return kept.join(', ');
}

function refuseUnknown(options: object, known: string[], of: string): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown !== undefined) throw new TypeError(`unknown option ${of}${unknown}; expected one of ${known.join(', ')}`);
}
