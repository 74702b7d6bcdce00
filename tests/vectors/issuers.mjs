// Signs the lines of issuers.jsonl: tokens shaped as those of common issuers, with their lifetimes,
// judged by the policies of docs/issuers.md, which are read from that page.
//
// Tokens in issued.jsonl were issued by the software itself: oidc-provider 9.13.3 and the JWT plugin of
// better-auth 1.7.25, on a test machine. They cannot be signed again.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { KEYS, jws, publicJwk, sha256, thumbprint } from './sign.mjs';

const T = 1_800_000_000;
const H = 3600;
const D = 24 * H;
const RSA = publicJwk(KEYS.rsa, { kid: 'k', alg: 'RS256', use: 'sig' });
const EC = publicJwk(KEYS.p256, { kid: 'k', alg: 'ES256', use: 'sig' });
const WITHOUT_ALG = publicJwk(KEYS.rsa, { kid: 'k', use: 'sig' });

/** The policies of the page, by the bold name above each, in the order of the page. */
const page = readFileSync(new URL('../../docs/issuers.md', import.meta.url), 'utf8').split('## Policies of common issuers')[1];
const policies = new Map();
let heading;
for (const [, bold, text] of page.matchAll(/^\*\*(.+?)\*\*|```json\n([\s\S]*?)```/gm)) {
  if (bold) heading = bold;
  else policies.set(heading, [...policies.get(heading) ?? [], JSON.parse(text)]);
}

const lines = [];
const used = new Set();
/** The policy of a batch line: that of the page without what a line has elsewhere, or not at all. */
function policyOf(name, index = 0, change = {}) {
  const own = policies.get(name)?.[index];
  assert.ok(own, `docs/issuers.md has no policy ${index} of ${name}`);
  const { jwks_uri: _, freshness: __, ...policy } = own;
  return Object.assign(JSON.parse(JSON.stringify({ ...policy, ...change })), { own });
}

/** Adds a line about a token of `life` seconds, which was issued a minute ago. */
function line(id, { own, ...policy }, claims, { life, nbf = null, header = { typ: 'JWT' }, key = 'rsa', code = null, jwks, request, age = 60 } = {}) {
  const times = life === undefined ? {} : { iat: T - age, exp: T - age + life, ...nbf !== null && { nbf: T - age - nbf } };
  const alg = key === 'rsa' ? 'RS256' : 'ES256';
  const token = jws({ alg, kid: 'k', ...header }, { ...claims, ...times }, key);
  if (code === null) used.add(own);
  lines.push({
    id: `issuer/${id}`, jwks: { keys: jwks ?? [key === 'rsa' ? RSA : EC] }, policy, now: T,
    ...request ? { request: request(token) } : { token },
    expect: { verdict: code === null ? 'accepted' : 'rejected', code, stale: false, fetched: [] },
  });
}
const scopes = (...all_of) => ({ required_scopes: { all_of } });
const BARE = { header: {} };

