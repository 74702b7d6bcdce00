//! `edgepass verify --batch`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use anyhow::Context;
use edgepass_verify::batch::{LineVerdict, Outcome};

use crate::exit::Exit;
use crate::line_judges::LineJudges;

/// A longer line is answered as unusable, and skipped.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Lines that are judged at once.
const MAX_LINES: usize = 256;
/// What they may take together, but for the last of them.
const MAX_CHUNK_BYTES: usize = 8 << 20;

/// Judge one JSON object per line, and answer one JSON line each, in order. Lines that arrive together are
/// judged on all cores.
pub(super) fn run(source: &Path) -> anyhow::Result<Exit> {
    let input: Box<dyn Read> = if source == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(source).with_context(|| {
            format!("{} cannot be read; write \"-\" to read stdin", source.display())
        })?)
    };
    let mut input = BufReader::with_capacity(MAX_CHUNK_BYTES, input);
    // By the line, so that whoever feeds us lines gets each answer before the next.
    let mut output = io::stdout().lock();
    let mut judges = LineJudges::default();
    let mut tally = Tally::default();
    loop {
        let lines = next_lines(&mut input).context("a line cannot be read")?;
        if lines.is_empty() {
            break;
        }
        for answer in judges.judge(&lines) {
            tally.count(&answer);
            let text = serde_json::to_string(&answer).context("an answer cannot be written")?;
            match writeln!(output, "{text}") {
                // Whoever reads has read enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
                written => written.context("stdout cannot be written")?,
            }
        }
    }
    tally.report();
    Ok(Exit::Ok)
}

/// The next line, and those that have arrived with it. None at the end.
fn next_lines(input: &mut BufReader<impl Read>) -> io::Result<Vec<Vec<u8>>> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let mut line = Vec::new();
    loop {
        match next_line(input, &mut line) {
            Ok(true) => bytes += line.len(),
            // What was read before a failure is answered; the failure comes again.
            Err(error) if lines.is_empty() => return Err(error),
            Ok(false) | Err(_) => return Ok(lines),
        }
        if !line.trim_ascii().is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        let is_enough = lines.len() >= MAX_LINES || bytes >= MAX_CHUNK_BYTES;
        if !lines.is_empty() && (is_enough || !input.buffer().contains(&b'\n')) {
            return Ok(lines);
        }
    }
}

/// Read up to the next line break; false at the end. What is longer than [`MAX_LINE_BYTES`] is cut
/// there, which leaves nothing that could be judged.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', line)?;
    if line.len() as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") {
        // Nothing that could be judged is left, and still a line that is answered.
        line.clear();
        line.push(b'{');
        input.skip_until(b'\n')?;
    }
    Ok(!line.is_empty())
}

#[derive(Default)]
struct Tally {
    accepted: u64,
    rejected: u64,
    unusable: u64,
}

impl Tally {
    fn count(&mut self, answer: &LineVerdict) {
        *match answer.verdict {
            Outcome::Accepted => &mut self.accepted,
            Outcome::Refused => &mut self.rejected,
            Outcome::Error => &mut self.unusable,
        } += 1;
    }

    /// On stderr, beside the answers.
    fn report(&self) {
        let Self { accepted, rejected, unusable } = self;
        // Nothing is left to tell where even stderr is gone.
        let _ = writeln!(
            io::stderr(),
            "{} lines: {accepted} accepted, {rejected} rejected, {unusable} unusable",
            accepted + rejected + unusable
        );
    }
}
