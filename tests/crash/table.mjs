// Prints the outcomes of faults as a table, and the evidence of what is broken.

/** The table, as Markdown with aligned columns. */
export function table(rows, seconds) {
  const cells = [
    ['fault', 'runs', 'checked', 'result', 'seconds'],
    ...rows.map(({ fault, runs, checked, result, seen, seconds: own }) => [
      fault, String(runs ?? '-'), checked, [result, seen].filter(Boolean).join(': '), own?.toFixed(1) ?? '-',
    ]),
  ];
  const widths = cells[0].map((_, at) => Math.max(...cells.map((row) => row[at].length)));
  const line = (row) => `| ${row.map((cell, at) => cell.padEnd(widths[at])).join(' | ')} |`;
  const [head, ...body] = cells.map(line);
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [head, rule, ...body, '', summary(rows, seconds)].join('\n');
}

function summary(rows, seconds) {
  const count = (result) => rows.filter((row) => row.result === result).length;
  const parts = [['ok', 'held'], ['BROKEN', 'broken'], ['known limit', 'known limits'], ['failed', 'failed to run'], ['not run', 'not run']];
  const text = parts.map(([result, word]) => `${count(result)} ${word}`).join(', ');
  return `${text}; ${seconds.toFixed(0)} s in all`;
}

/** What was seen of each broken fault, and where its files are. */
export function evidence(rows) {
  return rows.filter(({ evidence: text }) => text)
    .map(({ name, evidence: text, kept }) => `${name}:\n  ${text.replaceAll('\n', '\n  ')}${kept ? `\n  files: ${kept}` : ''}`)
    .join('\n');
}
