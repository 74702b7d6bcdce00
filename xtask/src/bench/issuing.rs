//! Issuing beside `oidc-provider` and the floor.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::step::{self, cargo};
use crate::tools::{self, target_dir};

const SUBJECTS: [&str; 4] = ["edgepass", "before", "oidc-provider", "floor"];

/// Measure issuing. Print the ratios and the figures of one run.
pub(super) fn run(quick: bool, as_json: bool) -> anyhow::Result<()> {
    super::needs_taskset()?;
    let tools = tools::everything()?;
    tools::libraries("interop")?;
    tools::wrk()?;
    let floor = super::native_program()?;
    let program = program()?;
    let mut run = tools.command("taskset");
    run.args(["-c", "0", "node", "bench/issuer/run.mjs"]).args(quick.then_some("--quick"));
    run.env("EDGEPASS_FLOOR", floor);
    run.env("EDGEPASS_PROGRAM", program).stderr(Stdio::inherit());
    // Where the databases are: a folder in memory would make syncs free.
    run.env("TMPDIR", super::folder()?);
    step::tell("• measure issuing (the server on one core, the load on the other) ...");
    let results = super::read(&step::output("measure issuing", &mut run)?)?;
    let summary = summary(&results);
    if as_json {
        println!("{}", json!({ "summary": summary, "results": results }));
    } else {
        println!("\n{}", tables(&results, &summary)?);
    }
    Ok(())
}

/// Build the issuer as platforms run it. Return its path.
pub(super) fn program() -> anyhow::Result<PathBuf> {
    let mut build = cargo(&["build", "--release", "--quiet", "--locked", "--package", "edgepass"]);
    step::run("build the issuer (minutes at first)", &mut build)?;
    Ok(target_dir().join("release/edgepass"))
}

/// Rates over the other's rate in the same run, higher is better; of `cpu` the reverse.
fn summary(results: &Value) -> Value {
    let mut summary = Map::new();
    let mut put = |name: String, own: &Value, other: &Value| {
        if let (Some(own), Some(other)) = (own.as_f64(), other.as_f64()) {
            summary.insert(name, json!((own / other * 1000.0).round() / 1000.0));
        }
    };
    for connections in ["16", "64"] {
        let (plain, delayed) = (&results["plain"][connections], &results["delayed"][connections]);
        let own = &plain["edgepass"];
        let others =
            [("oidc-provider", "vs_oidc_provider"), ("floor", "vs_floor"), ("before", "vs_before")];
        for (subject, name) in others {
            put(format!("issuer.{name}.{connections}"), &own["rate"], &plain[subject]["rate"]);
        }
        put(
            format!("issuer.cpu_vs_floor.{connections}"),
            &own["cpu_us"],
            &plain["floor"]["cpu_us"],
        );
        put(
            format!("issuer.delayed_vs_floor.{connections}"),
            &delayed["edgepass"]["rate"],
            &delayed["floor"]["rate"],
        );
    }
    Value::Object(summary)
}

fn tables(results: &Value, summary: &Value) -> anyhow::Result<String> {
    let mut text = String::new();
    for (kind, title) in [("plain", "as it is"), ("delayed", "2 ms added to each commit")] {
        for connections in ["16", "64"] {
            writeln!(text, "{connections} connections, {title}:\n")?;
            writeln!(
                text,
                "| | tokens/s | p50 ms | p99 ms | CPU µs per token | syncs per token | memory MB |\n\
                 | --- | --- | --- | --- | --- | --- | --- |"
            )?;
            for subject in SUBJECTS {
                let row = &results[kind][connections][subject];
                if row.is_null() {
                    continue;
                }
                let number = |name: &str| row[name].as_f64().with_context(|| name.to_owned());
                writeln!(
                    text,
                    "| {subject} | {:.0} | {:.2} | {:.2} | {:.1} | {:.3} | {:.0} |",
                    number("rate")?,
                    number("p50_ms")?,
                    number("p99_ms")?,
                    number("cpu_us")?,
                    number("syncs_per_token")?,
                    number("memory_mb")?,
                )?;
            }
            writeln!(text)?;
        }
    }
    for (name, ratio) in summary.as_object().context("a summary")? {
        writeln!(text, "{name} {ratio}")?;
    }
    Ok(text)
}
