// A program that uses the package, for the type checker. It is never run.

import { Verifier, decodeUnverified, type Status, type Verdict } from 'edgepass';

const verifier = Verifier.create({
  issuer: 'https://issuer.example', audience: ['https://api.example'], algorithms: ['EdDSA'],
  jwks: 'https://issuer.example/.well-known/jwks.json', cache: 'cache-api',
  freshness: { deadline: '10s' }, status: { mode: 'when_present' },
});

export async function handle(request: Request, waitUntil: (work: Promise<unknown>) => void) {
  const verdict: Verdict = await verifier.verify(request, { allOf: ['invoices:read'], waitUntil });
  if (!verdict.accepted) return verdict.toResponse();
  const status: Status | null = verdict.status;
  const subject: unknown = verdict.claims?.sub;
  return new Response(JSON.stringify({ subject, stale: verdict.stale, value: status?.value }));
}

// @ts-expect-error An audience must be stated.
Verifier.create({ issuer: 'https://issuer.example' });
// @ts-expect-error A duration is a string with a unit.
Verifier.create({ issuer: 'https://issuer.example', audience: 'a', leeway: 10 });

export const header: Record<string, unknown> | undefined = decodeUnverified('a.b.c')?.header;
