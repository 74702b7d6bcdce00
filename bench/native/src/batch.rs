//! Measures the throughput of the code behind `edgepass verify --batch`, on one core and on all.

use std::time::Instant;

use anyhow::ensure;
use edgepass::line_judges::LineJudges;
use edgepass_verify::batch::Outcome;
use rayon::ThreadPoolBuilder;
use serde_json::{Value, json};

use crate::{AUDIENCE, ISSUER, median};

/// Returns the number of cores, and lines per second on one core and on all.
pub(crate) fn measure(setup: &Value, quick: bool) -> anyhow::Result<Value> {
    let rounds = if quick { 5 } else { 15 };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let policy = json!({"issuer": ISSUER, "audience": AUDIENCE});
    let line = |token: &Value| {
        let jwks = json!({"keys": [setup["jwk"]]});
        let line = json!({"token": token, "jwks": jwks, "policy": policy, "now": now});
        line.to_string().into_bytes()
    };
    let tokens = setup["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lines: Vec<Vec<u8>> = tokens.iter().map(line).collect();
    let cores = std::thread::available_parallelism()?.get();
    let mut seen = [Vec::new(), Vec::new()];
    // The first round warms up.
    for round in 0..=rounds {
        for (threads, times) in [1, cores].into_iter().zip(&mut seen) {
            let mut judges = LineJudges::default();
            let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
            let start = Instant::now();
            let answers = pool.install(|| judges.judge(&lines));
            let took = start.elapsed().as_secs_f64();
            ensure!(
                answers.iter().all(|answer| answer.verdict == Outcome::Accepted),
                "a wrong verdict"
            );
            if round > 0 {
                times.push(lines.len() as f64 / took);
            }
        }
    }
    let [one, all] = seen.map(median);
    Ok(json!({"cores": cores, "one_core": one, "all_cores": all}))
}
