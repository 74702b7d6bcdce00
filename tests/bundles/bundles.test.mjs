// The package, bundled and run by each bundler, runtime and test runner: real builds of one small
// program, with the defaults of each tool.
//
// EDGEPASS_TARBALL is the packed package, EDGEPASS_CHROMIUM the browser's program. The tools are in
// node_modules beside this file. With EDGEPASS_WRITE=1 the table in docs/bundlers.md is written,
// else compared.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import test, { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { launch } from '../hosts/browser.mjs';
import { serveFolder } from '../stage/files.mjs';
import { freePort, listen } from '../stage/ports.mjs';
import { startWorkers } from '../stage/workerd.mjs';
import { KEYS, jws, publicJwk } from '../vectors/sign.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');
const tools = join(here, 'node_modules');
const bin = (name) => join(tools, '.bin', name);
const require = createRequire(join(here, 'package.json'));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { EDGEPASS_TARBALL: tarball } = process.env;

/** The folder of all programs. The package is installed into it, as its users do. */
const target = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'bundles');
rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
writeFileSync(join(target, 'package.json'), '{ "private": true, "type": "module" }\n');
const run = async (program, argv, options = {}) => {
  try {
    return (await promisify(execFile)(program, argv, { encoding: 'utf8', timeout: 240_000, maxBuffer: 1 << 26, ...options })).stdout;
  } catch (error) {
    throw new Error(`${program} ${argv.join(' ')}: ${error.message}\n${error.stdout}\n${error.stderr}`);
  }
};
await run('npm', ['install', '--silent', '--ignore-scripts', '--offline', tarball], { cwd: target });

/** What the program judges: a good token of each kind of key, and one that is forged. */
const now = Math.floor(Date.now() / 1000);
const claims = { iss: 'https://issuer.example', aud: 'api', iat: now - 5, exp: now + 3600 };
const ed25519 = jws({ alg: 'EdDSA', kid: 'ed' }, claims);
const rsa = jws({ alg: 'RS256', kid: 'rsa' }, claims, 'rsa', 'RS256');
const DATA = JSON.stringify({
  options: {
    profile: 'jwt', issuer: claims.iss, audience: 'api', typ: null, status: { mode: 'ignore' },
    jwks: { keys: [publicJwk(KEYS.ed25519, { kid: 'ed', alg: 'EdDSA' }), publicJwk(KEYS.rsa, { kid: 'rsa', alg: 'RS256' })] },
  },
  tokens: [ed25519, rsa, `${ed25519.slice(0, -8)}AAAAAAAA`],
});
const EXPECTED = '["accepted","accepted","signature_invalid","a***@example.com"]';

/** Judges tokens, and with `masks` masks an answer. */
const judging = (masks) => `
const data = ${DATA};
async function judge() {
  const verifier = Verifier.create(data.options);
  const verdicts = await Promise.all(data.tokens.map((token) => verifier.verify(token)));
  const codes = verdicts.map((verdict) => verdict.code ?? 'accepted');
  ${masks ? MASKING : ''}
  return JSON.stringify(codes);
}`;
const MASKING = `
  const mask = Mask.create({ rules: [{ fields: ['$.email'], with: 'email' }] });
  const response = new Response('{"email":"ada@example.com"}', { headers: { 'content-type': 'application/json' } });
  codes.push((await (await mask.response(response, verdicts[0])).json()).email);`;
const JUDGE = judging(true);
const IMPORTS = `import { Verifier } from 'edgepass';\nimport { Mask } from 'edgepass/mask';`;
const REQUIRES = `const { Verifier } = require('edgepass');\nconst { Mask } = require('edgepass/mask');`;
/** Programs: for a terminal, for a page, for a handler. */
const TERMINAL = `${IMPORTS}${JUDGE}\njudge().then((outcome) => console.log(outcome));`;
const PAGE = `${IMPORTS}${JUDGE}
judge().then((outcome) => { globalThis.outcome = outcome; }, (error) => { globalThis.outcome = String(error); });`;
const COMMON = `${REQUIRES}${JUDGE}\njudge().then((outcome) => console.log(outcome));`;
const HTML = (src, type = 'module') => `<!doctype html><link rel="icon" href="data:,"><script ${type && `type="${type}"`} src="${src}"></script>`;

function folder(name, files) {
  const path = join(target, name);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(path, file)), { recursive: true });
    writeFileSync(join(path, file), text);
  }
  return path;
}

