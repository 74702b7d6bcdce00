// Vectors of others, through the probe.

/** Judge every file; gives the reports by name. */
export default async function judge({ files, run }, texts) {
  const reports = {};
  for (const name of JSON.parse(files())) reports[name] = JSON.parse(await run(name, texts[name]));
  return reports;
}
