//! A batch's lines, judged on all cores.

use edgepass_crypto::prepared::PreparedKeys;
use edgepass_verify::batch::{self, Batch, Line, LineVerdict};
use rayon::prelude::*;

use crate::native::NativeCrypto;

/// LineJudges lines as [`Batch`] does, with the same answers in the same order.
pub struct LineJudges {
    /// Lines of sessions build on each other: they are judged one after another.
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
    /// The answers to `lines`.
    pub fn judge(&mut self, lines: &[Vec<u8>]) -> Vec<LineVerdict> {
        let prepared = &self.prepared;
        let alone = |line: &Vec<u8>| {
            // What is no UTF-8 is no JSON, and is answered as such.
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

/// Native crypto answers at once: nothing waits here.
fn at_once<T>(judged: impl Future<Output = T>) -> T {
    pollster::block_on(judged)
}
