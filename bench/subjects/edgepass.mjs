// This project's package. Peers look up no status: neither does this verifier here.

const options = ({ alg, jwks, issuer, audience }) =>
  ({ issuer, audience, jwks, algorithms: [alg], status: { mode: 'ignore' } });

/** What is set aside for behind the response gathers in `globalThis.pending`. */
export default function edgepass(setup, { Verifier }) {
  const verifier = Verifier.create({ ...options(setup), background: 'detach' });
  const host = { waitUntil: (work) => globalThis.pending?.push(work) };
  return async ({ text }) => (await verifier.verify(text, undefined, host)).accepted;
}

/** The same where nothing outlives a response, so that keys get no tables. */
export function withoutTables(setup, { Verifier }) {
  const verifier = Verifier.create({ ...options(setup), background: 'await' });
  return async ({ text }) => (await verifier.verify(text)).accepted;
}