let browser;
after(() => browser?.close());
/** Opens a page and returns what its program says. */
async function visit(url) {
  browser ??= await launch();
  const tab = await browser.newPage();
  const problems = [];
  tab.on('pageerror', (error) => problems.push(error.message));
  try {
    await tab.goto(url);
    await tab.waitForFunction(() => globalThis.outcome, undefined, { timeout: 60_000 })
      .catch((error) => { throw new Error(`${error.message} ${problems}`); });
    return await tab.evaluate(() => globalThis.outcome);
  } finally {
    await tab.close();
  }
}
async function visitFolder(t, path) {
  const server = createServer(serveFolder(path));
  const url = await listen(server);
  t.after(() => server.close());
  return visit(url);
}
const node = async (file, ...argv) => (await run(process.execPath, [...argv, file])).trim();

const rows = [];
/** A cell of the table: builds and runs the program, and compares what it says. */
function cell(tool, form, where, check) {
  test(`${tool}: ${form}, in ${where}`, async (t) => {
    assert.equal((await check(t)).trim(), EXPECTED);
    rows.push([tool, form, where]);
  });
}
const version = (name) => JSON.parse(readFileSync(join(tools, name, 'package.json'))).version;

// --- without a bundler ------------------------------------------------------------------------
// The oldest version that package.json claims. It is the program alone, from npm.
const oldest = join(tools, 'node-20/bin/node');
for (const [form, name, text] of [['`import`', 'main.mjs', TERMINAL], ['`require`', 'main.cjs', COMMON]]) {
  cell(`Node.js ${version('node-20')}`, form, 'Node.js', () => run(oldest, [join(folder(`node-20-${name}`, { [name]: text }), name)]));
}
cell('Node.js', '`import`', 'Node.js', () => node(join(folder('node-esm', { 'main.mjs': TERMINAL }), 'main.mjs')));
cell('Node.js', '`require`', 'Node.js', () => node(join(folder('node-cjs', { 'main.cjs': COMMON }), 'main.cjs')));
const deno = { ...process.env, DENO_DIR: join(target, 'deno') };
cell(`Deno ${version('deno')}`, '`import`, without any permission', 'Deno', () => run(bin('deno'), [
  'run', '--no-prompt', '--node-modules-dir=manual', join(folder('deno', { 'main.mjs': TERMINAL }), 'main.mjs'),
], { env: deno, cwd: target }));
test('in Deno a key of RSA above 4,096 bits is left out of its set, and one of 4,096 is used', async () => {
  const key = (name) => publicJwk(KEYS[name], { kid: name, alg: 'RS256' });
  const program = `import { Verifier } from 'edgepass';
    const verifier = Verifier.create(${JSON.stringify({ ...JSON.parse(DATA).options, jwks: { keys: [key('rsa_8192'), key('rsa_4095')] } })});
    for (const token of ${JSON.stringify(['rsa_8192', 'rsa_4095'].map((name) => jws({ alg: 'RS256', kid: name }, claims, name, 'RS256')))}) {
      console.log((await verifier.verify(token)).code);
    }`;
  const file = join(folder('deno-rsa', { 'main.mjs': program }), 'main.mjs');
  const said = await run(bin('deno'), ['run', '--no-prompt', '--node-modules-dir=manual', file], { env: deno, cwd: target });
  assert.deepEqual(said.trim().split('\n'), ['key_not_found', 'null']);
  assert.deepEqual((await node(file)).split('\n'), ['null', 'null']);
});
const bun = join(tools, '@oven/bun-linux-x64/bin/bun');
cell(`Bun ${version('bun')}`, '`import`', 'Bun', () => run(bun, ['run', join(folder('bun-esm', { 'main.mjs': TERMINAL }), 'main.mjs')]));
cell(`Bun ${version('bun')}`, '`require`', 'Bun', () => run(bun, ['run', join(folder('bun-cjs', { 'main.cjs': COMMON }), 'main.cjs')]));

const inFile = (name) => JSON.stringify(pathToFileURL(join(root, 'tests', name)));
const VECTORS = `import * as edgepass from 'edgepass';
  import { readFileSync } from 'node:fs';
  import replay from ${inFile('hosts/replay.mjs')};
  import ed25519 from ${inFile('hosts/ed25519.mjs')};
  const data = (name) => JSON.parse(readFileSync(new URL(name, ${inFile('vectors/')})));
  const { judged, wrong } = await replay(edgepass, data('verify.json'));
  const equation = await ed25519(edgepass, data('ed25519.json'));
  const text = readFileSync(new URL('field.jsonl', ${inFile('vectors/')}), 'utf8');
  const lines = text.trim().split('\\n').filter((line) => line.startsWith('{"id":"rsa/')).map((line) => JSON.parse(line));
  const answers = await edgepass.verifyBatch(lines);
  const rsa = lines.map(({ id, expect }, at) => [id, expect.code, answers[at].code]);
  console.log(JSON.stringify({ judged, wrong, equation, rsa }));
  globalThis.process.exit(0);`;
