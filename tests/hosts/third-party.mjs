// Judges third-party vectors through the probe.

/** Judges every file. Returns the reports by file name. */
export default async function judge({ files, run }, texts) {
  const reports = {};
  for (const name of JSON.parse(files())) reports[name] = JSON.parse(await run(name, texts[name]));
  return reports;
}
