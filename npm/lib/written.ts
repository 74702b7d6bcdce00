// What a program writes is taken whole or not at all: a slip must not ask for nothing.

/** Refuse a value that JSON would drop or bend. A member that is `undefined` is not there. */
export function refuseUnwritable(value: unknown, name: string, mayBeNull = false): void {
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
        for (const item of value) refuseUnwritable(item, name);
        return;
      }
      if (isPlain(value)) {
        for (const [member, inner] of Object.entries(value)) {
          if (inner !== undefined) refuseUnwritable(inner, `${name}.${member}`, member === 'typ');
        }
        return;
      }
      break;
    default:
  }
  throw new TypeError(`${name} says nothing that can be written: leave it out, or write a value`);
}

/** Whether this is an object as it is written in a program: members may be looked at one by one. */
export function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // Objects of other realms have other prototypes, of which none has one of its own.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
