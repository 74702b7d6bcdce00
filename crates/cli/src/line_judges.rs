//! Judges the lines of a batch (docs/batch.md) on all cores.

use edgepass_crypto::prepared::PreparedKeys;
use edgepass_verify::batch::{self, Batch, Line, LineVerdict};
use rayon::prelude::*;

use edgepass_verify::native::NativeCrypto;

/// Judges lines as [`Batch`] does, with the same answers in the same order. Lines without a session
/// are judged in parallel.
pub struct LineJudges {
    /// Judges the lines of sessions one after another, since a line depends on earlier lines of its
    /// session.
    batch: Batch,
    prepared: PreparedKeys,
}

enum JudgedLine {
    Done(Box<LineVerdict>),
    InSession(Box<Line>),
}

impl Default for LineJudges {
    fn default() -> Self {
        let prepared = PreparedKeys::default();
        Self { batch: Batch::with_prepared(prepared.clone()), prepared }
    }
}

impl LineJudges {
    /// Judges `lines` and returns one answer for each, in order.
    pub fn judge(&mut self, lines: &[Vec<u8>]) -> Vec<LineVerdict> {
        let prepared = &self.prepared;
        let alone = |line: &Vec<u8>| {
            // Invalid UTF-8 is read as an empty line, which is answered as not JSON.
            match batch::read(std::str::from_utf8(line).unwrap_or_default()) {
                Err(answer) => JudgedLine::Done(answer),
                Ok(line) if line.has_session() => JudgedLine::InSession(Box::new(line)),
                Ok(line) => JudgedLine::Done(Box::new(at_once(batch::judge_alone(
                    line,
                    prepared,
                    &NativeCrypto,
                )))),
            }
        };
        let judged: Vec<JudgedLine> = lines.par_iter().map(alone).collect();
        let answer = |judged| match judged {
            JudgedLine::Done(answer) => *answer,
            JudgedLine::InSession(line) => at_once(self.batch.judge_line(*line, &NativeCrypto)),
        };
        judged.into_iter().map(answer).collect()
    }
}

/// Runs a future to its end. With native crypto it never waits.
fn at_once<T>(judged: impl Future<Output = T>) -> T {
    pollster::block_on(judged)
}
