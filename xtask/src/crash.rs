//! Crashes, disk faults and power cuts at a real issuer: `cargo xtask crash` and the suite `crash`.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::artifacts;
use crate::step;
use crate::tally::Tally;
use crate::tools::{self, Tools, target_dir};

/// Number of kills at random instants in CI.
const KILLS: &str = "20";

/// Run the driver with `options` and print its table, or JSON with `--json`.
pub(crate) fn run(options: &[&str]) -> anyhow::Result<()> {
    step::progress_to_stderr(true);
    if options.contains(&"postgres") {
        tools::postgresql()?;
    }
    let mut run = driver(&tools::for_node()?)?;
    let status = run.args(options).status().context("the driver cannot be run")?;
    ensure!(status.success(), "an invariant is broken or a fault could not be injected ({status})");
    Ok(())
}

/// Run the driver without power cuts. Counts a check for each fault that could be injected.
pub(crate) fn suite(tools: &Tools) -> anyhow::Result<Tally> {
    let mut run = driver(tools)?;
    run.args(["--kills", KILLS, "--json"]).stderr(Stdio::inherit());
    let output = run.output().context("the driver cannot be run")?;
    let report: Value =
        serde_json::from_slice(&output.stdout).context("the driver printed no JSON")?;
    let mut tally = Tally::default();
    for row in report["rows"].as_array().context("the driver printed no rows")? {
        let text = |member: &str| row[member].as_str().unwrap_or_default();
        let (name, result) = (text("name"), text("result"));
        println!("  {result:<11} {name}: {}", text("seen"));
        match result {
            // A known limit is one that docs/reliability.md states.
            "ok" | "known limit" => tally.passed += 1,
            "not run" => {}
            _ => {
                println!("{}", text("evidence"));
                tally.failed += 1;
                tally.failures.push(name.to_owned());
            }
        }
    }
    Ok(tally)
}

/// The command that runs the driver.
fn driver(tools: &Tools) -> anyhow::Result<Command> {
    // Without strace the driver leaves out the faults that need it.
    tools::strace()?;
    let edgepass = artifacts::issuer()?;
    let mut run = tools.node(&["--disable-warning=ExperimentalWarning", "tests/crash/run.mjs"]);
    run.env("EDGEPASS_PROGRAM", edgepass).env("EDGEPASS_EVIDENCE", target_dir().join("crash"));
    Ok(run)
}
