//! `edgepass verify --batch`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use anyhow::Context;
use edgepass_verify::batch::{LineVerdict, Outcome};

use crate::exit::Exit;
use crate::line_judges::LineJudges;

/// Size in bytes, without the line feed, from which on a line is skipped and answered as unusable.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Largest number of lines in a chunk, whose lines are judged in parallel.
const MAX_LINES: usize = 256;
/// Size of a chunk in bytes from which on no further line is added.
const MAX_CHUNK_BYTES: usize = 8 << 20;

/// Judges one JSON object per line and prints one JSON line for each, in order. Skips blank lines.
/// Lines that arrive together are judged on all cores. Refused lines do not change the exit code.
pub(super) fn run(source: &Path) -> anyhow::Result<Exit> {
    let input: Box<dyn Read> = if source == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(source).with_context(|| {
            format!("{} cannot be read; write \"-\" to read stdin", source.display())
        })?)
    };
    let mut input = BufReader::with_capacity(MAX_CHUNK_BYTES, input);
    // Stdout is flushed at each line, so that a program gets an answer before it sends the next
    // line.
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
            let text =
                serde_json::to_string(&answer).context("an answer cannot be written as JSON")?;
            match writeln!(output, "{text}") {
                // The reader closed the pipe.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
                written => written.context("stdout cannot be written")?,
            }
        }
    }
    tally.report();
    Ok(Exit::Ok)
}

/// Reads the next chunk: a line that is not blank, and those already buffered behind it, up to the
/// limits. Empty at the end of the input.
fn next_lines(input: &mut BufReader<impl Read>) -> io::Result<Vec<Vec<u8>>> {
    let (mut lines, mut bytes) = (Vec::new(), 0_usize);
    let mut line = Vec::new();
    loop {
        match next_line(input, &mut line) {
            Ok(true) => bytes = bytes.saturating_add(line.len()),
            // Answer the lines read before a failure first; the next read fails again.
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

/// Reads up to the next line feed. Returns `false` at the end of the input. A line that reaches
/// [`MAX_LINE_BYTES`] is replaced by `{`, which is answered as unusable.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', line)?;
    if line.len() as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") {
        // A blank line would be skipped without an answer.
        line.clear();
        line.push(b'{');
        input.skip_until(b'\n')?;
    }
    Ok(!line.is_empty())
}

#[derive(Default)]
struct Tally {
    accepted: u64,
    refused: u64,
    unusable: u64,
}

impl Tally {
    fn count(&mut self, answer: &LineVerdict) {
        let count = match answer.verdict {
            Outcome::Accepted => &mut self.accepted,
            Outcome::Refused => &mut self.refused,
            Outcome::Error => &mut self.unusable,
        };
        *count = count.saturating_add(1);
    }

    /// Prints the counts on stderr, since stdout holds the answers.
    fn report(&self) {
        let Self { accepted, refused, unusable } = self;
        // If stderr is closed, there is nowhere left to report that.
        let _ = writeln!(
            io::stderr(),
            "{} lines: {accepted} accepted, {refused} rejected, {unusable} unusable",
            accepted.saturating_add(*refused).saturating_add(*unusable)
        );
    }
}
