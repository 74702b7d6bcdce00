//! Reports of use, beside issuing.

use std::process::Stdio;

use serde_json::json;

use crate::step;
use crate::tools;

/// Reports in a second, and seconds of each measurement, of a quick run and of a full one.
const SIZES: [[u32; 2]; 2] = [[200, 3], [1_000, 10]];

/// Measure how many tokens fewer the issuer signs while reports of use arrive. Print the figures.
pub(super) fn run(quick: bool, as_json: bool) -> anyhow::Result<()> {
    super::needs_taskset()?;
    let tools = tools::everything()?;
    let program = super::issuing::program()?;
    let [few, many] = SIZES;
    let [reports, seconds] = if quick { few } else { many };
    let mut run = tools.command("taskset");
    run.args(["-c", "0", "node", "bench/issuer/reports.mjs"]);
    run.args([reports.to_string(), seconds.to_string()]);
    run.env("EDGEPASS_PROGRAM", program).stderr(Stdio::inherit());
    // Where the database is: a folder in memory would make syncs free.
    run.env("TMPDIR", super::folder()?);
    step::tell("• measure reports (the issuer on one core, the load on the other) ...");
    let results = super::read(&step::output("measure reports", &mut run)?)?;
    if as_json {
        println!("{}", json!({ "results": results }));
        return Ok(());
    }
    let number = |name: &str| results.get(name).and_then(serde_json::Value::as_f64);
    let number = |name: &str| number(name).unwrap_or_default();
    println!("{reports} reports in a second, of {} tokens each:", number("tokens_per_report"));
    println!("  tokens issued, of those without reports   {:.2}", number("ratio"));
    println!(
        "  a report is durable within                {:.0} ms, 99 % within {:.0} ms",
        number("p50"),
        number("p99")
    );
    println!(
        "  taken / failed                            {} / {}",
        number("taken"),
        number("failed")
    );
    Ok(())
}
