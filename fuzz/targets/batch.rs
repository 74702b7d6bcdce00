//! Any text as lines of a batch, at most four.
#![no_main]

use edgepass_fuzz::{Yes, ready};
use edgepass_verify::batch::Batch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut batch = Batch::default();
    for line in text.lines().take(4) {
        let answer = ready(batch.judge(line, &Yes));
        serde_json::to_string(&answer).unwrap();
    }
});
