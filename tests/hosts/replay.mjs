// Replays vectors on a JavaScript host through the package, as its users import it.

/**
 * Judges every vector. Returns the number judged, the vectors with another outcome (`wrong`), and
 * the IDs of those whose refusal repeats a part of the token (`repeated`).
 */
export default async function replay({ Verifier }, file) {
  const sessions = new Map();
  const wrong = [];
  const repeated = [];
  for (const vector of file.vectors) {
    const { said, ...outcome } = await judge(Verifier, sessions, vector, file.defaults);
    const confided = (vector.token ?? vector.authorization ?? '').split(/[ .]/);
    if (confided.some((part) => part.length >= 16 && said.includes(part))) repeated.push(vector.id);
    if (JSON.stringify(outcome) !== JSON.stringify(inOrder(vector.expect))) {
      wrong.push({ id: vector.id, outcome, expected: vector.expect });
    }
  }
  return { judged: file.vectors.length, wrong, repeated };
}

async function judge(Verifier, sessions, vector, defaults) {
  const fetched = [];
  const responses = vector.responses ?? defaults.responses;
  const source = {
    fetch: async (url) => {
      fetched.push(url);
      const { status, headers, body } = responses[url] ?? {};
      if (status === undefined) throw new TypeError('unreachable');
      return new Response(status === 304 ? null : body, { status, headers });
    },
  };
  let held = vector.session && sessions.get(vector.session);
  if (!held) {
    held = { source };
    held.verifier = Verifier.create({
      ...options(vector.policy), jwks: keys(vector, defaults), cache: 'none', background: 'await',
      fetch: (url, init) => held.source.fetch(url, init),
    });
    if (vector.session) sessions.set(vector.session, held);
  }
  held.source = source;
  const { all_of, any_of, audience, stale_if_error } = vector.demand ?? {};
  const input = 'authorization' in vector ? request(vector.authorization) : vector.token;
  const verdict = await held.verifier.verify(input, {
    allOf: all_of, anyOf: any_of, audience, staleIfError: stale_if_error,
  }, { now: vector.now });
  return {
    ...inOrder({
      accepted: verdict.accepted, code: verdict.code, stale: verdict.stale,
      fetched: vector.expect.fetched && fetched,
    }),
    said: verdict.accepted ? '' : await everything(verdict),
  };
}

/** Everything that a refusal tells the program and the client, as one text. */
async function everything(verdict) {
  const response = verdict.toResponse();
  return [JSON.stringify(verdict), ...[...response.headers].flat(), await response.text()].join('\n');
}

const inOrder = ({ accepted, code, stale, fetched }) => ({ accepted, code, stale, fetched });

function keys(vector, defaults) {
  if (vector.discover) return undefined;
  return vector.jwks_uri ?? vector.jwks ?? defaults.jwks;
}

function request(authorization) {
  const headers = authorization === null ? {} : { authorization };
  return new Request('https://api.example/', { headers });
}

/** Renames the policy's members to the package's options: snake_case to camelCase. */
function options(value) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [
    name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()), options(inner),
  ]));
}
