// Ed25519 by the host: the equation that it uses decides, before and after the host is asked.

/** Judges both tokens until the host checks signatures, and then again. Returns all codes of each. */
export default async function ed25519({ Verifier }, { now, key, accepted, refused }, background = 'detach') {
  const verifier = Verifier.create({
    issuer: 'https://issuer.example', audience: 'https://api.example', jwks: { keys: [key] },
    // Tables would check the signatures, and no token may be remembered.
    status: { mode: 'ignore' }, verifiedBytes: 0, background,
  });
  const codes = { accepted: new Set(), refused: new Set() };
  const strict = tampered(accepted);
  const others = Object.fromEntries(Object.keys(strict).map((name) => [name, new Set()]));
  // Fewer than a key needs for its table. Work behind the first check asks the host.
  for (let turn = 0; turn < 40; turn += 1) {
    codes.refused.add(await code(verifier, refused, now));
    if (turn > 1) codes.accepted.add(await code(verifier, accepted, now));
    for (const [name, token] of Object.entries(strict)) others[name].add(await code(verifier, token, now));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const list = (sets) => Object.fromEntries(Object.entries(sets).map(([name, set]) => [name, [...set]]));
  return { ...list(codes), ...list(others), tableBytes: verifier.counters().tableBytes };
}

async function code(verifier, token, now) {
  return (await verifier.verify(token, {}, { now })).code;
}

/** Signatures of other forms: an S that is not below the order, and an R of small order or not canonical. */
function tampered(token) {
  const [header, claims, signature] = token.split('.');
  const with_ = (change) => {
    const bytes = Uint8Array.from(atob(signature.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
    change(bytes);
    const text = btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
    return `${header}.${claims}.${text}`;
  };
  const ORDER = [0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14];
  return {
    malleable: with_((bytes) => {
      let carry = 0;
      for (let at = 0; at < 32; at += 1) {
        carry += bytes[32 + at] + (ORDER[at] ?? (at === 31 ? 0x10 : 0));
        bytes[32 + at] = carry & 0xff;
        carry >>= 8;
      }
    }),
    smallOrder: with_((bytes) => { bytes.fill(0, 0, 32); bytes[0] = 1; }),
    notCanonical: with_((bytes) => { bytes.fill(0xff, 0, 32); bytes[0] = 0xf0; bytes[31] = 0x7f; }),
  };
}
