//! Benchmarks this verifier and others in one run, as ratios.

mod growth;
mod issuing;
mod leaks;
mod log;
mod masking;
mod page;
mod reports;
mod scale;
mod watches;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value, json};

use crate::step::{self, command, root};
use crate::system::{AUDIENCE, Log, System};
use crate::tools::{self, Tools, target_dir};
use crate::{artifacts, suites};

/// The kinds of keys, in the order of the tables' columns.
const KINDS: [&str; 3] = ["ES256", "Ed25519", "RS256"];

/// Run everything; write `docs/benchmarks.md` unless the run was quick.
pub(crate) fn run(options: &[&str]) -> anyhow::Result<()> {
    let (quick, json) = (options.contains(&"--quick"), options.contains(&"--json"));
    let known =
        ["issuer", "log", "growth", "watches", "reports", "leaks", "masking", "--quick", "--json"];
    if let Some(unknown) = options.iter().find(|option| !known.contains(option)) {
        bail!(
            "unknown option {unknown:?}; bench takes issuer, log, growth, watches, reports, leaks or masking, --quick and --json"
        );
    }
    // With --json stdout holds one object: progress goes to stderr.
    step::progress_to_stderr(json);
    if options.contains(&"issuer") {
        return issuing::run(quick, json);
    }
    if options.contains(&"log") {
        return log::run(quick, json);
    }
    if options.contains(&"growth") {
        return growth::run(quick, json);
    }
    if options.contains(&"watches") {
        return watches::run(quick, json);
    }
    if options.contains(&"leaks") {
        return leaks::run(quick, json);
    }
    if options.contains(&"masking") {
        return masking::run(quick, json);
    }
    if options.contains(&"reports") {
        return reports::run(quick, json);
    }
    let tools = tools::everything()?;
    let program = native_program()?;
    let mut results = hosts(&tools, quick)?;
    results["native"] = native(&tools, &program, quick)?;
    let mut scale = command(&program);
    scale.arg("scale").args(quick.then_some("--quick")).stderr(Stdio::inherit());
    scale.env("TMPDIR", folder()?);
    step::tell("• measure how lists and revocation grow (takes minutes and gigabytes of disk) ...");
    results["scale"] = read(&step::output("scale", &mut scale)?)?;
    let summary = summary(&results);
    if json {
        println!("{}", json!({ "summary": summary, "results": results }));
    } else {
        println!("\n{}", page::tables(&results)?);
    }
    if !quick {
        fs::write(root().join("docs/benchmarks.md"), page::page(&results, &summary)?)?;
        let mut draw = command(&program);
        let chart = piped("draw the chart", draw.arg("chart"), &results.to_string())?;
        fs::write(root().join("docs/benchmarks.svg"), chart)?;
    }
    Ok(())
}

/// Measure on JavaScript hosts, including the guard with a real issuer.
fn hosts(tools: &Tools, quick: bool) -> anyhow::Result<Value> {
    let installed = suites::clean_install(tools)?;
    artifacts::worker(tools)?;
    let system = System::start(tools, &artifacts::issuer()?, "cache-api", "EdDSA", Log::Shown)?;
    let setting = json!({
        "issuer": system.issuer, "audience": AUDIENCE, "client_secret": system.client_secret,
        "guard": root().join("worker/build"),
    });
    let mut run = tools.node(&["bench/run.mjs"]);
    run.args(quick.then_some("--quick")).env("EDGEPASS_INSTALLED", installed);
    run.env("EDGEPASS_BENCH", setting.to_string()).stderr(Stdio::inherit());
    read(&step::output("measure in workerd and in Node", &mut run)?)
}

/// Fail if processes cannot be pinned to cores.
fn needs_taskset() -> anyhow::Result<()> {
    let hint =
        "taskset pins processes to cores, and was not found; Debian: apt-get install util-linux";
    tools::which("taskset").context(hint).map(drop)
}

/// The folder for databases.
fn folder() -> anyhow::Result<std::path::PathBuf> {
    let folder = target_dir().join("bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Build the program that measures natively and draws the chart. Return its path.
fn native_program() -> anyhow::Result<std::path::PathBuf> {
    let folder = root().join("bench/native");
    let mut build = command("cargo");
    build.current_dir(folder).env("CARGO_TARGET_DIR", target_dir().join("bench"));
    build.args(["build", "--release", "--quiet", "--locked"]);
    step::run("build the native benchmark (minutes, once)", &mut build)?;
    Ok(target_dir().join("bench/release/edgepass-bench"))
}

/// Measure native verification.
fn native(tools: &Tools, program: &Path, quick: bool) -> anyhow::Result<Value> {
    let tokens = step::output("make tokens", &mut tools.node(&["bench/tokens-for-native.mjs"]))?;
    let mut run = command(program);
    read(&piped("measure natively", run.args(quick.then_some("--quick")), &tokens)?)
}

/// Run a command with `input` on stdin and return its stdout.
fn piped(what: &str, command: &mut Command, input: &str) -> anyhow::Result<String> {
    step::tell(&format!("• {what} ..."));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{what} failed ({})", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn read(text: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str::<Value>(text).context("the benchmark printed no JSON")?["results"]
        .clone())
}

/// Ratios by name: time over the reference's time, lower is better; of `rps` rate over rate, higher
/// is better. `vs_jose` of `cold` and `repeat` is the reverse: how many times as fast as jose.
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
        let (native, fresh) = (&results["native"][kind], &results["fresh"][kind]);
        let name = kind.to_lowercase();
        put(
            format!("native.cold.{name}.vs_aws_lc"),
            ratio(&native["edgepass"], &native["aws-lc-rs"]),
        );
        for what in ["first", "hundred"] {
            let (own, jose) = (&fresh["edgepass"][what], &fresh["jose"][what]);
            put(format!("workerd.{what}.{name}.vs_jose"), ratio(own, jose));
        }
    }
    let guard = &results["guard"];
    let rps = |name: &str| guard[name]["rps"].clone();
    put("guard.rps.vs_public_route".into(), ratio(&rps("guard"), &rps("guard, public route")));
    for row in results["scale"].as_array().into_iter().flatten() {
        let tokens = &row["tokens"];
        for list in row["lists"].as_array().into_iter().flatten() {
            let name = format!("scale.{tokens}.revoked_{}", list["share"]);
            put(format!("{name}.lst_vs_entropy"), list["lst_over_bound"].as_f64());
            put(format!("{name}.wire_vs_entropy"), list["wire_over_bound"].as_f64());
        }
    }
    put("guard.rps.vs_jose".into(), ratio(&rps("guard"), &rps("a Worker with jose")));
    Value::Object(summary)
}
