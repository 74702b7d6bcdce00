//! Held requests for the status head.

use std::process::Stdio;

use serde_json::json;

use crate::step;
use crate::tools;

/// Watches of a quick run, and of a full one.
const WATCHES: [u32; 2] = [2_000, 10_000];

/// Measure what watches cost the issuer, and how soon a revocation answers them. Print the figures.
pub(super) fn run(quick: bool, as_json: bool) -> anyhow::Result<()> {
    super::needs_taskset()?;
    let tools = tools::everything()?;
    let program = super::issuing::program()?;
    let [few, many] = WATCHES;
    let watches = if quick { few } else { many };
    let mut run = tools.command("taskset");
    run.args(["-c", "0", "node", "bench/issuer/watches.mjs", &watches.to_string()]);
    run.env("EDGEPASS_PROGRAM", program).stderr(Stdio::inherit());
    // Where the database is: a folder in memory would make syncs free.
    run.env("TMPDIR", super::folder()?);
    step::tell("• measure watches (the issuer on one core, the watches on the other) ...");
    let results = super::read(&step::output("measure watches", &mut run)?)?;
    if as_json {
        println!("{}", json!({ "results": results }));
        return Ok(());
    }
    let number = |pointer: &str| results.pointer(pointer).and_then(serde_json::Value::as_f64);
    let number = |pointer: &str| number(pointer).unwrap_or_default();
    println!("{} watches:", number("/watches"));
    println!("  memory of each            {} bytes", number("/bytes_each"));
    println!("  after the revocations     {} bytes", number("/bytes_each_after_revocations"));
    for (what, name) in [
        ("without watches  ", "/core_idle_without"),
        ("of 25 s each     ", "/core_idle_25_s"),
        ("of 4 s each      ", "/core_idle_4_s"),
    ] {
        println!("  of a core, while idle, {what} {:.2} %", number(name) * 100.0);
    }
    for (what, name) in [
        ("a revocation returns      ", "/published_ms"),
        ("the same without watches  ", "/published_without_ms"),
        ("all watches are answered  ", "/all_answered_ms"),
    ] {
        let of = |share: &str| number(&format!("{name}/{share}"));
        println!("  {what}{} ms, 99 % within {} ms", of("p50"), of("p99"));
    }
    println!("  at most                   {} ms", number("/all_answered_ms/max"));
    Ok(())
}
