// Starts Chromium for the tests: headless, and without network traffic of its own.

import { chromium } from 'playwright-core';

export function launch() {
  return chromium.launch({
    executablePath: process.env.EDGEPASS_CHROMIUM, headless: true, chromiumSandbox: false,
    args: [
      '--disable-quic', '--disable-gpu', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
}
