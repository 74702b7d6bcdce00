// Verifies a token in the page. The issuer's documents are public: any page may fetch them.

import { Verifier } from 'edgepass';

const form = document.querySelector('form');
const output = document.querySelector('output');

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const { issuer, audience, token } = Object.fromEntries(new FormData(form));
  try {
    const verifier = Verifier.create({ issuer: issuer.replace(/\/$/, ''), audience });
    const verdict = await verifier.verify(token.trim());
    output.value = verdict.accepted
      ? `valid until ${new Date(verdict.claims.exp * 1000).toLocaleString()}`
      : `refused: ${verdict.code} (${verdict.message})`;
  } catch (error) {
    output.value = `this cannot be checked: ${error.message}`;
  }
});
