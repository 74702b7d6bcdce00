// This project's package. The other libraries look up no status, so the verifier does not either.

const options = ({ alg, jwks, issuer, audience }) =>
  ({ issuer, audience, jwks, algorithms: [alg], status: { mode: 'ignore' } });

/** Makes a verifier that collects its background work in `globalThis.pending`. */
export default function edgepass(setup, { Verifier }) {
  const verifier = Verifier.create({ ...options(setup), background: 'detach' });
  const host = { waitUntil: (work) => globalThis.pending?.push(work) };
  return async ({ text }) => (await verifier.verify(text, undefined, host)).accepted;
}

/** Makes a verifier without background work, so that keys get no tables. */
export function withoutTables(setup, { Verifier }) {
  const verifier = Verifier.create({ ...options(setup), background: 'await' });
  return async ({ text }) => (await verifier.verify(text)).accepted;
}
