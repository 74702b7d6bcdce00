// Real shared caches with their defaults: each has the shortest configuration of a reverse proxy
// that stores what its upstream allows.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const MODULES = ['mpm_event', 'authz_core', 'proxy', 'proxy_http', 'cache', 'cache_disk'];

const KINDS = {
  nginx: (folder, port, upstream, more = '') => [`
    daemon off; pid ${folder}/pid; events {}
    http {
      access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join(' ')}
      proxy_cache_path ${folder}/cache keys_zone=kept:1m;
      server {
        listen 127.0.0.1:${port};
        location / { proxy_pass ${upstream}; proxy_cache kept; ${more} }
      }
    }`, '/usr/sbin/nginx', ['-e', 'stderr', '-p', folder, '-c', `${folder}/conf`]],
  varnish: (folder, port, upstream, more = '') => [`
    vcl 4.1;
    backend default { .host = "127.0.0.1"; .port = "${new URL(upstream).port}"; }
    ${more}`, '/usr/sbin/varnishd',
  ['-F', '-j', 'none', '-n', `${folder}/work`, '-f', `${folder}/conf`, '-a', `127.0.0.1:${port}`,
    '-T', 'none', '-s', 'malloc,16m']],
  haproxy: (folder, port, upstream) => [`
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
cache kept
  total-max-size 4
  max-age 60
listen web
  bind 127.0.0.1:${port}
  http-request cache-use kept
  http-response cache-store kept
  server upstream 127.0.0.1:${new URL(upstream).port}
`, '/usr/sbin/haproxy', ['-db', '-f', `${folder}/conf`]],
  squid: (folder, port, upstream) => [`
http_port 127.0.0.1:${port} accel defaultsite=127.0.0.1
cache_peer 127.0.0.1 parent ${new URL(upstream).port} 0 no-query no-digest no-netdb-exchange originserver
http_access allow all
pid_filename ${folder}/pid
cache_log ${folder}/cache.log
access_log none
coredump_dir ${folder}
visible_hostname e${port}
pinger_enable off
shutdown_lifetime 0 seconds
refresh_pattern . 0 20% 4320
`, '/usr/sbin/squid', ['-N', '-n', `e${port}`, '-f', `${folder}/conf`]],
  apache: (folder, port, upstream) => [`
ServerRoot /usr/lib/apache2
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
PidFile ${folder}/pid
DefaultRuntimeDir ${folder}
ErrorLog ${folder}/error.log
${MODULES.map((name) => `LoadModule ${name}_module modules/mod_${name}.so`).join('\n')}
<IfModule unixd_module>
User www-data
Group www-data
</IfModule>
ProxyPass / ${upstream}/
CacheRoot ${folder}/cache
CacheEnable disk /
`, '/usr/sbin/apache2', ['-f', `${folder}/conf`, '-DFOREGROUND']],
};

/** The names of the caches. */
export const CACHES = Object.keys(KINDS);

/** Starts a cache at `port` in front of `upstream`, a URL. The cache ends with the test. */
export async function startCache(t, kind, port, upstream, more) {
  const folder = mkdtempSync(join(tmpdir(), `edgepass-${kind}-`));
  // A cache that root starts runs its workers as another user.
  chmodSync(folder, 0o777);
  mkdirSync(join(folder, 'cache'));
  chmodSync(join(folder, 'cache'), 0o777);
  const [text, program, argv] = KINDS[kind](folder, port, upstream, more);
  writeFileSync(join(folder, 'conf'), text);
  let said = '';
  const cache = spawn(program, argv, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [cache.stdout, cache.stderr]) {
    stream.setEncoding('utf8').on('data', (data) => { said = `${said}${data}`.slice(-2000); });
  }
  const ended = once(cache, 'exit');
  t.after(async () => {
    try {
      process.kill(-cache.pid, 'SIGKILL');
    } catch {
      // The cache has already ended.
    }
    await ended;
    // Shared memory of squid's processes outlives them.
    for (const name of readdirSync('/dev/shm')) {
      if (name.startsWith(`e${port}-`)) rmSync(join('/dev/shm', name), { force: true });
    }
    rmSync(folder, { recursive: true, force: true });
  });
  for (let tries = 0; tries < 400 && cache.exitCode === null; tries += 1) {
    try {
      await (await fetch(`http://127.0.0.1:${port}/`)).arrayBuffer();
      return;
    } catch {
      await sleep(25);
    }
  }
  throw new Error(`${kind} does not answer: ${said}`);
}
