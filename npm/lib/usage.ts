/**
 * Counts how tokens are used, and reports it to an Edgepass issuer behind responses.
 *
 * @packageDocumentation
 */

import { isPlain } from './json.js';
import { LIMITS, UsageTable } from './usage-table.js';
import { signedClaims, type Verdict } from './verdict.js';
import { VERSION } from './version.js';

/** Time for each request to the issuer, in milliseconds. */
const TIMEOUT = 10_000;
/** The token of the reporter is obtained anew when so many milliseconds of it are left. */
const LEFT = 60_000;
/** How often a report is sent before it is given up. */
const ATTEMPTS = 10;

/** Options of {@link Usage.create}. */
export interface UsageOptions {
  /** Issuer identifier of the tokens that are counted, to which the reports go. */
  issuer: string;
  /** Identifier of a client of the issuer that may report use: `edgepass client add ... --reports-use-of AUDIENCE`. */
  clientId: string;
  /** Its secret. */
  clientSecret: string;
  /** How long uses are counted before they are reported, in seconds, from 1 to 3600. Default 30. */
  interval?: number;
  /** Function that is called instead of the global `fetch`, such as that of a service binding. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** `User-Agent` of the requests to the issuer. Default `edgepass/VERSION`. */
  userAgent?: string;
}

/** Where a request came from, as the platform says. What is absent is unknown. */
export interface UsePlace {
  /** The country of the client, by the two capital letters of ISO 3166-1. */
  country?: string;
  /** The number of the client's autonomous system. */
  asn?: number;
  /** The data centre that the request reached. */
  colo?: string;
  /** A fingerprint of the client's TLS handshake. */
  tls?: string;
  /** Where the client is: whole degrees of latitude and longitude, such as `47,9`. */
  at?: string;
  /** The client's address under a keyed hash. Never the address itself. */
  address?: string;
}

/** What a token was used for. */
export interface Use {
  /** Methods and path pattern of the route, such as `GET /orders/{id}`. No text of the request. */
  route: string;
  /** The scope tokens that the route requires. Default: none. */
  needs?: string[];
  /** Where the request came from. Default: unknown. */
  place?: UsePlace;
  /** Function that keeps the host alive until a promise settles, such as `(work) => ctx.waitUntil(work)`. */
  waitUntil?: (work: Promise<unknown>) => void;
}

/** Counts of {@link Usage.counters}. */
export interface UsageCounters {
  /** Requests that are counted, and not reported yet. */
  counted: number;
  /** Reports that the issuer took. */
  taken: number;
  /** Attempts to report that failed. */
  failed: number;
  /** Uses in reports that were given up: the issuer refused them, or took none in ten attempts. */
  lost: number;
}

/**
 * Counts of how tokens are used.
 *
 * Make one for each isolate or process. Counting takes at most about 2 MB, and no request waits for a report
 * or is refused because of one.
 *
 * @example
 * ```ts
 * import { Verifier } from 'edgepass';
 * import { Usage } from 'edgepass/usage';
 *
 * const issuer = 'https://issuer.example';
 * const verifier = Verifier.create({ issuer, audience: 'https://api.example' });
 * const usage = Usage.create({ issuer, clientId: 'api', clientSecret: process.env.USAGE_CLIENT_SECRET ?? '' });
 *
 * export async function handle(request: Request): Promise<Response> {
 *   const allOf = ['invoices:read'];
 *   const verdict = await verifier.verify(request, { allOf });
 *   usage.count(verdict, { route: 'GET /invoices', needs: allOf });
 *   return verdict.accepted ? new Response('[]') : verdict.toResponse();
 * }
 * ```
 */
export class Usage {
  readonly #options: Required<UsageOptions>;
  #table = new UsageTable();
  /** The name that this reporter gives itself with its first report. */
  #isolate = '';
  #number = 0;
  /** The report that nobody has taken yet. */
  #waiting: { text: string; total: number; attempts: number } | undefined;
  #sentAt = -Infinity;
  #sending: Promise<void> | undefined;
  #token = { text: '', until: 0 };
  #taken = 0;
  #failed = 0;
  #lost = 0;

