// Judges lines of a batch through the package, as its users import it.

export default async function judge({ verifyBatch }, lines) {
  return verifyBatch(lines);
}
