// Prints the outcomes of faults as a table, and the evidence of what is broken.

const ELSEWHERE = `\
\`cargo xtask test faults\` has kills with guards in front, files that cannot grow, and buckets that fail.`;

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
  const text = ['ok', 'known limit', 'BROKEN', 'failed', 'not run']
    .map((result) => `${count(result)} ${result}`).join(', ');
  return `${text}; ${seconds.toFixed(0)} s in all.\n${ELSEWHERE}`;
}

/** What was seen of each broken fault and each known limit, and where its files are. */
export function evidence(rows) {
  return rows.flatMap(({ name, evidence: text, kept }) => {
    const said = [text, kept && `files: ${kept}`].filter(Boolean).join('\n');
    return said ? [`${name}:\n  ${said.replaceAll('\n', '\n  ')}`] : [];
  }).join('\n');
}