  private constructor(options: Required<UsageOptions>) {
    this.#options = options;
  }

  /**
   * Makes counts. Does no I/O, so a Worker may call it in global scope.
   *
   * @param options - The issuer, and the client that reports.
   * @throws TypeError when an option is unknown, missing or out of range.
   */
  static create(options: UsageOptions): Usage {
    const known = ['issuer', 'clientId', 'clientSecret', 'interval', 'fetch', 'userAgent'];
    if (!isPlain(options)) throw new TypeError('create expects options: { issuer, clientId, clientSecret }');
    const unknown = Object.keys(options).find((name) => !known.includes(name));
    if (unknown !== undefined) throw new TypeError(`unknown option ${unknown}; expected one of ${known.join(', ')}`);
    const {
      issuer, clientId, clientSecret, interval = 30, fetch = (url, init) => globalThis.fetch(url, init),
      userAgent = `edgepass/${VERSION}`,
    } = options;
    for (const [name, text] of Object.entries({ issuer, clientId, clientSecret, userAgent })) {
      if (typeof text !== 'string' || text === '') throw new TypeError(`${name} must be a text that is not empty`);
    }
    if (!isSafe(issuer)) throw new TypeError('issuer must be an https URL (http only on loopback)');
    if (!(typeof interval === 'number' && interval >= 1 && interval <= 3600)) {
      throw new TypeError('interval must be seconds, from 1 to 3600');
    }
    if (typeof fetch !== 'function') throw new TypeError('fetch must be a function');
    return new Usage({ issuer, clientId, clientSecret, interval, fetch, userAgent });
  }

