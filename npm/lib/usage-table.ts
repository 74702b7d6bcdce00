// Counts of one report, as `crates/usage` keeps them in the guard: bounded, and without a use left out.

/** Limits of a report, as in `crates/usage/src/limits.rs`. */
export const LIMITS = {
  jwtId: 128, text: 256, place: 64, tokens: 2_000, rows: 2_400, named: 512, folded: 4_096, needs: 64,
} as const;

/** Most rows of a token. In the second half of them rows have no place. */
const MAX_OWN = 64;
/** What a refused request weighs against accepted ones when a full table adds rows up. */
const REFUSED_WEIGHT = 16;
/** The route of those that found no room in a report. */
const OTHERS = '(others)';

/** One request, as it is counted. */
export interface Counted {
  jwtId: string; clientId: string; scope: string; route: string; needs: string[]; code: string;
  place: Record<string, string | number>;
}

interface Row { route: number; code: number; place: number; count: number; first: number; last: number }
interface Token { clientId: string; scope: string; rows: Map<string, Row> }
interface Folded { example: string; code: number; count: number }

/** Values, each with its position. */
class Named<T> {
  readonly values: T[] = [];
  readonly #at = new Map<string, number>();

  /** The position of a value, which is added if there are fewer than `most`. */
  position(value: T, most: number): number | undefined {
    const key = JSON.stringify(value);
    const known = this.#at.get(key);
    if (known !== undefined || this.values.length >= most) return known;
    this.#at.set(key, this.values.length);
    return this.values.push(value) - 1;
  }
}

/** Counts since the last report. */
export class UsageTable {
  readonly #tokens = new Map<string, Token>();
  readonly #routes = new Named<{ name: string; needs: string[] }>();
  readonly #places = new Named<Record<string, string | number>>();
  readonly #codes = new Named<string>();
  readonly #folded = new Map<string, Folded>();
  #rows = 0;
  #from = 0;
  #to = 0;
  /** The number of requests. */
  total = 0;

  constructor() {
    // The first place is unknown, and has room for whatever comes later.
    this.#places.position({}, LIMITS.named);
  }

  /** Whether the first request was counted so many milliseconds ago. */
  isOlderThan(milliseconds: number, now: number): boolean {
    return this.total > 0 && now - this.#from >= milliseconds;
  }

  /** Counts a request at a time in milliseconds since the epoch. */
  count({ jwtId, clientId, scope, route, needs, code, place }: Counted, at: number): void {
    if (this.total === 0) this.#from = at;
    // A clock that is set back makes no negative time.
    const now = Math.max(at, this.#from);
    this.#to = Math.max(this.#to, now);
    this.total += 1;
    let token = this.#tokens.get(jwtId);
    if (!token) {
      if (this.#tokens.size >= LIMITS.tokens) this.#fold();
      token = { clientId, scope, rows: new Map() };
      this.#tokens.set(jwtId, token);
    }
    const codeAt = this.#codes.position(code, 64)!;
    const routeAt = this.#routes.position({ name: route, needs }, LIMITS.named - 1)
      ?? this.#routes.position({ name: OTHERS, needs: [] }, LIMITS.named)!;
    const isRough = token.rows.size >= MAX_OWN / 2;
    const placeAt = this.#place(place);
    const row = token.rows.get(kind(routeAt, codeAt, placeAt))
      ?? (isRough ? token.rows.get(kind(routeAt, codeAt, 0)) : undefined);
    if (row) {
      row.count += 1;
      row.last = Math.max(row.last, now);
    } else if (token.rows.size >= MAX_OWN) {
      this.#addUp(jwtId, token, codeAt, 1);
    } else {
      const rowPlace = isRough ? 0 : placeAt;
      token.rows.set(kind(routeAt, codeAt, rowPlace), {
        route: routeAt, code: codeAt, place: rowPlace, count: 1, first: now, last: now,
      });
      this.#rows += 1;
      if (this.#rows > LIMITS.rows) this.#fold();
    }
  }

  /** What was counted, as a report. `header` says who reports. */
  report(header: { isolate: string; number: number; issuer: string; lost: number }): object {
    const seconds = (at: number): number => Math.floor((at - this.#from) / 1000);
    const uses = [...this.#tokens.values()].flatMap(({ rows }, token) => [...rows.values()].map(
      ({ route, code, place, count, first, last }) => [token, route, code, place, count, seconds(first), seconds(last)],
    ));
    return {
      ...header, from_ms: this.#from, to_ms: this.#to, routes: this.#routes.values, places: this.#places.values,
      codes: this.#codes.values, tokens: [...this.#tokens.keys()], uses, folded: [...this.#folded.values()],
    };
  }

  /** The position of a place. The last ones that have room have a country alone. */
  #place(place: Record<string, string | number>): number {
    const known = this.#places.position(place, LIMITS.named / 2);
    if (known !== undefined) return known;
    const { country } = place;
    return this.#places.position(country === undefined ? {} : { country }, LIMITS.named) ?? 0;
  }

  /** Adds up the uses of the quarter of the tokens that was used least, and forgets these tokens. */
  #fold(): void {
    const accepted = this.#codes.position('accepted', 0);
    const weigh = ({ rows }: Token): number => [...rows.values()].reduce(
      (sum, { code, count }) => sum + count * (code === accepted ? 1 : REFUSED_WEIGHT), 0,
    );
    const weighed = [...this.#tokens].map(([jwtId, token]) => ({ jwtId, token, weight: weigh(token) }));
    weighed.sort((one, other) => one.weight - other.weight);
    for (const { jwtId, token } of weighed.slice(0, Math.ceil(weighed.length / 4))) {
      for (const { code, count } of token.rows.values()) this.#addUp(jwtId, token, code, count);
      this.#rows -= token.rows.size;
      this.#tokens.delete(jwtId);
    }
  }

  /** Adds uses to those of the token's client and scope; of its client; or of all clients. */
  #addUp(jwtId: string, { clientId, scope }: Token, code: number, count: number): void {
    const keys = [[clientId, scope, code], [clientId, code], [code]].map((key) => JSON.stringify(key));
    const room = [LIMITS.folded / 2, LIMITS.folded - 64, LIMITS.folded];
    const at = keys.findIndex((key, index) => this.#folded.has(key) || this.#folded.size < room[index]!);
    const key = keys[at]!;
    const row = this.#folded.get(key);
    if (row) row.count += count;
    else this.#folded.set(key, { example: at === 2 ? '' : jwtId, code, count });
  }
}

function kind(route: number, code: number, place: number): string {
  return `${route} ${code} ${place}`;
}
