/** Whether a promise is kept: libraries refuse by throwing. */
export async function kept(promise) {
  try {
    return Boolean(await promise);
  } catch {
    return false;
  }
}
