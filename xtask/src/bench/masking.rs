//! Masking in the guard, beside a Worker that parses, masks and writes the document.

use std::process::Stdio;

use anyhow::Context;
use serde_json::json;

use crate::step;
use crate::{artifacts, suites, tools};

/// Measure how many megabytes of JSON pass in a second. Print the figures.
pub(super) fn run(quick: bool, as_json: bool) -> anyhow::Result<()> {
    let tools = tools::everything()?;
    let installed = suites::clean_install(&tools)?;
    let guard = artifacts::guard_with(&tools, suites::GOVERNANCE_POLICY, "governance-guard")?;
    let mut run = tools.node(&["bench/masking.mjs"]);
    run.args(quick.then_some("--quick")).env("EDGEPASS_INSTALLED", installed);
    run.env("EDGEPASS_GOVERNANCE_GUARD", guard).stderr(Stdio::inherit());
    let results = super::read(&step::output("measure masking in workerd", &mut run)?)?;
    let rate = |name: &str| results[name].as_f64().context("a rate is missing");
    let (masked, parsing) =
        (rate("guard, masked")?, rate("a Worker with JSON.parse and JSON.stringify")?);
    let package = rate("a Worker with edgepass/mask")?;
    if as_json {
        let ratio = |rate: f64| (rate / parsing * 100.0).round() / 100.0;
        let summary = json!({
            "masking.guard_vs_parsing": ratio(masked),
            "masking.package_vs_parsing": ratio(package),
        });
        println!("{}", json!({ "summary": summary, "results": results }));
        return Ok(());
    }
    println!("\n1 MiB of JSON with four connections, MB/s:");
    for (name, rate) in results.as_object().into_iter().flatten() {
        println!("  {name:<48} {:>6.0}", rate.as_f64().unwrap_or_default());
    }
    println!(
        "  the guard is {:.2} times as fast as the Worker that parses, the package {:.2} times",
        masked / parsing,
        package / parsing
    );
    Ok(())
}
