// A program that uses the package, for the type checker. It is never run. An `@ts-expect-error`
// fails if the line below it has no type error.

import {
  Verifier, decodeUnverified, type Accepted, type Claims, type Code, type Duration, type Refused, type Status,
  type Verdict,
} from 'edgepass';
import { Usage } from 'edgepass/usage';

const verifier = Verifier.create({
  issuer: 'https://issuer.example', audience: ['https://api.example'], algorithms: ['EdDSA'],
  jwks: 'https://issuer.example/.well-known/jwks.json', cache: 'cache-api',
  freshness: { deadline: '10s', maxListAge: '1h 30m' }, status: { mode: 'when_present' },
});

export async function handle(request: Request, waitUntil: (work: Promise<unknown>) => void) {
  const verdict: Verdict = await verifier.verify(request, { allOf: ['invoices:read'] }, { waitUntil });
  if (!verdict.accepted) {
    const refused: Refused = verdict;
    const code: Code = verdict.code;
    const message: string = verdict.message;
    // @ts-expect-error A refused token has no claims.
    verdict.claims.sub;
    // @ts-expect-error This code does not exist.
    if (verdict.code === 'token_expird') return refused.toResponse();
    return code === 'token_revoked' ? new Response(message, { status: 401 }) : verdict.toResponse();
  }
  const accepted: Accepted = verdict;
  const status: Status | null = verdict.status;
  const subject: string | undefined = verdict.claims.sub;
  const none: null = verdict.code;
  // @ts-expect-error An accepted verdict has no response.
  verdict.toResponse();
  // @ts-expect-error The value of a status is a string.
  status?.value === 1;
  // @ts-expect-error Claims are read-only.
  verdict.claims.sub = 'somebody else';
  const revoked = status?.value === 'revoked';
  return new Response(JSON.stringify({ subject, none, revoked, stale: accepted.stale }));
}

interface Own { tenant: string; plan?: 'free' | 'paid' }

export async function own(token: string): Promise<string | undefined> {
  const verdict = await verifier.verify<Own>(token);
  if (!verdict.accepted) return undefined;
  const { tenant, plan, exp }: Own & Claims = verdict.claims;
  const other: unknown = verdict.claims.other;
  // @ts-expect-error The type of other claims is unknown.
  other.length;
  return `${tenant} ${plan} ${exp?.toFixed()}`;
}

Verifier.create({
  profile: 'jwt', issuer: 'https://login.example/{tid}/v2.0', tenants: 'any', audience: 'a', typ: null,
  status: { mode: 'ignore' }, scopeClaim: ['scp', { claim: 'roles', map: { 'Invoice Reader': ['invoices:read'] } }],
  expectedClaims: {
    email_verified: true, level: [1, 2], groups: { all: ['a', 'b'] }, ref: { like: 'refs/heads/release/*' },
  },
  freshness: { keys: 'http', keysHardStop: '12h' },
});
// @ts-expect-error A pattern is a string.
Verifier.create({ issuer: 'https://issuer.example', audience: 'a', expectedClaims: { a: { like: 1 } } });
// @ts-expect-error A rule for a claim names the claim.
Verifier.create({ issuer: 'i', audience: 'a', scopeClaim: { prefix: 'b' } });
// @ts-expect-error An audience must be stated.
Verifier.create({ issuer: 'https://issuer.example' });
// @ts-expect-error A duration is a string with a unit.
Verifier.create({ issuer: 'https://issuer.example', audience: 'a', leeway: 10 });
// @ts-expect-error A duration has a unit.
Verifier.create({ issuer: 'https://issuer.example', audience: 'a', leeway: '10' });
// @ts-expect-error A parsec is not a unit of time.
export const never: Duration = '10 parsecs';
// @ts-expect-error `waitUntil` is an option, not a requirement.
verifier.verify('a.b.c', { waitUntil: () => undefined });
// @ts-expect-error This member does not exist.
verifier.verify('a.b.c', { alOf: ['invoices:read'] });

const usage = Usage.create({ issuer: 'https://issuer.example', clientId: 'a', clientSecret: 'b', interval: 60 });
verifier.verify('a.b.c').then((verdict) => usage.count(verdict, { route: 'GET /', place: { country: 'CH', asn: 1 } }));
export const reported: Promise<boolean> = usage.flush();
// @ts-expect-error A route is a text.
usage.count({} as Verdict, { route: 1 });

export const header: Record<string, unknown> | undefined = decodeUnverified('a.b.c')?.header;
