// Verifiers that other people wrote, for Node.js. Each is set up as its own documentation says for a
// bearer token and a JWK Set URL, with checks of issuer and audience.
//
// A reader has `name`, `packages`, `needs` (what must be set or written beyond the plain example) and
// `open({ jwksUrl, issuer, audience }, helped)`, which returns a function from a token to its `sub`.
// `helped` means with what `needs` says. Readers without `needs` ignore it.
//
// ALGORITHMS replaces the list of the examples, which is mostly ['RS256'].

import { createPublicKey } from 'node:crypto';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const ALGORITHMS = ['EdDSA', 'Ed25519', 'ES256', 'RS256'];

/** Calls `middleware(req, res, next)` with a bearer token; resolves to the request. */
function through(middleware, token) {
  const headers = { authorization: `Bearer ${token}`, host: 'api.example' };
  const request = {
    method: 'GET', protocol: 'https', url: '/', query: {}, headers,
    get: (name) => headers[name.toLowerCase()], is: () => false,
  };
  return new Promise((resolve, reject) => {
    middleware(request, {}, (error) => (error ? reject(error) : resolve(request)));
  });
}

/** The key of a JWK as PEM, for libraries that take no JWK. */
const pem = (jwk) => createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'pem', type: 'spki' });

/** getPublicKey of get-jwks, or, if `helped`, a conversion that knows OKP. */
async function keySource(helped) {
  const { default: buildGetJwks } = await import('get-jwks');
  const source = buildGetJwks();
  return async (wanted) => (helped ? pem(await source.getJwk(wanted)) : source.getPublicKey(wanted));
}

