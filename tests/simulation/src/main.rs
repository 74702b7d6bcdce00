//! The program behind `cargo xtask simulate`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a program")]

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use edgepass_simulation::{Outcome, run};
use rayon::prelude::*;

const USAGE: &str = "usage: cargo xtask simulate [--runs N] [--seed S]";

fn main() -> anyhow::Result<()> {
    let (mut seed, mut runs) = (1, 500);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).context(USAGE);
        match name.as_str() {
            "--seed" => seed = number()?,
            "--runs" => runs = number()?,
            _ => bail!(USAGE),
        }
    }
    let done = AtomicU64::new(0);
    let one = |seed: u64| {
        let outcome = run(seed, None)?;
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(100) {
            eprintln!("{done} of {runs} runs");
        }
        Ok((seed, outcome))
    };
    let outcomes: Vec<(u64, Outcome)> =
        (seed..seed + runs).into_par_iter().map(one).collect::<anyhow::Result<_>>()?;
    let sum =
        |of: fn(&Outcome) -> u64| outcomes.iter().map(|(_, outcome)| of(outcome)).sum::<u64>();
    let most = |of: fn(&Outcome) -> u64| {
        let worst = outcomes.iter().map(|(seed, outcome)| (of(outcome), *seed)).max();
        let (milliseconds, seed) = worst.unwrap_or_default();
        format!("{:.1} s (seed {seed})", milliseconds as f64 / 1000.0)
    };
    println!(
        "{runs} runs: {} verdicts, {} accepted, {} stale, {} fetches",
        sum(|outcome| outcome.verdicts),
        sum(|outcome| outcome.accepted),
        sum(|outcome| outcome.stale),
        sum(|outcome| outcome.fetches),
    );
    println!(
        "latest acceptance after a revocation: {} where the source could be reached, {} elsewhere, \
         {} with a lying cache where heads are signed, {} where none are (lists older than {} s are refused; {} old confirmations counted)",
        most(|outcome| outcome.latest),
        most(|outcome| outcome.latest_outage),
        most(|outcome| outcome.latest_lied_headed),
        most(|outcome| outcome.latest_lied),
        edgepass_simulation::MAX_AGE / 1000,
        sum(|outcome| outcome.aged),
    );
    for (seed, outcome) in &outcomes {
        if let Some(violation) = &outcome.violation {
            bail!("seed {seed}: {violation}; again: cargo xtask simulate --seed {seed} --runs 1");
        }
    }
    Ok(())
}