for (const [name, argv] of Object.entries({
  Bun: [bun, 'run'], Deno: [bin('deno'), 'run', '--no-prompt', `--allow-read=${root}`, '--node-modules-dir=manual'],
})) {
  test(`${name}: every vector gives its verdict and code, by node:crypto as well`, async () => {
    const file = join(folder(`vectors-${name}`, { 'main.mjs': VECTORS }), 'main.mjs');
    const [program, ...rest] = argv;
    const { judged, wrong, equation, rsa } = JSON.parse(await run(program, [...rest, file], { env: deno, cwd: target }));
    assert.ok(judged > 250, `only ${judged} vectors`);
    assert.deepEqual(wrong, []);
    // Moduli of 2,049, 2,051, 2,055 and 4,095 bits, and numbers with leading zeros.
    assert.ok(rsa.length >= 20);
    for (const [id, expected, code] of rsa) assert.equal(code, expected, id);
    assert.deepEqual(equation.accepted, [null]);
    const { accepted, tableBytes, ...others } = equation;
    for (const [kind, codes] of Object.entries(others)) assert.deepEqual(codes, ['signature_invalid'], kind);
  });
}

// --- esbuild -----------------------------------------------------------------------------------
const esbuilt = async (name, options, files = {}) => {
  const { build } = await load('esbuild');
  const path = folder(name, { 'in.js': options.platform === 'browser' ? PAGE : TERMINAL, ...files });
  const { errors, warnings } = await build({ entryPoints: [join(path, 'in.js')], bundle: true, logLevel: 'silent', ...options, outfile: join(path, options.outfile) });
  assert.deepEqual([errors, warnings.map(({ text }) => text)], [[], []]);
  return path;
};
const esbuild = `esbuild ${version('esbuild')}`;
cell(esbuild, 'CommonJS', 'Node.js', async () => node(join(await esbuilt('esbuild-cjs', { platform: 'node', format: 'cjs', outfile: 'out.cjs' }), 'out.cjs')));
cell(esbuild, 'ES module', 'Node.js', async () => node(join(await esbuilt('esbuild-esm', { platform: 'node', format: 'esm', outfile: 'out.mjs' }), 'out.mjs')));
cell(esbuild, 'ES module, minified', 'Chromium', async (t) => visitFolder(t, await esbuilt('esbuild-browser', { platform: 'browser', format: 'esm', minify: true, outfile: 'out.js' }, { 'index.html': HTML('out.js') })));
cell(esbuild, '`iife`', 'Chromium', async (t) => visitFolder(t, await esbuilt('esbuild-iife', { platform: 'browser', format: 'iife', outfile: 'out.js' }, { 'index.html': HTML('out.js', '') })));

