//! Writes the results as tables.

use std::fmt::Write as _;

use anyhow::Context;
use serde_json::{Map, Value};

use super::{KINDS, scale};

/// The text of `docs/benchmarks.md`.
pub(super) fn page(results: &Value, summary: &Value) -> anyhow::Result<String> {
    let mut text = INTRODUCTION.to_owned();
    writeln!(text, "\n{}\n\n## Ratios\n", tables(results)?.trim_end())?;
    writeln!(
        text,
        "As `cargo xtask bench --json` gives them in `summary`. `vs_jose` in `cold` and `repeat`"
    )?;
    writeln!(
        text,
        "says how many times as fast; everywhere else it is time over time, or rate over rate.\n"
    )?;
    writeln!(text, "| | |\n| --- | --- |")?;
    for (name, ratio) in summary.as_object().into_iter().flatten() {
        writeln!(text, "| `{name}` | {ratio} |")?;
    }
    Ok(text)
}

/// All tables of the results.
pub(super) fn tables(results: &Value) -> anyhow::Result<String> {
    let mut text = String::new();
    for (host, title) in [("workerd", "workerd"), ("node", "Node.js")] {
        let of = |kind: &str, group: &str| results["hosts"][host][kind][group].clone();
        let subtle = |kind: &str| of(kind, "cold")["subtle"].as_f64();
        let valid = |kind: &str| of(kind, "cold")["edgepass"].as_f64();
        writeln!(text, "## {title}: a token for the first time\n")?;
        by_kind(&mut text, &|kind| of(kind, "cold"), &subtle)?;
        writeln!(text, "## {title}: the same token again\n")?;
        by_kind(&mut text, &|kind| of(kind, "repeat"), &subtle)?;
        writeln!(text, "## {title}: refused tokens, relative to an accepted one\n")?;
        by_kind(&mut text, &|kind| of(kind, "refused"), &valid)?;
    }
    fresh(&mut text, &results["fresh"])?;
    guard(&mut text, &results["guard"])?;
    growth(&mut text, &results["growth"])?;
    laying_out(&mut text, results)?;
    scale::tables(&mut text, &results["scale"])?;
    writeln!(text, "## Natively, over `aws-lc-rs` checking the signature alone\n")?;
    let native = &results["native"];
    by_kind(&mut text, &|kind| native[kind].clone(), &|kind| native[kind]["aws-lc-rs"].as_f64())?;
    let batch = &native["batch"];
    let rate = |name: &str| batch[name].as_f64().context("no throughput of batches");
    let (one, all) = (rate("one_core")?, rate("all_cores")?);
    let cores = &batch["cores"];
    writeln!(
        text,
        "`edgepass verify --batch` judges {one:.0} lines a second on one core, {all:.0} on {cores}"
    )?;
    writeln!(
        text,
        "({:.2} times as many), without reading and writing: a thousand lines, with ES256 tokens of one key.\n",
        all / one
    )?;
    Ok(text)
}

