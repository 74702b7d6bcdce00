// What kind of host this is.

/** Whether the host is a browser, which sends its own `User-Agent`. */
export function isBrowser(): boolean {
  return globalThis.navigator?.userAgent?.startsWith('Mozilla/') ?? false;
}

/** Whether requests may have `cache: 'no-store'`: in workerd from the compatibility date 2024-11-11. */
export function hasCacheMode(): boolean {
  try {
    return Boolean(new Request('https://host.example', { cache: 'no-store' }));
  } catch {
    return false;
  }
}

export function inWorkerd(): boolean {
  return globalThis.navigator?.userAgent === 'Cloudflare-Workers';
}

/** Vercel's and Next.js' edge runtime, which refuses code that touches modules of Node.js. */
export function inEdgeRuntime(): boolean {
  return 'EdgeRuntime' in globalThis;
}

/** Whether a request may wait behind others: not in a page, nor where the time of a function is billed. */
export function mayWatch(): boolean {
  return inWorkerd() || !('document' in globalThis || endsWithItsResponse());
}

/** Whether the host drops work that is not awaited once the response is sent. */
export function endsWithItsResponse(): boolean {
  // Deno would ask its user for the permission to read the environment.
  if ('Deno' in globalThis) return false;
  const env: Record<string, unknown> =
    (globalThis as { process?: { env?: Record<string, unknown> } }).process?.env ?? {};
  const serverless = [
    'AWS_LAMBDA_FUNCTION_NAME', 'FUNCTION_TARGET', 'FUNCTIONS_WORKER_RUNTIME', 'K_SERVICE',
    'NETLIFY', 'VERCEL',
  ];
  return inWorkerd() || serverless.some((name) => env[name] !== undefined);
}
