// The inspector: decodes what is pasted and asks the verifier what it is worth.

import { STEPS, Verifier, decodeUnverified } from './edgepass/lib/browser.js';
import { frameFetch } from './frame-fetch.js';
import { rowsOf, tick } from './claims-view.js';

const element = (id) => document.getElementById(id);
const token = element('token');
const problem = element('token-problem');
const result = element('result');

const STEP_TEXT = {
  parse: ['Well formed', 'Three base64url parts holding JSON objects'],
  policy: ['Of the expected kind', 'Type, algorithm and issuer'],
  key: ['Signed by a known key', 'A key of the issuer fits'],
  signature: ['Signature', 'Verifies under that key'],
  claims: ['Claims', 'Not expired, for this audience, nothing missing'],
  binding: ['Sender', 'Not bound to another sender'],
  scopes: ['Scopes', 'Grants what the API asks for'],
  status: ['Revocation', 'Looked up in the issuer’s status list'],
};

/** Counts changes: a verdict about what was there before is not shown. */
let edition = 0;

token.addEventListener('input', show);
element('form').addEventListener('input', () => {
  edition++;
  result.hidden = true;
});
element('clear').addEventListener('click', () => {
  token.value = '';
  show();
  token.focus();
});
element('form').addEventListener('submit', (event) => {
  event.preventDefault();
  verify({ fetch: frameFetch, status: { mode: 'when_present' } });
});
element('paste').addEventListener('click', () => {
  if (!element('form').reportValidity()) return;
  let jwks;
  try {
    jwks = JSON.parse(element('jwks').value);
    if (!Array.isArray(jwks?.keys)) throw new SyntaxError();
  } catch {
    announce('bad', 'That is no JWK Set: paste a JSON object with the member "keys".', null);
    return;
  }
  verify({ jwks, status: { mode: 'ignore' } });
});
show();
setInterval(() => tick(document), 1000);

/** Show what the token says, without believing it. */
function show() {
  edition++;
  const text = token.value.trim();
  const decoded = text === '' ? null : decodeUnverified(text);
  problem.hidden = text === '' || decoded !== null;
  problem.textContent = 'That is no signed token: it needs three base64url parts with two periods '
    + 'between them, each of the first two holding a JSON object without repeated names.';
  token.setAttribute('aria-invalid', String(!problem.hidden));
  element('decoded').hidden = element('verify').hidden = decoded === null;
  result.hidden = true;
  element('unverified').hidden = false;
  if (!decoded) return;
  const { header, claims } = decoded;
  element('claims').replaceChildren(...rowsOf(claims, 'claims'));
  element('header').replaceChildren(...rowsOf(header, 'header'));
  element('issuer').value = typeof claims.iss === 'string' ? claims.iss : '';
  const [audience] = [claims.aud].flat();
  element('audience').value = typeof audience === 'string' ? audience : '';
}

/** Judge the token and show every check in its order. */
async function verify(source) {
  const scopes = element('scopes').value.split(/\s+/).filter(Boolean);
  const asked = ++edition;
  document.body.setAttribute('aria-busy', 'true');
  try {
    const verifier = Verifier.create({
      issuer: element('issuer').value.trim(), audience: element('audience').value.trim(),
      background: 'detach', ...source,
    });
    const verdict = await verifier.verify(token.value.trim(), scopes.length > 0 ? { allOf: scopes } : {});
    if (asked !== edition) return;
    const text = verdict.accepted ? 'Accepted' : `Refused: ${verdict.message}`;
    announce(verdict.accepted ? 'good' : 'bad', text, verdict);
    element('unverified').hidden = verdict.accepted;
    element('steps').replaceChildren(...stepsOf(verdict, source.status.mode));
  } catch (error) {
    if (asked !== edition) return;
    announce('bad', `This cannot be checked: ${error.message}`, null);
  } finally {
    document.body.removeAttribute('aria-busy');
  }
}

function announce(kind, text, verdict) {
  const banner = element('verdict');
  banner.className = `banner ${kind}`;
  banner.replaceChildren(text);
  if (verdict?.code) {
    const code = document.createElement('code');
    code.textContent = verdict.code;
    banner.append(' ', code);
  }
  if (!verdict) element('steps').replaceChildren();
  result.hidden = false;
}

function stepsOf(verdict, mode) {
  let reached = true;
  return STEPS().map((step) => {
    const [name, what] = STEP_TEXT[step];
    let state = reached ? 'passed' : 'not reached';
    if (step === verdict.step) {
      state = 'failed';
      reached = false;
    } else if (reached && step === 'status' && !verdict.status) {
      state = mode === 'ignore' ? 'not checked' : 'no status in the token';
    }
    const item = document.createElement('li');
    item.dataset.state = state;
    const title = document.createElement('strong');
    title.textContent = name;
    const detail = document.createElement('span');
    detail.textContent = state === 'failed' ? verdict.message : what;
    const mark = document.createElement('em');
    mark.textContent = state;
    item.append(title, mark, detail);
    return item;
  });
}