export const READERS = [
  {
    name: 'jose', packages: ['jose'],
    async open({ jwksUrl, issuer, audience }) {
      const { createRemoteJWKSet, jwtVerify } = await import('jose');
      const keys = createRemoteJWKSet(new URL(jwksUrl));
      return async (token) => (await jwtVerify(token, keys, { issuer, audience })).payload.sub;
    },
  },
  {
    name: 'jose 4', packages: ['jose-4'],
    async open({ jwksUrl, issuer, audience }) {
      const { createRemoteJWKSet, jwtVerify } = await import('jose-4');
      const keys = createRemoteJWKSet(new URL(jwksUrl));
      return async (token) => (await jwtVerify(token, keys, { issuer, audience })).payload.sub;
    },
  },
  {
    name: 'oauth4webapi', packages: ['oauth4webapi'],
    async open({ jwksUrl, issuer, audience }) {
      const oauth = await import('oauth4webapi');
      const server = { issuer, jwks_uri: jwksUrl };
      return async (token) => {
        const request = new Request(audience, { headers: { authorization: `Bearer ${token}` } });
        const options = { [oauth.allowInsecureRequests]: true }; // http, which is only for loopback
        return (await oauth.validateJwtAccessToken(server, request, audience, options)).sub;
      };
    },
  },
  {
    name: 'express-oauth2-jwt-bearer', packages: ['express-oauth2-jwt-bearer'],
    async open({ jwksUrl, issuer, audience }) {
      const { auth } = await import('express-oauth2-jwt-bearer');
      const middleware = auth({ issuer, jwksUri: jwksUrl, audience });
      return async (token) => (await through(middleware, token)).auth.payload.sub;
    },
  },
  {
    name: 'hono/jwk', packages: ['hono'], needs: "`verification: { typ: 'at+jwt' }`",
    async open({ jwksUrl, issuer, audience }, helped) {
      const [{ Hono }, { jwk }] = await Promise.all([import('hono'), import('hono/jwk')]);
      const verification = { iss: issuer, aud: audience, ...(helped && { typ: 'at+jwt' }) };
      const app = new Hono();
      app.use(jwk({ jwks_uri: jwksUrl, alg: ALGORITHMS, verification }));
      app.get('/', (context) => context.text(context.get('jwtPayload').sub));
      app.onError((error) => { throw error.cause ?? error; });
      return async (token) => {
        const response = await app.request('/', { headers: { authorization: `Bearer ${token}` } });
        return response.text();
      };
    },
  },
  {
    name: 'aws-jwt-verify', packages: ['aws-jwt-verify'],
    async open({ jwksUrl, issuer, audience }) {
      const { JwtVerifier } = await import('aws-jwt-verify');
      const { SimpleJwksCache } = await import('aws-jwt-verify/jwk');
      // Its own fetcher knows https only. This one is for loopback.
      const fetcher = { fetch: async (url) => (await fetch(url)).arrayBuffer() };
      const jwksCache = new SimpleJwksCache({ fetcher });
      const verifier = JwtVerifier.create({ issuer, audience, jwksUri: jwksUrl }, { jwksCache });
      return async (token) => (await verifier.verify(token)).sub;
    },
  },
  {
    name: 'fast-jwt + get-jwks', packages: ['fast-jwt', 'get-jwks'],
    needs: '`getJwk` and Node’s `createPublicKey` instead of `getPublicKey`',
    async open({ issuer, audience }, helped) {
      const { createVerifier } = await import('fast-jwt');
      const getKey = await keySource(helped);
      const verify = createVerifier({
        key: ({ header: { kid, alg } }) => getKey({ kid, alg, domain: issuer }),
        allowedIss: issuer, allowedAud: audience,
      });
      return async (token) => (await verify(token)).sub;
    },
  },
  {
    name: '@fastify/jwt + get-jwks', packages: ['@fastify/jwt', 'get-jwks'],
    needs: '`getJwk` and Node’s `createPublicKey` instead of `getPublicKey`',
    async open({ issuer, audience }, helped) {
      const [{ default: Fastify }, { default: jwt }] =
        await Promise.all([import('fastify'), import('@fastify/jwt')]);
      const getKey = await keySource(helped);
      const app = Fastify();
      app.register(jwt, {
        decode: { complete: true },
        secret: (request, { header: { kid, alg } }) => getKey({ kid, alg, domain: issuer }),
        verify: { allowedIss: issuer, allowedAud: audience },
      });
      app.get('/', async (request) => {
        try {
          await request.jwtVerify();
        } catch (error) {
          return { error: error.message };
        }
        return { sub: request.user.sub };
      });
      return async (token) => {
        const headers = { authorization: `Bearer ${token}` };
        const { error, sub } = (await app.inject({ url: '/', headers })).json();
        if (error !== undefined) throw new Error(error);
        return sub;
      };
    },
  },
  {
    name: 'jsonwebtoken + jwks-rsa', packages: ['jsonwebtoken', 'jwks-rsa'],
    async open({ jwksUrl, issuer, audience }) {
      const jwt = require('jsonwebtoken');
      const client = require('jwks-rsa')({ jwksUri: jwksUrl });
      const getKey = (header, done) => {
        client.getSigningKey(header.kid, (error, key) => done(error, key?.getPublicKey()));
      };
      const options = { issuer, audience, algorithms: ALGORITHMS };
      return (token) => new Promise((resolve, reject) => {
        jwt.verify(token, getKey, options, (error, claims) => (error ? reject(error) : resolve(claims.sub)));
      });
    },
  },
  {
    name: 'express-jwt + jwks-rsa', packages: ['express-jwt', 'jwks-rsa'],
    async open({ jwksUrl, issuer, audience }) {
      const { expressjwt } = require('express-jwt');
      const secret = require('jwks-rsa').expressJwtSecret({
        cache: true, rateLimit: true, jwksRequestsPerMinute: 5, jwksUri: jwksUrl,
      });
      const middleware = expressjwt({ secret, issuer, audience, algorithms: ALGORITHMS });
      return async (token) => (await through(middleware, token)).auth.sub;
    },
  },
  {
    name: 'koa-jwt + jwks-rsa', packages: ['koa-jwt', 'jwks-rsa'],
    async open({ jwksUrl, issuer, audience }) {
      const secret = require('jwks-rsa').koaJwtSecret({ cache: true, jwksUri: jwksUrl });
      const middleware = require('koa-jwt')({ secret, issuer, audience, algorithms: ALGORITHMS, debug: true });
      return async (token) => {
        const context = {
          header: { authorization: `Bearer ${token}` }, state: {},
          throw(status, message) { throw new Error(message); },
        };
        await middleware(context, () => {});
        return context.state.user.sub;
      };
    },
  },
  {
    name: 'passport-jwt + jwks-rsa', packages: ['passport-jwt', 'jwks-rsa'],
    async open({ jwksUrl, issuer, audience }) {
      const { ExtractJwt, Strategy } = require('passport-jwt');
      const strategy = new Strategy({
        secretOrKeyProvider: require('jwks-rsa').passportJwtSecret({ cache: true, jwksUri: jwksUrl }),
        jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(),
        issuer, audience, algorithms: ALGORITHMS,
      }, (claims, done) => done(null, claims));
      return (token) => new Promise((resolve, reject) => {
        // What passport does for each request.
        const attempt = Object.create(strategy);
        attempt.success = (claims) => resolve(claims.sub);
        attempt.fail = reject;
        attempt.error = reject;
        attempt.authenticate({ headers: { authorization: `Bearer ${token}` } });
      });
    },
  },
  {
    name: '@hapi/jwt', packages: ['@hapi/jwt'],
    async open({ jwksUrl, issuer, audience }) {
      const [Hapi, Jwt] = [require('@hapi/hapi'), require('@hapi/jwt')];
      const server = Hapi.server();
      await server.register(Jwt);
      server.auth.strategy('bearer', 'jwt', {
        keys: { uri: jwksUrl },
        verify: { aud: audience, iss: issuer, sub: false },
        validate: ({ decoded }) => ({ isValid: true, credentials: { sub: decoded.payload.sub } }),
      });
      server.auth.default('bearer');
      server.route({ method: 'GET', path: '/', handler: ({ auth }) => auth.credentials.sub });
      let cause;
      server.events.on({ name: 'request', channels: 'internal' }, (request, { error }) => { cause = error; });
      await server.initialize();
      return async (token) => {
        const headers = { authorization: `Bearer ${token}` };
        const { statusCode, result } = await server.inject({ url: '/', headers });
        if (statusCode !== 200) throw cause ?? new Error(result.message);
        return result;
      };
    },
  },
  {
    name: '@tsndr/cloudflare-worker-jwt', packages: ['@tsndr/cloudflare-worker-jwt'],
    async open({ jwksUrl, issuer, audience }) {
      const { decode, verify } = await import('@tsndr/cloudflare-worker-jwt');
      // It fetches no JWK Set and compares no issuer and audience, so its user must.
      return async (token) => {
        const { header } = decode(token);
        const { keys } = await (await fetch(jwksUrl)).json();
        const key = keys.find(({ kid }) => kid === header.kid);
        if (key === undefined) throw new Error('no key with this kid');
        const { payload } = await verify(token, key, { algorithm: key.alg, throwError: true });
        if (payload.iss !== issuer || payload.aud !== audience) throw new Error('iss or aud');
        return payload.sub;
      };
    },
  },
];
