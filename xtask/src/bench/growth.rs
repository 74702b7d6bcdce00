//! What issuing costs with few and with many stored tokens, and what a purged database takes.

use std::process::Stdio;

use anyhow::Context;
use serde_json::{Value, json};

use crate::step::{self, command};

/// Measure with up to 10,000,000 tokens, or 1,000,000 in a quick run. Print the figures.
pub(super) fn run(quick: bool, as_json: bool) -> anyhow::Result<()> {
    let mut run = command(&super::native_program()?);
    run.arg("growth").args(quick.then_some("--quick")).stderr(Stdio::inherit());
    // Where the databases are: a folder in memory would make syncs free.
    run.env("TMPDIR", super::folder()?);
    step::tell("• measure how issuing grows (minutes, and gigabytes of disk) ...");
    let results = super::read(&step::output("measure how issuing grows", &mut run)?)?;
    if as_json {
        println!("{}", json!({ "results": results }));
        return Ok(());
    }
    let rows = |name: &str| results[name].as_array().context("rows");
    let number = |row: &Value, name: &str| row[name].as_f64().unwrap_or_default();
    println!("\n| revoked of 2^20 entries | editions per second |\n| --- | --- |");
    for row in rows("editions")? {
        println!("| {} | {:.1} |", number(row, "revoked"), number(row, "editions_per_second"));
    }
    for (name, whose) in [("issuing", "of 7 clients"), ("issuing_for_users", "of 1,000 users")] {
        println!(
            "\n| tokens {whose} stored before | CPU µs per token | µs per token | memory MB |"
        );
        println!("| --- | --- | --- | --- |");
        for row in rows(name)? {
            println!(
                "| {} | {:.1} | {:.1} | {:.0} |",
                number(row, "tokens"),
                number(row, "cpu_us"),
                number(row, "wall_us"),
                number(row, "memory_mb")
            );
        }
    }
    println!(
        "\n| tokens issued, and purged a day after their end | records | MB of tokens | MB of the file |"
    );
    println!("| --- | --- | --- | --- |");
    for row in rows("purged")? {
        println!(
            "| {} | {} | {:.0} | {:.0} |",
            number(row, "issued"),
            number(row, "records"),
            number(row, "tokens_mb"),
            number(row, "file_mb")
        );
    }
    Ok(())
}
