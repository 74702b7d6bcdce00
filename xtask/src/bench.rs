//! Benchmarks: this verifier and its peers in one run, as ratios.

use std::fmt::Write as _;
use std::fs;
use std::process::Stdio;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use crate::step::{self, command, root};
use crate::suites;
use crate::tools::{self, Tools, target_dir};

/// The kinds of keys, in the order of the tables.
const KINDS: [&str; 3] = ["ES256", "Ed25519", "RS256"];

/// Run everything; write `docs/benchmarks.md` unless the run was quick.
pub(crate) fn run(options: &[&str]) -> anyhow::Result<()> {
    let (quick, json) = (options.contains(&"--quick"), options.contains(&"--json"));
    if let Some(unknown) = options.iter().find(|option| !["--quick", "--json"].contains(option)) {
        bail!("bench takes --quick and --json, not {unknown:?}");
    }
    // With --json stdout holds one object: progress goes to stderr.
    step::progress_to_stderr(json);
    let tools = tools::everything()?;
    let results = json!({
        "hosts": hosts(&tools, quick)?,
        "native": native(&tools, quick)?,
    });
    let summary = summary(&results);
    if json {
        println!("{}", json!({ "summary": summary, "results": results }));
    } else {
        println!("\n{}", tables(&results)?);
    }
    if !quick {
        let page = format!("{INTRODUCTION}\n{}", tables(&results)?);
        fs::write(root().join("docs/benchmarks.md"), page)?;
    }
    Ok(())
}

/// Cold, repeated and refused tokens in workerd and in Node.
fn hosts(tools: &Tools, quick: bool) -> anyhow::Result<Value> {
    let installed = suites::clean_install(tools)?;
    let mut run = tools.node(&["bench/run.mjs"]);
    run.args(quick.then_some("--quick")).env("EDGEPASS_INSTALLED", installed);
    read(&step::output("measure in workerd and in Node", &mut run)?)
}

/// The same natively.
fn native(tools: &Tools, quick: bool) -> anyhow::Result<Value> {
    let mut build = command("cargo");
    build
        .current_dir(root().join("bench/native"))
        .env("CARGO_TARGET_DIR", target_dir().join("bench"));
    build.args(["build", "--release", "--quiet", "--locked"]);
    step::run("build the native benchmark", &mut build)?;
    let tokens = target_dir().join("bench/tokens.json");
    let text = step::output("make tokens", &mut tools.node(&["bench/tokens-for-native.mjs"]))?;
    fs::write(&tokens, text)?;
    let mut run = command(target_dir().join("bench/release/edgepass-bench"));
    run.args(quick.then_some("--quick")).stdin(Stdio::from(fs::File::open(&tokens)?));
    read(&step::output("measure natively", &mut run)?)
}

fn read(text: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str::<Value>(text).context("the benchmark printed no JSON")?["results"]
        .clone())
}

/// Time over the time of the reference, by name: lower is better; `vs_jose` the other way round.
fn summary(results: &Value) -> Value {
    let mut summary = Map::new();
    let mut put = |name: String, ratio: Option<f64>| {
        if let Some(ratio) = ratio {
            summary.insert(name, json!((ratio * 1000.0).round() / 1000.0));
        }
    };
    let ratio = |own: &Value, other: &Value| Some(own.as_f64()? / other.as_f64()?);
    for host in ["workerd", "node"] {
        for kind in KINDS {
            let of = &results["hosts"][host][kind];
            let (cold, name) = (&of["cold"], kind.to_lowercase());
            put(format!("{host}.cold.{name}.vs_subtle"), ratio(&cold["edgepass"], &cold["subtle"]));
            put(format!("{host}.cold.{name}.vs_jose"), ratio(&cold["jose"], &cold["edgepass"]));
            if let Some(refused) = of["refused"].as_object() {
                let worst = refused.values().filter_map(Value::as_f64).fold(0.0, f64::max);
                put(
                    format!("{host}.refused.{name}.vs_valid"),
                    ratio(&json!(worst), &cold["edgepass"]),
                );
            }
        }
        let repeat = &results["hosts"][host]["ES256"]["repeat"];
        put(format!("{host}.repeat.vs_jose"), ratio(&repeat["jose"], &repeat["edgepass"]));
    }
    for kind in KINDS {
        let of = &results["native"][kind];
        put(
            format!("native.cold.{}.vs_aws_lc", kind.to_lowercase()),
            ratio(&of["edgepass"], &of["aws-lc-rs"]),
        );
    }
    Value::Object(summary)
}

fn tables(results: &Value) -> anyhow::Result<String> {
    let mut text = String::new();
    for (host, title) in [("workerd", "workerd"), ("node", "Node.js")] {
        for (group, what) in
            [("cold", "a token for the first time"), ("repeat", "the same token again")]
        {
            let reference = |kind: &str| results["hosts"][host][kind]["cold"]["subtle"].as_f64();
            let of = |kind: &str| results["hosts"][host][kind][group].clone();
            writeln!(text, "## {title}: {what}\n")?;
            table(&mut text, &of, &reference)?;
        }
        let of = |kind: &str| results["hosts"][host][kind]["refused"].clone();
        let valid = |kind: &str| results["hosts"][host][kind]["cold"]["edgepass"].as_f64();
        writeln!(text, "## {title}: refused tokens, over an accepted one\n")?;
        table(&mut text, &of, &valid)?;
    }
    writeln!(text, "## Natively, over `aws-lc-rs` checking the signature alone\n")?;
    let of = |kind: &str| results["native"][kind].clone();
    table(&mut text, &of, &|kind| results["native"][kind]["aws-lc-rs"].as_f64())?;
    Ok(text)
}

/// One row for each name, one column for each kind: microseconds, and the ratio to the reference.
fn table(
    text: &mut String,
    of: &dyn Fn(&str) -> Value,
    reference: &dyn Fn(&str) -> Option<f64>,
) -> anyhow::Result<()> {
    writeln!(text, "| | {} |\n| --- | --- | --- | --- |", KINDS.join(" | "))?;
    let columns: Vec<Value> = KINDS.iter().map(|kind| of(kind)).collect();
    let names = columns.iter().filter_map(Value::as_object).flat_map(Map::keys);
    let names: std::collections::BTreeSet<&String> = names.collect();
    for name in names {
        write!(text, "| `{name}` |")?;
        for (kind, column) in KINDS.iter().zip(&columns) {
            match (column[name].as_f64(), reference(kind)) {
                (Some(time), Some(reference)) => {
                    write!(text, " {:.2} ({time:.1} µs) |", time / reference)?;
                }
                _ => write!(text, " no |")?,
            }
        }
        writeln!(text)?;
    }
    writeln!(text)?;
    Ok(())
}

const INTRODUCTION: &str = "\
# Benchmarks

Written by `cargo xtask bench`; do not edit. One run, everything in turns, medians; each library with
the set-up that it recommends and its keys at hand, every result checked. Tokens have 13 claims and
about 740 characters (RS256: 1,000). Numbers are time over the time of the reference, in brackets
microseconds on the machine of this run: **only the ratios carry over to another machine**, and even
they move with its processor.

Without other words the reference is `subtle`: a raw `crypto.subtle.verify` of the same signature,
with the key imported and the bytes ready. The verifier looks up no status here, since its peers know
none.
";