{
  const auth0 = policyOf('Auth0', 0, scopes('orders:read'));
  const user = {
    iss: auth0.issuer, sub: 'auth0|1', aud: ['https://api.example', `${auth0.issuer}userinfo`], azp: 'app',
    scope: 'openid profile', permissions: ['orders:read'],
  };
  const client = { iss: auth0.issuer, sub: 'app@clients', aud: 'https://api.example', azp: 'app', gty: 'client-credentials', scope: 'orders:read', permissions: ['orders:read'] };
  line('auth0-day', auth0, user, { life: D });
  line('auth0-client-credentials', auth0, client, { life: D });
  line('auth0-30-days', auth0, user, { life: 30 * D });
  line('auth0-31-days', auth0, user, { life: 31 * D, code: 'lifetime_exceeded' });
}
{
  const [access, id] = [policyOf('Amazon Cognito'), policyOf('Amazon Cognito', 1)];
  const common = { iss: access.issuer, sub: 'u', origin_jti: 'o', event_id: 'e', jti: 'j', auth_time: T - 60 };
  const ofAccess = { ...common, client_id: 'APP_CLIENT_ID', token_use: 'access', version: 2, scope: 'openid api/read', username: 'u', 'cognito:groups': ['g'] };
  const ofId = { ...common, aud: 'APP_CLIENT_ID', token_use: 'id', 'cognito:username': 'u', email: 'u@example.com', email_verified: true };
  line('cognito-hour', access, ofAccess, { life: H, ...BARE });
  line('cognito-day', access, ofAccess, { life: D, ...BARE });
  line('cognito-client-credentials', access, { ...ofAccess, sub: 'APP_CLIENT_ID', username: undefined, scope: 'api/read' }, { life: H, ...BARE });
  line('cognito-id', id, ofId, { life: H, ...BARE });
  line('cognito-id-for-access', access, ofId, { life: H, ...BARE, code: 'claim_missing' });
  line('cognito-access-for-id', id, ofAccess, { life: H, ...BARE, code: 'claim_missing' });
}
{
  const jwks = [WITHOUT_ALG];
  const [v2, v1, tenants] = [0, 1, 2].map((index) => policyOf('Microsoft Entra', index, scopes('Orders.Read')));
  const user = { aud: 'API_CLIENT_ID', iss: v2.issuer, aio: 'a', azp: 'app', azpacr: '0', name: 'U', oid: 'o', rh: 'r', scp: 'Orders.Read', sub: 's', tid: 'TENANT', uti: 'u', ver: '2.0' };
  const application = { ...user, scp: undefined, name: undefined, azpacr: '2', roles: ['Orders.Read'], sub: 'o' };
  const old = { ...user, aud: 'api://API_CLIENT_ID', iss: v1.issuer, azp: undefined, appid: 'app', unique_name: 'u', ver: '1.0' };
  const [tid] = tenants.tenants;
  const ofTenant = { ...application, tid, iss: tenants.issuer.replace('{tid}', tid) };
  line('entra-65-minutes', v2, user, { life: 3900, nbf: 0, jwks });
  line('entra-application-roles', v2, application, { life: 3900, nbf: 0, jwks });
  line('entra-managed-identity', v2, application, { life: 86_700, nbf: 0, jwks });
  line('entra-cae-28-hours', { ...v2, max_lifetime: '29h' }, { ...user, xms_cc: ['CP1'] }, { life: 28 * H + 300, nbf: 0, jwks });
  line('entra-cae-28-hours-by-default', v2, { ...user, xms_cc: ['CP1'] }, { life: 28 * H + 300, nbf: 0, jwks, code: 'lifetime_exceeded' });
  line('entra-v1', v1, old, { life: 3900, nbf: 0, jwks });
  line('entra-v1-for-v2', v2, old, { life: 3900, nbf: 0, jwks, code: 'issuer_mismatch' });
  line('entra-v1-managed-identity', v1, { ...old, scp: undefined, idtyp: 'app', roles: ['Orders.Read'] }, { life: 86_700, nbf: 0, jwks });
  line('entra-tenants', tenants, ofTenant, { life: 86_700, nbf: 0, jwks });
  line('entra-tenants-another', tenants, { ...ofTenant, tid: 'TENANT', iss: v2.issuer }, { life: 3900, nbf: 0, jwks, code: 'issuer_mismatch' });
  line('entra-tenants-of-another-iss', tenants, { ...ofTenant, tid: 'TENANT' }, { life: 3900, nbf: 0, jwks, code: 'issuer_mismatch' });
}
{
  const keycloak = policyOf('Keycloak', 0, scopes('reader'));
  const claims = {
    jti: 'trrtcc:1', iss: keycloak.issuer, aud: ['https://api.example', 'account'], sub: 'u', typ: 'Bearer', azp: 'app', sid: 's', acr: '1', 'allowed-origins': ['*'],
    realm_access: { roles: ['reader', 'offline_access'] }, resource_access: { account: { roles: ['view-profile'] } }, scope: 'email profile', email_verified: true, preferred_username: 'u',
  };
  line('keycloak-5-minutes', keycloak, claims, { life: 300 });
  line('keycloak-10-hours', keycloak, claims, { life: 10 * H });
  line('keycloak-id-token', keycloak, { ...claims, aud: 'https://api.example', typ: 'ID' }, { life: 300, code: 'claim_invalid' });
  line('keycloak-dpop', keycloak, { ...claims, typ: 'DPoP', cnf: { jkt: thumbprint('p256_client') } }, {
    life: 300,
    request: (token) => {
      const url = 'https://api.example/orders';
      const proof = jws({ typ: 'dpop+jwt', alg: 'ES256', jwk: publicJwk(KEYS.p256_client) }, { jti: 'proof-keycloak', htm: 'GET', htu: url, iat: T, ath: sha256(token) }, 'p256_client', 'ES256');
      return { method: 'GET', url, headers: [['Authorization', `DPoP ${token}`], ['DPoP', proof]] };
    },
  });
}
{
  const [user, service] = [policyOf('Cloudflare Access'), policyOf('Cloudflare Access', 1)];
  const ofUser = { aud: ['AUD_TAG'], email: 'user@example.com', iss: user.issuer, type: 'app', identity_nonce: 'n', sub: '7335d417-61da-459d-899c-0a01c76a2f94', country: 'US' };
  const ofService = { type: 'app', aud: ['AUD_TAG'], iss: user.issuer, common_name: 'CLIENT_ID.access', sub: '' };
  line('access-user-day', user, ofUser, { life: D, nbf: 0 });
  line('access-user-month', user, ofUser, { life: 730 * H, nbf: 0 });
  line('access-service-day', service, ofService, { life: D, ...BARE });
  line('access-service-30-days', service, ofService, { life: 30 * D });
  line('access-service-another', service, { ...ofService, common_name: 'OTHER.access' }, { life: D, code: 'claim_invalid' });
  line('access-organization-token', user, { ...ofUser, type: 'org' }, { life: D, code: 'claim_invalid' });
}
{
  const github = policyOf('GitHub Actions');
  const job = {
    jti: 'j', sub: 'repo:ORG/REPO:ref:refs/heads/main', aud: 'https://api.example', ref: 'refs/heads/main', sha: 's', repository: 'ORG/REPO', repository_owner: 'ORG', repository_id: '74',
    run_id: '1', actor: 'octocat', workflow: 'w', event_name: 'push', ref_type: 'branch', job_workflow_ref: 'ORG/REPO/.github/workflows/w.yml@refs/heads/main', iss: github.issuer,
  };
  line('github-actions', github, job, { life: 300, nbf: 600, header: { typ: 'JWT', x5t: 't' } });
  line('github-actions-of-another', github, { ...job, repository: 'EVIL/REPO' }, { life: 300, code: 'claim_invalid' });
}
{
  const gitlab = policyOf('GitLab CI');
  const job = { jti: 'j', iss: gitlab.issuer, sub: 'project_path:GROUP/PROJECT:ref_type:branch:ref:main', aud: 'https://api.example', namespace_path: 'GROUP', project_path: 'GROUP/PROJECT', project_id: '1', ref: 'main', ref_type: 'branch', ref_protected: 'true', pipeline_source: 'push', job_id: '1' };
  line('gitlab-hour', gitlab, job, { life: H, nbf: 5 });
  line('gitlab-two-hours', gitlab, job, { life: 2 * H, nbf: 5, code: 'lifetime_exceeded' });
  line('gitlab-tag', gitlab, { ...job, ref_type: 'tag' }, { life: H, code: 'claim_invalid' });
}
{
  const [cluster, eks] = [policyOf('Kubernetes'), policyOf('Amazon EKS')];
  const pod = { namespace: 'NAMESPACE', node: { name: 'n', uid: 'u' }, pod: { name: 'p', uid: 'u' }, serviceaccount: { name: 'NAME', uid: 'u' } };
  const claims = { aud: ['https://api.example'], iss: cluster.issuer, jti: 'j', sub: 'system:serviceaccount:NAMESPACE:NAME', 'kubernetes.io': pod };
  line('kubernetes-hour', cluster, claims, { life: H, nbf: 0, ...BARE });
  line('kubernetes-day', { ...cluster, max_lifetime: '24h' }, claims, { life: D, nbf: 0, ...BARE });
  line('kubernetes-year', cluster, claims, { life: 365 * D, nbf: 0, ...BARE, code: 'lifetime_exceeded' });
  line('kubernetes-secret', cluster, { iss: cluster.issuer, sub: claims.sub, aud: claims.aud, 'kubernetes.io/serviceaccount/namespace': 'NAMESPACE' }, { ...BARE, code: 'claim_missing' });
  line('eks-year', eks, { ...claims, iss: eks.issuer, aud: [eks.audience], 'kubernetes.io': { ...pod, warnafter: T + 3547 } }, { life: 365 * D, nbf: 0, ...BARE });
  line('eks-hour-for-this-api', { ...cluster, issuer: eks.issuer }, { ...claims, iss: eks.issuer }, { life: H, nbf: 0, ...BARE });
}
{
  const [user, account, iap] = [policyOf('Google'), policyOf('Google Cloud'), policyOf('Google Identity-Aware Proxy')];
  const ofAccount = { iss: account.issuer, aud: account.audience, azp: '1', sub: '1', email: account.expected_claims.email, email_verified: true };
  line('google-id', user, { iss: user.issuer, azp: user.audience, aud: user.audience, sub: '1', hd: 'example.com', email: 'u@example.com', email_verified: true }, { life: H });
  line('google-id-of-another-organization', user, { iss: user.issuer, aud: user.audience, sub: '1', email: 'u@gmail.com' }, { life: H, code: 'claim_missing' });
  line('google-cloud', account, { ...ofAccount, google: { compute_engine: { project_id: 'PROJECT', instance_id: '1', zone: 'z' } } }, { life: H });
  line('google-cloud-another', account, { ...ofAccount, email: 'x@evil.iam.gserviceaccount.com' }, { life: H, code: 'claim_invalid' });
  line('google-iap', iap, { iss: iap.issuer, aud: iap.audience, azp: iap.audience, sub: 'accounts.google.com:1', email: 'u@example.com', hd: 'example.com' }, { life: 600, key: 'p256' });
}
{
  const firebase = policyOf('Firebase');
  line('firebase', firebase, { iss: firebase.issuer, aud: 'PROJECT', auth_time: T - 60, user_id: 'u', sub: 'u', email: 'u@example.com', firebase: { identities: {}, sign_in_provider: 'password' } }, { life: H });
  const okta = policyOf('Okta', 0, scopes('orders:read'));
  line('okta-hour', okta, { ver: 1, jti: 'AT.1', iss: okta.issuer, aud: 'api://default', cid: 'app', uid: 'u', scp: ['openid', 'orders:read'], auth_time: T - 60, sub: 'u@example.com' }, { life: H, ...BARE });
  line('okta-day', okta, { ver: 1, jti: 'AT.1', iss: okta.issuer, aud: 'api://default', cid: 'app', scp: ['orders:read'], sub: 'app' }, { life: D, ...BARE });
  const supabase = policyOf('Supabase');
  const user = { iss: supabase.issuer, sub: 'u', aud: 'authenticated', email: 'u@example.com', phone: '', app_metadata: { provider: 'email' }, user_metadata: {}, role: 'authenticated', aal: 'aal1', amr: [{ method: 'password', timestamp: T - 60 }], session_id: 's', is_anonymous: false };
  line('supabase-hour', supabase, user, { life: H, key: 'p256' });
  line('supabase-week', supabase, user, { life: 7 * D, key: 'p256' });
  line('supabase-service-role', supabase, { ...user, role: 'service_role' }, { life: H, key: 'p256', code: 'claim_invalid' });
}
{
  const clerk = policyOf('Clerk');
  const session = { azp: clerk.audience, iss: clerk.issuer, fva: [7, -1], sid: 'sess_1', sts: 'active', sub: 'user_1', v: 2 };
  line('clerk', clerk, session, { life: 60, nbf: 10, age: 10, header: { typ: 'JWT', cat: 'cl_1' } });
  line('clerk-without-origin', clerk, { ...session, azp: undefined }, { life: 60, nbf: 10, age: 10, code: 'claim_missing' });
  const hydra = policyOf('Ory Hydra', 0, scopes('orders:read'));
  const ofHydra = { aud: ['https://api.example'], client_id: 'app', ext: {}, iss: hydra.issuer, jti: 'j', scp: ['orders:read'], sub: 'u' };
  line('hydra', hydra, ofHydra, { life: H, nbf: 0 });
  line('hydra-without-audience', hydra, { ...ofHydra, aud: [] }, { life: H, nbf: 0, code: 'claim_invalid' });
  const zitadel = policyOf('Zitadel');
  line('zitadel', zitadel, { iss: zitadel.issuer, sub: '1', aud: ['CLIENT_ID', 'PROJECT_ID'], jti: 'j', client_id: 'CLIENT_ID' }, { life: 12 * H, nbf: 0, ...BARE });
}

const issued = readFileSync(new URL('issued.jsonl', import.meta.url), 'utf8').trim().split('\n').map((text) => JSON.parse(text));
lines.push(...issued);
// Each policy of the page has judged a token that it accepts.
for (const [name, own] of policies) {
  for (const [index, policy] of own.entries()) {
    const isOfIssued = issued.some(({ policy: { issuer }, expect }) => issuer === policy.issuer && expect.code === null);
    assert.ok(used.has(policy) || isOfIssued, `docs/issuers.md: no token for policy ${index} of ${name}`);
  }
}
writeFileSync(new URL('issuers.jsonl', import.meta.url), `${lines.map((own) => JSON.stringify(own)).join('\n')}\n`);
console.log(`${lines.length} lines of issuers, ${[...policies.values()].flat().length} policies`);
