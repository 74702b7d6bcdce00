/**
 * Masks values in JSON responses as they stream, unless the token's scope says otherwise.
 *
 * @packageDocumentation
 */

import { octetsOf } from './base64.js';
import bytes from './mask-bytes.js';
import { provide } from './mask-module.js';

provide(() => octetsOf(bytes));

export * from './masking.js';