// --- webpack, Rollup, Vite, Parcel, Bun ----------------------------------------------------------
const webpacked = async (name, options, files) => {
  const { default: webpack } = await load('webpack');
  const path = folder(name, files);
  const stats = await promisify(webpack)({ mode: 'production', context: path, entry: './in.js', output: { path, filename: 'out.cjs' }, performance: false, ...options });
  assert.equal(stats.hasErrors(), false, stats.toString());
  return path;
};
cell(`webpack ${version('webpack')}`, '`target: "node"`', 'Node.js', async () => node(join(await webpacked('webpack-node', { target: 'node' }, { 'in.js': TERMINAL }), 'out.cjs')));
cell(`webpack ${version('webpack')}`, '`target: "web"`', 'Chromium', async (t) => visitFolder(t, await webpacked('webpack-web', { target: 'web', output: { path: join(target, 'webpack-web'), filename: 'out.js' } }, { 'in.js': PAGE, 'index.html': HTML('out.js', '') })));
const rolled = async (name, options, files) => {
  const [{ rollup }, { default: resolve }] = [await load('rollup'), await load('@rollup/plugin-node-resolve')];
  const path = folder(name, files);
  const bundle = await rollup({ input: join(path, 'in.js'), plugins: [resolve(options)], onwarn: ({ message }) => { throw new Error(message); } });
  await bundle.write({ file: join(path, 'out.mjs'), format: 'es' });
  return path;
};
cell(`Rollup ${version('rollup')}`, 'ES module', 'Node.js', async () => node(join(await rolled('rollup-node', {}, { 'in.js': TERMINAL }), 'out.mjs')));
cell(`Rollup ${version('rollup')}`, 'ES module', 'Chromium', async (t) => visitFolder(t, await rolled('rollup-browser', { browser: true }, { 'in.js': PAGE, 'index.html': HTML('out.mjs') })));
for (const major of [6, 7, 8]) {
  const name = `vite-${major}`;
  const site = (kind) => folder(`${name}-${kind}`, { 'main.js': PAGE, 'index.html': HTML('/main.js') });
  cell(`Vite ${version(name)}`, '`vite build`', 'Chromium', async (t) => {
    const { build } = await load(name);
    const path = site('build');
    await build({ root: path, logLevel: 'error', configFile: false });
    return visitFolder(t, join(path, 'dist'));
  });
  cell(`Vite ${version(name)}`, 'development server', 'Chromium', async (t) => {
    const { createServer: serve } = await load(name);
    const server = await serve({ root: site('dev'), logLevel: 'error', configFile: false, server: { host: '127.0.0.1', port: 0 } });
    t.after(() => server.close());
    await server.listen();
    return visit(`http://127.0.0.1:${server.httpServer.address().port}/`);
  });
}
// By default Parcel does not look into `exports`, and finds the main entry alone.
cell(`Parcel ${version('parcel')}`, 'page', 'Chromium', async (t) => {
  const page = PAGE.replace(IMPORTS, () => "import { Verifier } from 'edgepass';").replace(JUDGE, () => judging(false));
  const path = folder('parcel', { 'main.js': page, 'index.html': HTML('./main.js') });
  await run(bin('parcel'), ['build', 'index.html', '--no-cache', '--no-source-maps', '--public-url', './', '--dist-dir', 'dist'], { cwd: path });
  assert.equal(await visitFolder(t, join(path, 'dist')), EXPECTED.replace(',"a***@example.com"', ''));
  return EXPECTED;
});
cell(`Bun ${version('bun')}`, '`bun build --target=node`', 'Node.js', async () => {
  const path = folder('bun-node', { 'in.js': TERMINAL });
  await run(bun, ['build', 'in.js', '--target=node', '--outfile=out.mjs'], { cwd: path });
  return node(join(path, 'out.mjs'));
});
cell(`Bun ${version('bun')}`, '`bun build`', 'Chromium', async (t) => {
  const path = folder('bun-browser', { 'in.js': PAGE, 'index.html': HTML('out.js') });
  await run(bun, ['build', 'in.js', '--outfile=out.js'], { cwd: path });
  return visitFolder(t, path);
});

