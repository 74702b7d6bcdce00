// Libraries that are compared on every JavaScript host, each with the set-up that it recommends.

import awsJwtVerify from './subjects/aws-jwt-verify.mjs';
import edgepass, { withoutTables } from './subjects/edgepass.mjs';
import hono from './subjects/hono.mjs';
import jose from './subjects/jose.mjs';
import subtle from './subjects/subtle.mjs';
import tsndr from './subjects/tsndr.mjs';

export const SUBJECTS = {
  subtle, edgepass, 'edgepass without tables': withoutTables, jose, hono, 'aws-jwt-verify': awsJwtVerify,
  '@tsndr/cloudflare-worker-jwt': tsndr,
};
