// The inspector: decodes a pasted token and has the verifier check it.

import { STEPS, Verifier, decodeUnverified } from './edgepass/lib/inline.js';
import { frameFetch } from './frame-fetch.js';
import { rowsOf, tick } from './claims-view.js';

const element = (id) => document.getElementById(id);
const token = element('token');
const problem = element('token-problem');
const result = element('result');

const STEP_TEXT = {
  parse: ['Format', 'Three base64url parts; header and claims are JSON objects'],
  policy: ['Type', 'Type, algorithm and issuer as expected'],
  key: ['Key', 'The issuer has a key that fits'],
  signature: ['Signature', 'Valid under that key'],
  claims: ['Claims', 'Complete, not expired, for this audience'],
  binding: ['Sender', 'Not bound to another sender’s key'],
  scopes: ['Scopes', 'Includes the scopes that the API requires'],
  status: ['Revocation', 'Looked up in the issuer’s status list'],
};

/** Number of input changes. A verdict on an earlier input is not shown. */
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
    announce('bad', 'This is not a JWK Set: paste a JSON object with the member "keys".', null);
    return;
  }
  verify({ jwks, status: { mode: 'ignore' } });
});
show();
setInterval(() => tick(document), 1000);

/** Shows the decoded token, marked as unverified. */
function show() {
  edition++;
  const text = token.value.trim();
  const decoded = text === '' ? null : decodeUnverified(text);
  problem.hidden = text === '' || decoded !== null;
  problem.textContent = 'This is not a signed token: it needs three base64url parts separated by periods. The first '
    + 'two must each be a JSON object without repeated names.';
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

/** Verifies the token and shows each step in its order. */
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
    announce('bad', `The token could not be checked: ${error.message}`, null);
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