// --- frameworks and platforms --------------------------------------------------------------------
test('Next.js', async (t) => {
  const route = (runtime) => `${IMPORTS}${JUDGE}
    export const runtime = '${runtime}';
    export const dynamic = 'force-dynamic';
    export async function GET() { return new Response(await judge()); }`;
  const path = folder('next', {
    'package.json': '{ "private": true }', 'next.config.mjs': `export default { turbopack: { root: '/' }, outputFileTracingRoot: '/' };`,
    'app/layout.js': 'export default function Layout({ children }) { return <html><body>{children}</body></html>; }',
    'app/page.js': `'use client';\nimport { useEffect } from 'react';\n${PAGE.replace("judge().then", 'const start = () => judge().then')}\nexport default function Page() { useEffect(() => { start(); }, []); return null; }`,
    'app/node/route.js': route('nodejs'), 'app/edge/route.js': route('edge'),
  });
  mkdirSync(join(path, 'node_modules'), { recursive: true });
  for (const name of ['next', 'react', 'react-dom', '@next', '@swc', 'styled-jsx', 'scheduler', 'client-only', 'postcss', 'caniuse-lite', 'nanoid', 'picocolors', 'source-map-js', 'tslib', 'baseline-browser-mapping', '@img', 'sharp', 'detect-libc', 'semver']) {
    try {
      cpSync(join(tools, name), join(path, 'node_modules', name), { recursive: true });
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
  }
  cpSync(join(target, 'node_modules/edgepass'), join(path, 'node_modules/edgepass'), { recursive: true });
  const env = { ...process.env, NEXT_TELEMETRY_DISABLED: '1' };
  const next = join(path, 'node_modules/next/dist/bin/next');
  await run(process.execPath, [next, 'build'], { cwd: path, env });
  const port = await freePort();
  const started = spawn(process.execPath, [next, 'start', '--port', String(port), '--hostname', '127.0.0.1'], { cwd: path, env, stdio: 'pipe' });
  t.after(() => started.kill());
  const base = `http://127.0.0.1:${port}`;
  const get = async (at) => {
    for (let tries = 0; ; tries += 1) {
      try {
        return await (await fetch(base + at)).text();
      } catch (error) {
        if (tries > 100) throw error;
        await sleep(100);
      }
    }
  };
  assert.equal(await get('/node'), EXPECTED);
  assert.equal(await get('/edge'), EXPECTED);
  assert.equal(await visit(`${base}/`), EXPECTED);
  const name = `Next.js ${version('next')}`;
  rows.push([name, 'route, `runtime = "nodejs"`', 'Node.js'], [name, 'route, `runtime = "edge"`', 'edge runtime'], [name, 'client component', 'Chromium']);
});
const wrangler = JSON.parse(readFileSync(join(root, 'node_modules/wrangler/package.json'))).version;
cell(`wrangler ${wrangler}`, '`wrangler deploy`', 'workerd', async (t) => {
  const path = folder('wrangler', {
    'index.js': `${IMPORTS}${JUDGE}\nexport default { fetch: async () => new Response(await judge()) };`,
    'wrangler.toml': 'name = "w"\nmain = "index.js"\ncompatibility_date = "2026-10-01"\n',
  });
  await run(process.execPath, [join(root, 'node_modules/wrangler/bin/wrangler.js'), 'deploy', '--dry-run', '--outdir', 'out'], {
    cwd: path, env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' },
  });
  const out = join(path, 'out');
  const modules = readdirSync(out).filter((file) => /\.(js|wasm)$/.test(file)).sort((a) => (a.endsWith('.js') ? -1 : 1))
    .map((file) => ({ type: file.endsWith('.js') ? 'ESModule' : 'CompiledWasm', path: join(out, file) }));
  assert.equal(modules.length, 3, 'the Wasm modules stay files of their own');
  const { url, stop } = await startWorkers([{ name: 'w', modulesRoot: out, modules }]);
  t.after(stop);
  return (await fetch(url)).text();
});
cell(`aws-lambda-ric ${version('aws-lambda-ric')}`, 'zip as AWS CDK and SAM make it', 'Lambda\'s runtime interface client', async (t) => {
  const path = await esbuilt('lambda', { platform: 'node', target: 'node22', format: 'cjs', minify: true, outfile: 'index.js' }, {
    'in.js': `${IMPORTS}${JUDGE}\nexport const handler = async () => ({ outcome: await judge() });`,
    'package.json': '{ "type": "commonjs" }',
  });
  let answered;
  const answer = new Promise((resolve) => { answered = resolve; });
  let asked = 0;
  const server = createServer(async (request, response) => {
    if (request.url.endsWith('/invocation/next')) {
      if (asked++ > 0) return; // Like the service, waits for the next event.
      response.setHeader('lambda-runtime-aws-request-id', '1');
      response.setHeader('lambda-runtime-deadline-ms', String(Date.now() + 30_000));
      response.setHeader('lambda-runtime-invoked-function-arn', 'arn:aws:lambda:eu-west-1:000000000000:function:f');
      response.end('{}');
      return;
    }
    let text = '';
    for await (const chunk of request) text += chunk;
    answered(text);
    response.writeHead(202).end('{}');
  });
  const { host } = new URL(await listen(server));
  // The native part of the client, which posts results, needs cmake and a C++ compiler to be built.
  // This one posts them by Node's HTTP client.
  const client = folder('lambda-ric', {
    'rapid-client.node': '', 'post.cjs': `
      const post = (path, body) => fetch('http://${host}/2018-06-01/runtime/invocation/' + path, { method: 'POST', body });
      require('node:module')._extensions['.node'] = (module) => {
        module.exports = { done: (id, body) => post(id + '/response', body), error: (id, body) => post(id + '/error', body) };
      };`,
  });
  cpSync(join(tools, 'aws-lambda-ric/index.mjs'), join(client, 'index.mjs'));
  const ric = spawn(process.execPath, ['--require', join(client, 'post.cjs'), join(client, 'index.mjs'), 'index.handler'], {
    cwd: path, stdio: 'inherit',
    env: { ...process.env, AWS_LAMBDA_NODEJS_USE_ALTERNATIVE_CLIENT_1: 'true', AWS_LAMBDA_RUNTIME_API: host, LAMBDA_TASK_ROOT: path, _HANDLER: 'index.handler', AWS_LAMBDA_FUNCTION_NAME: 'f', AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '128', AWS_LAMBDA_FUNCTION_VERSION: '1', AWS_LAMBDA_LOG_GROUP_NAME: 'g', AWS_LAMBDA_LOG_STREAM_NAME: 's' },
  });
  t.after(() => { ric.kill(); server.closeAllConnections(); server.close(); });
  const text = await Promise.race([answer, sleep(60_000, 'no answer')]);
  return JSON.parse(text).outcome ?? text;
});

// --- test runners ----------------------------------------------------------------------------------
cell(`Jest ${version('jest')}`, 'defaults', 'Node.js', async () => {
  const path = folder('jest', {
    'package.json': '{ "private": true }',
    'a.test.js': `${REQUIRES}${JUDGE}\ntest('it judges', async () => { expect(await judge()).toBe('${EXPECTED}'); });`,
  });
  await run(process.execPath, [bin('jest'), '--rootDir', path], { cwd: path });
  return EXPECTED;
});
cell(`Vitest ${version('vitest')}`, 'defaults', 'Node.js', async () => {
  const path = folder('vitest', {
    'a.test.js': `import { expect, test } from '${pathToFileURL(join(tools, 'vitest/dist/index.js'))}';\n${IMPORTS}${JUDGE}\ntest('it judges', async () => { expect(await judge()).toBe('${EXPECTED}'); });`,
  });
  await run(process.execPath, [bin('vitest'), 'run', '--root', path], { cwd: path });
  return EXPECTED;
});

// --- types -------------------------------------------------------------------------------------------
const PROGRAM = `import { Verifier, init, type Verdict } from 'edgepass';
import { Verifier as Other } from 'edgepass/inline';
import { init as start } from 'edgepass/external';
export const verifier: Verifier = Verifier.create({ issuer: 'https://issuer.example', audience: 'api' });
export const other: Other = verifier;
export async function judge(token: string): Promise<string | null> {
  await init();
  await start(new Uint8Array());
  const verdict: Verdict = await verifier.verify(token);
  return verdict.accepted ? verdict.claims.sub ?? null : verdict.code;
}
`;
for (const [form, type, options] of [
  ['`bundler`', 'module', { module: 'esnext', moduleResolution: 'bundler' }],
  ['`node16`, ES module', 'module', { module: 'node16' }], ['`node16`, CommonJS', 'commonjs', { module: 'node16' }],
  ['`nodenext`, ES module', 'module', { module: 'nodenext' }], ['`nodenext`, CommonJS', 'commonjs', { module: 'nodenext' }],
]) {
  cell(`TypeScript ${version('typescript')}`, `\`moduleResolution\` ${form}`, 'type check', async () => {
    const path = folder(`tsc-${form.replaceAll(/[^a-z0-9]+/gi, '-')}`, {
      'package.json': JSON.stringify({ type }), 'main.ts': PROGRAM,
      'tsconfig.json': JSON.stringify({ compilerOptions: { strict: true, noEmit: true, skipLibCheck: false, target: 'es2022', lib: ['es2022', 'dom'], types: [], ...options }, files: ['main.ts'] }),
    });
    await run(bin('tsc'), ['--project', path]);
    return EXPECTED;
  });
}
test('attw and publint find nothing', async () => {
  await run(bin('attw'), [tarball, '--profile', 'node16', '--exclude-entrypoints', 'module.wasm']);
  const said = await run(bin('publint'), [tarball, '--strict']);
  assert.match(said, /All good!/);
});

after(() => {
  const lines = rows.map((row) => `| ${row.join(' | ')} |`);
  const page = join(root, 'docs/bundlers.md');
  const text = readFileSync(page, 'utf8');
  const [before] = text.split('<!-- table -->\n');
  const table = `${before}<!-- table -->\n| tool | build | runs in |\n| --- | --- | --- |\n${lines.join('\n')}\n`;
  if (process.env.EDGEPASS_WRITE) writeFileSync(page, table);
  else if (process.exitCode === undefined || process.exitCode === 0) assert.equal(text, table, 'docs/bundlers.md differs from the run: EDGEPASS_WRITE=1');
});