  /**
   * Counts a request, and sends a report behind it when one is due.
   *
   * Counted are tokens that the issuer signed, accepted or refused, if they have a `jti`. Where the host drops
   * work after a response, pass `waitUntil`.
   *
   * @param verdict - The verdict of a verifier about the request.
   * @param use - The route, and where the request came from.
   * @throws TypeError when the verdict or the route is none.
   */
  count(verdict: Verdict, use: Use): void {
    if (!isPlain(use) || typeof use.route !== 'string') throw new TypeError('count expects a verdict and { route }');
    const { iss, jti, client_id: client, scope } = signedClaims(verdict) ?? {};
    const now = Date.now();
    if (iss === this.#options.issuer && typeof jti === 'string' && /^[\x20-\x7e]{1,128}$/.test(jti)) {
      this.#table.count({
        jwtId: jti, clientId: typeof client === 'string' ? client : '', scope: typeof scope === 'string' ? scope : '',
        route: use.route.replace(/[^\x20-\x7e]/g, '').slice(0, LIMITS.text) || '/',
        needs: (use.needs ?? []).filter((scope) => /^[\x21-\x7e]{1,256}$/.test(scope)).slice(0, LIMITS.needs),
        code: verdict.code ?? 'accepted', place: placeOf(use.place),
      }, now);
    }
    const isDue = this.#waiting !== undefined || this.#table.isOlderThan(this.#options.interval * 1000, now);
    if (!isDue || this.#sending || now - this.#sentAt < this.#options.interval * 1000) return;
    const work = this.#report(now);
    if (use.waitUntil) {
      try {
        use.waitUntil(work);
      } catch {
        // The request has ended. The report is under way all the same, for as long as the host allows.
      }
    }
  }

  /**
   * Reports at once what is counted, such as before a server ends.
   *
   * @returns Whether everything is reported.
   */
  async flush(): Promise<boolean> {
    await this.#sending;
    if (this.#waiting) await this.#report(Date.now());
    if (!this.#waiting && this.#table.total > 0) await this.#report(Date.now());
    return !this.#waiting && this.#table.total === 0;
  }

  /** Returns the counts so far. */
  counters(): UsageCounters {
    return {
      counted: this.#table.total + (this.#waiting?.total ?? 0), taken: this.#taken, failed: this.#failed, lost: this.#lost,
    };
  }

  #report(now: number): Promise<void> {
    this.#sentAt = now;
    // Reporting never ends the program.
    const work = this.#send().catch(() => { this.#failed += 1; }).finally(() => {
      if (this.#sending === work) this.#sending = undefined;
    });
    this.#sending = work;
    return work;
  }

  async #send(): Promise<void> {
    // The response goes first.
    await new Promise((resolve) => { setTimeout(resolve, 0); });
    if (!this.#waiting) {
      const table = this.#table;
      if (table.total === 0) return;
      this.#table = new UsageTable();
      this.#isolate ||= crypto.randomUUID();
      this.#number += 1;
      const header = { isolate: this.#isolate, number: this.#number, issuer: this.#options.issuer, lost: this.#lost };
      this.#waiting = { text: JSON.stringify(table.report(header)), total: table.total, attempts: 0 };
    }
    const report = this.#waiting;
    report.attempts += 1;
    // Whatever the host's fetch does, the next request may report again.
    const outcome = await Promise.race([this.#post(report.text), late()]).catch(() => 'failed');
    if (outcome === 'taken') {
      this.#taken += 1;
    } else {
      this.#failed += 1;
      if (outcome !== 'refused' && report.attempts < ATTEMPTS) return;
      this.#lost += report.total;
    }
    this.#waiting = undefined;
  }

  /** Sends a report: `taken`, `refused` if it will never be taken, or `failed`. */
  async #post(text: string): Promise<string> {
    const zipped = new Response(text).body!.pipeThrough(new CompressionStream('gzip'));
    const response = await this.#options.fetch(`${this.#options.issuer}/usage-reports`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${await this.#bearer()}`, 'content-type': 'application/json', 'content-encoding': 'gzip',
        'user-agent': this.#options.userAgent,
      },
      body: await new Response(zipped).arrayBuffer(),
      signal: AbortSignal.timeout(TIMEOUT),
    });
    await response.body?.cancel();
    if (response.ok) return 'taken';
    // Revoked, or of another issuer by now.
    if (response.status === 401) this.#token = { text: '', until: 0 };
    return [400, 409, 413, 422].includes(response.status) ? 'refused' : 'failed';
  }

  /** The token with which this client reports. */
  async #bearer(): Promise<string> {
    if (Date.now() < this.#token.until) return this.#token.text;
    const { issuer, clientId, clientSecret, fetch, userAgent } = this.#options;
    const form = (text: string): string => encodeURIComponent(text).replace(/%20/g, '+');
    const response = await fetch(`${issuer}/oauth/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${form(clientId)}:${form(clientSecret)}`)}`, 'user-agent': userAgent },
      body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'edgepass:usage', resource: issuer }),
      signal: AbortSignal.timeout(TIMEOUT),
    });
    if (!response.ok) throw new Error('no token');
    const { access_token: text, expires_in: lifetime } = await response.json() as { access_token: string; expires_in: number };
    if (typeof text !== 'string' || !(lifetime > 0)) throw new Error('no token');
    this.#token = { text, until: Date.now() + Math.max(lifetime * 1000 - LEFT, lifetime * 500) };
    return text;
  }
}

/** Whether the client's secret may go to this URL. */
function isSafe(issuer: string): boolean {
  if (!URL.canParse(issuer)) return false;
  const { protocol, hostname } = new URL(issuer);
  return protocol === 'https:' || protocol === 'http:' && /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(hostname);
}

/** What is known of a place and fits into a report. */
function placeOf(place: UsePlace = {}): Record<string, string | number> {
  const { asn } = place;
  const known: Record<string, string | number> = Number.isInteger(asn) && asn! >= 0 && asn! < 2 ** 32 ? { asn: asn! } : {};
  for (const name of ['country', 'colo', 'tls', 'at', 'address'] as const) {
    const text = place[name];
    if (typeof text === 'string' && new RegExp(`^[\\x20-\\x7e]{1,${LIMITS.place}}$`).test(text)) known[name] = text;
  }
  return known;
}

function late(): Promise<string> {
  return new Promise((resolve) => {
    const timer: unknown = setTimeout(resolve, 2 * TIMEOUT + 1_000, 'failed');
    // It keeps no process alive.
    (timer as { unref?: () => void }).unref?.();
  });
}
