// Shows claims and header members in plain language. Values are set as text only, never as markup.

const NAMES = {
  claims: {
    iss: 'Issuer', sub: 'Subject: whom the token is about', aud: 'Audience: the APIs that may accept it',
    client_id: 'Client that requested it', exp: 'Expires', nbf: 'Not valid before', iat: 'Issued',
    jti: 'Token ID', scope: 'Scopes: the actions it allows', status: 'Location of its revocation status',
    cnf: 'Bound to the sender’s key or certificate', auth_time: 'Time of sign-in', acr: 'Authentication level', amr: 'Authentication methods',
  },
  header: {
    alg: 'Signature algorithm', kid: 'Key ID', typ: 'Type', jku: 'Key URL (never fetched)',
    jwk: 'Key in the header (never trusted)', x5u: 'Certificate URL (never fetched)',
    x5c: 'Certificate in the header (never trusted)',
  },
};
const DATES = ['exp', 'nbf', 'iat', 'auth_time'];

/** Returns definition list entries for the members of a header or of claims. */
export function rowsOf(members, kind) {
  const known = Object.keys(NAMES[kind]);
  const order = (name) => (known.includes(name) ? known.indexOf(name) : known.length);
  return Object.entries(members)
    .sort(([a], [b]) => order(a) - order(b) || a.localeCompare(b))
    .flatMap(([name, value]) => {
      const term = document.createElement('dt');
      const code = document.createElement('code');
      code.textContent = name;
      // Characters that change the direction of text affect this name alone.
      code.dir = 'auto';
      term.append(code, ` ${Object.hasOwn(NAMES[kind], name) ? NAMES[kind][name] : ''}`);
      const detail = document.createElement('dd');
      detail.append(...valueOf(name, value));
      return [term, detail];
    });
}

/** Updates every relative time, such as "in 4 min", below `root`. */
export function tick(root) {
  for (const span of root.querySelectorAll('[data-at]')) {
    span.textContent = relative(Number(span.dataset.at));
  }
}

function valueOf(name, value) {
  if (DATES.includes(name) && typeof value === 'number' && Math.abs(value) < 8.64e12) {
    const time = document.createElement('time');
    const date = new Date(value * 1000);
    time.dateTime = date.toISOString();
    time.textContent = date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
    const span = document.createElement('span');
    span.className = 'relative';
    span.dataset.at = String(value);
    span.textContent = relative(value);
    return [time, ' ', span];
  }
  if (name === 'scope' && typeof value === 'string') {
    return value.split(' ').filter(Boolean).map((scope) => {
      const chip = document.createElement('span');
      chip.className = 'chip';
      chip.textContent = scope;
      chip.dir = 'auto';
      return chip;
    });
  }
  const text = document.createElement('span');
  text.className = 'value';
  text.dir = 'auto';
  text.textContent = typeof value === 'string' ? value : JSON.stringify(value, null, 1);
  return [text];
}

function relative(seconds) {
  const distance = seconds - Date.now() / 1000;
  const units = [['d', 86_400], ['h', 3600], ['min', 60], ['s', 1]];
  const [unit, length] = units.find(([, size]) => Math.abs(distance) >= size) ?? ['s', 1];
  const count = Math.floor(Math.abs(distance) / length);
  return distance >= 0 ? `in ${count} ${unit}` : `${count} ${unit} ago`;
}