/// One row for each name, one column for each kind: the ratio to the reference, and microseconds.
fn by_kind(
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

fn fresh(text: &mut String, fresh: &Value) -> anyhow::Result<()> {
    writeln!(text, "## A fresh isolate\n")?;
    writeln!(
        text,
        "A process of workerd of its own, its verifier made in global scope: milliseconds of the request"
    )?;
    writeln!(
        text,
        "that verifies the first token, and of the next one, which verifies a hundred, above those of a"
    )?;
    writeln!(
        text,
        "Worker that verifies nothing. Module start-up is not included: it happens before any request.\n"
    )?;
    writeln!(text, "| | {} |\n| --- | --- | --- | --- |", KINDS.join(" | "))?;
    for subject in ["subtle", "jose", "edgepass"] {
        write!(text, "| `{subject}` |")?;
        for kind in KINDS {
            let millis =
                |what: &str| fresh[kind][subject][what].as_f64().map(|micros| micros / 1000.0);
            let (first, hundred) =
                millis("first").zip(millis("hundred")).context("no fresh isolate")?;
            write!(text, " {first:.1}, {hundred:.1} |")?;
        }
        writeln!(text)?;
    }
    writeln!(text)?;
    Ok(())
}

fn guard(text: &mut String, guard: &Value) -> anyhow::Result<()> {
    writeln!(text, "## The whole guard in workerd\n")?;
    writeln!(
        text,
        "Requests per second with 16 connections, and how long one takes with a single one. Load comes from"
    )?;
    writeln!(
        text,
        "another process, 200 tokens of a real issuer take turns; the guard looks up their status; the"
    )?;
    writeln!(
        text,
        "origin is a Worker in the same process, which states the length of its answers but for the one"
    )?;
    writeln!(text, "row that says so. Ratios are to the guard's own public route.\n")?;
    writeln!(text, "| | requests per second | | a request takes |\n| --- | --- | --- | --- |")?;
    let public = guard["guard, public route"]["rps"].as_f64().context("no public route")?;
    for (name, row) in guard.as_object().into_iter().flatten() {
        let number = |what: &str| row[what].as_f64().context("a number is missing");
        let (rps, alone) = (number("rps")?, number("alone")?);
        writeln!(text, "| {name} | {rps:.0} | {:.2} | {alone:.0} µs |", rps / public)?;
    }
    writeln!(text)?;
    Ok(())
}

fn growth(text: &mut String, growth: &Value) -> anyhow::Result<()> {
    writeln!(text, "## Growth, in Node.js\n")?;
    for (what, title) in
        [("length", "characters of a token (ES256)"), ("keys", "keys of the issuer (ES256)")]
    {
        writeln!(text, "| {title} | `edgepass` | `jose` | `subtle` |\n| --- | --- | --- | --- |")?;
        for (size, row) in in_order(&growth[what]) {
            let micros = |subject: &str| row[subject].as_f64().context("a time is missing");
            let (own, jose, subtle) = (micros("edgepass")?, micros("jose")?, micros("subtle")?);
            writeln!(text, "| {size} | {own:.1} µs | {jose:.1} µs | {subtle:.1} µs |")?;
        }
        writeln!(text)?;
    }
    writeln!(
        text,
        "| different tokens, in turns (Ed25519) | one takes | the module's memory |\n| --- | --- | --- |"
    )?;
    for (size, row) in in_order(&growth["distinct"]) {
        let (time, memory) =
            row["time"].as_f64().zip(row["memory"].as_f64()).context("no memory")?;
        writeln!(text, "| {size} | {time:.1} µs | {:.1} MB |", memory / 1e6)?;
    }
    writeln!(text)?;
    Ok(())
}

/// Members whose names are numbers, in numeric order.
fn in_order(value: &Value) -> Vec<(u64, &Value)> {
    let members = value.as_object().into_iter().flatten();
    let mut rows: Vec<(u64, &Value)> =
        members.filter_map(|(name, row)| Some((name.parse().ok()?, row))).collect();
    rows.sort_unstable_by_key(|(size, _)| *size);
    rows
}

/// Write the cost of building tables, and after how many signatures it has paid off.
fn laying_out(text: &mut String, results: &Value) -> anyhow::Result<()> {
    writeln!(text, "## Building the tables of a key\n")?;
    writeln!(
        text,
        "In slices after responses, measured in Node.js. The first key of a curve includes the generator's table."
    )?;
    writeln!(
        text,
        "Break-even, in workerd: the time of all slices divided by the time saved for each signature.\n"
    )?;
    writeln!(
        text,
        "| | slices | one slice | the longest slice | all slices | break-even (signatures) |\n| --- | --- | --- | --- | --- | --- |"
    )?;
    for kind in ["ES256", "Ed25519"] {
        let cold = &results["hosts"]["workerd"][kind]["cold"];
        let micros = |name: &str| cold[name].as_f64().context("no time without tables");
        let saved = micros("edgepass without tables")? - micros("edgepass")?;
        for (which, name) in [("first_key", "the first key"), ("next_key", "the next one")] {
            let of = &results["tables"][kind][which];
            let number = |what: &str| of[what].as_f64().context("no slices");
            let (median, longest, total) =
                (number("median")?, number("longest")?, number("total")?);
            writeln!(
                text,
                "| {kind}, {name} | {} | {:.2} ms | {:.2} ms | {:.1} ms | {:.0} |",
                of["slices"],
                median / 1e3,
                longest / 1e3,
                total / 1e3,
                total / saved,
            )?;
        }
    }
    writeln!(text)?;
    Ok(())
}

const INTRODUCTION: &str = "\
# Benchmarks

Written by `cargo xtask bench`; do not edit. Medians of one run, in which all subjects take turns. Each
library has the set-up that its documentation recommends, with keys prepared. Every result is checked.
Tokens have 13 claims and about 740 characters (RS256: 1,000). Numbers are the time relative to the
reference; in brackets are microseconds on the machine of this run. **Only the ratios carry over to
another machine**, and even they depend on its processor.

Unless stated otherwise the reference is `subtle`: a raw `crypto.subtle.verify` of the same signature,
with the key imported and the bytes ready. The verifier looks up no status here, since its peers know
none. `edgepass without tables` is a verifier before its tables are built, and on hosts without
background work.

![A token verified for the first time, in workerd](benchmarks.svg)
";
