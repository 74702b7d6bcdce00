// Checks of values that a program passes. JSON drops some values silently, so a mistake could
// remove a condition.

/**
 * Throws a TypeError for a value that JSON would drop or change, and for `null`. An `undefined`
 * member counts as absent, except where the program chooses the names: such as a claim that is
 * expected to have the value of a variable that is not set. `null` is allowed with `mayBeNull` and in
 * members `typ`.
 */
export function refuseUnlessJson(value: unknown, name: string, mayBeNull = false): void {
  switch (typeof value) {
    case 'string': case 'boolean':
      return;
    case 'number':
      if (Number.isFinite(value)) return;
      break;
    case 'object':
      if (value === null) {
        if (mayBeNull) return;
        break;
      }
      if (Array.isArray(value)) {
        for (const item of value) refuseUnlessJson(item, name);
        return;
      }
      if (isPlain(value)) {
        const isOfNames = /\b(expectedClaims|map)$/.test(name);
        for (const [member, inner] of Object.entries(value)) {
          if (inner !== undefined || isOfNames) refuseUnlessJson(inner, `${name}.${member}`, member === 'typ');
        }
        return;
      }
      break;
    default:
  }
  throw new TypeError(`${name} has a value that JSON cannot hold: omit it, or pass another value`);
}

/**
 * Whether the value is a plain object, such as an object literal: its members are all that it
 * holds.
 */
export function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // Another realm has another `Object.prototype`; that has no prototype either.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
