// Puts load on one URL, from a process of its own. Prints `{ rps }`.
//
// Reads JSON from stdin: { url, tokens, connections, seconds }.

import { readFileSync } from 'node:fs';
import autocannon from 'autocannon';

const { url, tokens, connections, seconds } = JSON.parse(readFileSync(0, 'utf8'));
const { pathname: path } = new URL(url);
const requests = tokens.map((token) => ({ path, headers: { authorization: `Bearer ${token}` } }));
const result = await autocannon({ url, connections, duration: seconds, requests });
if (result.non2xx || result.errors) {
  throw new Error(`${url}: ${result.non2xx} refused, ${result.errors} failed: ${JSON.stringify(result.statusCodeStats)}`);
}
console.log(JSON.stringify({ rps: result.requests.total / result.duration }));
