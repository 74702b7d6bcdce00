// Runs all measurements. Prints progress to stderr and the results as JSON to stdout.

import fresh from './fresh.mjs';
import growth from './growth.mjs';
import guard from './guard.mjs';
import tables from './tables.mjs';
import verification from './verification.mjs';

const hosts = await verification();
const results = { hosts, fresh: await fresh(), growth: await growth(), tables: await tables(), guard: await guard() };
console.log(JSON.stringify({ node: process.version, results }));
process.exit(0);
