//! `edgepass verify --batch`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use anyhow::Context;
use edgepass_verify::batch::{Answer, Batch, Outcome};

use crate::exit::Exit;
use crate::native::NativeCrypto;

/// A longer line is answered as unusable, and skipped.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Judge one JSON object per line, and answer one JSON line each, in order.
pub(super) async fn run(source: &Path) -> anyhow::Result<Exit> {
    let mut input: Box<dyn BufRead> = if source == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(source).with_context(|| {
            format!("{} cannot be read; write \"-\" to read stdin", source.display())
        })?;
        Box::new(BufReader::new(file))
    };
    // By the line, so that whoever feeds us lines gets each answer before the next.
    let mut output = io::stdout().lock();
    let mut batch = Batch::default();
    let mut tally = Tally::default();
    let mut line = Vec::new();
    while next_line(&mut input, &mut line).context("a line cannot be read")? {
        if line.trim_ascii().is_empty() {
            continue;
        }
        // What is no UTF-8 is no JSON, and is answered as such.
        let answer =
            batch.judge(std::str::from_utf8(&line).unwrap_or_default(), &NativeCrypto).await;
        tally.count(&answer);
        let text = serde_json::to_string(&answer).context("an answer cannot be written")?;
        match writeln!(output, "{text}") {
            // Whoever read has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
            written => written.context("stdout cannot be written")?,
        }
    }
    tally.report();
    Ok(Exit::Ok)
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
    fn count(&mut self, answer: &Answer) {
        *match answer.verdict {
            Outcome::Accepted => &mut self.accepted,
            Outcome::Rejected => &mut self.rejected,
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
