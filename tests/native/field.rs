//! Tokens, keys and lists of other issuers, by kind, on the native host.

use crate::batch::judge_all;

const LINES: &str = include_str!("../vectors/field.jsonl");
const ISSUERS: &str = include_str!("../vectors/issuers.jsonl");

#[tokio::test]
async fn every_line_of_the_field_gives_its_answer() {
    for lines in [LINES, ISSUERS] {
        println!("native: {} lines {:?}", lines.lines().count(), judge_all(lines).await);
    }
}
