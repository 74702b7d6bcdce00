// The systemd unit of docs/deploy.md: its security score, and that the issuer runs under it.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'node:test';

const document = readFileSync(new URL('../../docs/deploy.md', import.meta.url), 'utf8');
const unit = document.split('```ini\n')[1].split('```')[0].replaceAll(/^ {3}/gm, '');
const run = (program, argv, options) => execFileSync(program, argv, { encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'], ...options });

test('the unit scores below 2.0', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'edgepass-unit-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'edgepass.service');
  writeFileSync(file, unit);
  const said = run('systemd-analyze', ['security', '--no-pager', '--offline=true', '--threshold=19', file]);
  t.diagnostic(said.trim().split('\n').at(-1));
});

/** The reason why a private systemd cannot be started here, or null. */
function hindrance() {
  if (process.getuid() !== 0) return 'not run as root';
  try {
    run('unshare', ['--pid', '--fork', '--mount', '--net', '--cgroup', 'true']);
    run('findmnt', ['--noheadings', '--types', 'cgroup2']);
    return null;
  } catch (error) {
    return `namespaces or control groups cannot be had (${error.message.split('\n')[0]})`;
  }
}

test('the issuer runs under it', async (t) => {
  const why = hindrance();
  if (why !== null) {
    t.diagnostic(`NOT TRIED HERE: ${why}; run the suite as root`);
    return;
  }
  const script = new URL('private-systemd.sh', import.meta.url).pathname;
  const outer = spawn('setpriv', ['--pdeathsig', 'KILL', script], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  outer.stderr.setEncoding('utf8').on('data', (data) => { said = `${said}${data}`.slice(-4000); });
  const groups = run('findmnt', ['--noheadings', '--first-only', '--types', 'cgroup2', '--output', 'TARGET']).trim();
  t.after(async () => {
    const ended = new Promise((resolve) => { outer.once('exit', resolve); });
    outer.kill('SIGKILL');
    await ended;
    const remove = (group) => {
      for (const entry of readdirSync(group, { withFileTypes: true })) {
        if (entry.isDirectory()) remove(join(group, entry.name));
      }
      rmdirSync(group);
    };
    const group = join(groups, `edgepass-test-${outer.pid}`);
    for (let tries = 0; existsSync(group) && tries < 100; tries += 1) {
      try {
        remove(group);
      } catch {
        await sleep(50);
      }
    }
  });

  let pid;
  const inside = (argv, options) => run('nsenter', ['--target', pid, '--all', ...argv], options);
  for (let tries = 0; ; tries += 1) {
    assert.ok(tries < 200 && outer.exitCode === null, `systemd did not start: ${said}`);
    await sleep(50);
    try {
      pid = readFileSync(`/proc/${outer.pid}/task/${outer.pid}/children`, 'utf8').trim();
      if (inside(['systemctl', 'is-system-running', '--wait']).trim() === 'running') break;
    } catch {
      // systemd is not ready yet.
    }
  }
  const user = ['runuser', '-u', 'edgepass', '--', 'env', 'USER=edgepass'];
  const program = '/usr/local/bin/edgepass';
  const as = (...argv) => inside([...user, 'EDGEPASS_CONFIG=/var/lib/edgepass/edgepass.toml', program, ...argv]);
  const put = (mode, path, input) => inside(['sh', '-c', `cat > ${path} && chmod ${mode} ${path}`], { input });
  put('755', '/usr/local/bin/edgepass', readFileSync(process.env.EDGEPASS_PROGRAM));
  inside(['useradd', '--system', '--create-home', '--home-dir', '/var/lib/edgepass', 'edgepass']);
  inside([...user, program, 'init', '/var/lib/edgepass', '--issuer', 'http://127.0.0.1:8787', '--audience', 'https://api.example']);
  put('644', '/etc/systemd/system/edgepass.service', unit);
  inside(['systemctl', 'enable', '--now', 'edgepass']);
  const ask = (path) => inside(['curl', '-sS', '--retry', '50', '--retry-delay', '1', '--retry-all-errors', '--fail', `http://127.0.0.1:8787${path}`]);
  ask('/readyz');
  const token = as('issue', '--role', 'invoice-reader').trim();
  const { jti } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  const verify = () => inside(['runuser', '-u', 'edgepass', '--', '/usr/local/bin/edgepass', 'verify', '-', '--issuer',
    'http://127.0.0.1:8787', '--audience', 'https://api.example'], { input: token });
  verify();
  as('revoke', '--jti', jti, '--reason', 'test');
  assert.throws(verify, (refused) => refused.status === 1 && refused.stdout.includes('token_revoked'));
  as('keys', 'list');
  assert.match(as('audit', '--json'), /cli:edgepass/);

  const status = () => inside(['sh', '-c', 'cat /proc/$(systemctl show --property MainPID --value edgepass)/status']);
  assert.match(status(), /CapBnd:\s+0000000000000000\n/);
  assert.match(status(), /NoNewPrivs:\s+1\n[^]*Seccomp:\s+2\n/);
  const files = inside(['sh', '-c', 'stat -c "%a %n" /var/lib/edgepass/data /var/lib/edgepass/data/*']);
  for (const line of files.trim().split('\n')) assert.match(line, /^(700|600) /, line);
  inside(['systemctl', 'kill', '--signal', 'KILL', 'edgepass']);
  await sleep(2500);
  ask('/readyz');
  inside(['systemctl', 'stop', 'edgepass']);
  assert.match(inside(['systemctl', 'show', '--property', 'Result', 'edgepass']), /success/);
});
