//! The audit log at size.

use std::process::Stdio;

use serde_json::json;

use crate::step;
use crate::tools;

/// Entries of a quick run, and of a full one.
const ENTRIES: [u64; 2] = [1_000_000, 10_000_000];

/// Measure hashing, proofs and the check of the whole trail. Print the figures.
pub(super) fn run(quick: bool, as_json: bool) -> anyhow::Result<()> {
    let tools = tools::everything()?;
    let program = super::issuing::program()?;
    let [few, many] = ENTRIES;
    let entries = if quick { few } else { many };
    let entries = entries.to_string();
    let mut run =
        tools.node(&["--disable-warning=ExperimentalWarning", "bench/issuer/log.mjs", &entries]);
    run.env("EDGEPASS_PROGRAM", program).stderr(Stdio::inherit());
    // Where the databases are: a folder in memory would make syncs free.
    run.env("TMPDIR", super::folder()?);
    step::tell("• measure the audit log (minutes, and gigabytes of disk) ...");
    let results = super::read(&step::output("measure the audit log", &mut run)?)?;
    if as_json {
        println!("{}", json!({ "results": results }));
        return Ok(());
    }
    let number = |name: &str| results[name].as_f64().unwrap_or_default();
    println!("{} entries, {} MB:", number("entries"), number("database_mb"));
    println!("  hashed into the log   {} entries/s", number("entries_hashed_per_second"));
    println!("  proof of an entry     {} ms", number("proof_ms"));
    println!("  check of all entries  {} s", number("check_s"));
    println!(
        "  draft of a breach     {} s, {} MB at most",
        number("breach_s"),
        number("breach_mb")
    );
    Ok(())
}
