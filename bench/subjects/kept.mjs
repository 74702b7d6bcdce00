/** Whether a promise resolves to a truthy value. Libraries refuse a token by throwing. */
export async function kept(promise) {
  try {
    return Boolean(await promise);
  } catch {
    return false;
  }
}
