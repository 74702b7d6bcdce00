//! Scanning source text for leaked tokens, beside ripgrep.

use std::env;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::step;
use crate::tools;

/// What `edgepass leaks rule` prints, and the beginning of a client secret.
const PATTERN: &str = "eyJ[A-Za-z0-9_-]{17}ImtpZCI6ImVkZ2VwYXNz|edgepass_cs_[A-Za-z0-9_-]{43}";
/// Octets of source text, of a quick run and of a full one.
const SIZES: [u64; 2] = [100 << 20, 400 << 20];
const ROUNDS: usize = 7;

/// Measure how fast source text is scanned, and how fast ripgrep searches it. Print the figures.
pub(super) fn run(quick: bool, as_json: bool) -> anyhow::Result<()> {
    super::needs_taskset()?;
    let program = super::issuing::program()?;
    let ripgrep = tools::ripgrep()?;
    let folder = super::folder()?.join("leaks");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let issuer = folder.join("issuer");
    fs::create_dir_all(&issuer)?;
    let edgepass = |arguments: &[&str]| {
        let mut command = step::command(&program);
        command.current_dir(&issuer).args(arguments);
        command
    };
    step::output("make an issuer", &mut edgepass(&["init"]))?;
    let token = step::output("issue", &mut edgepass(&["issue", "--role", "invoice-reader"]))?;
    let text = folder.join("source.txt");
    let [few, many] = SIZES;
    step::tell("• gather source text ...");
    let size = gather(&text, if quick { few } else { many }, &token)?;
    let on_one_core = |program: &Path, arguments: &[&str]| {
        let mut command = step::command("taskset");
        command.args(["-c", "1"]).arg(program).args(arguments).arg(&text).current_dir(&issuer);
        command
    };
    let mut scan = on_one_core(&program, &["leaks", "scan", "--json"]);
    let mut search =
        on_one_core(&ripgrep, &["--threads", "1", "--text", "--count-matches", PATTERN]);
    let (mut scans, mut searches) = (Vec::new(), Vec::new());
    step::tell("• scan, and search ...");
    for _ in 0..ROUNDS {
        scans.push(time(&mut scan, "a scan that finds the token", 1, |said| {
            said.lines().count() == 1
        })?);
        searches.push(time(&mut search, "a search that finds it", 0, |said| said.trim() == "1")?);
    }
    fs::remove_dir_all(&folder)?;
    let rate = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(ROUNDS / 2).map(|time| size as f64 / 1e6 / time).context("rounds")
    };
    let (scanned, searched) = (rate(scans)?, rate(searches)?);
    if as_json {
        let results = json!({ "mb_per_second": scanned, "ripgrep_mb_per_second": searched });
        println!("{}", json!({ "results": results }));
        return Ok(());
    }
    println!("{} MB of source text, on one core:", size >> 20);
    println!("  edgepass leaks scan       {scanned:.0} MB/s, of ripgrep {:.2}", scanned / searched);
    println!("  ripgrep, the bare pattern {searched:.0} MB/s");
    Ok(())
}

/// Seconds that a command takes, which must end with `code` and say what is expected.
fn time(
    command: &mut Command,
    what: &str,
    code: i32,
    is_right: impl Fn(&str) -> bool,
) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let output = command.output()?;
    let took = begun.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(code) && is_right(&said), "expected {what}");
    Ok(took)
}

/// Writes the sources of crates that cargo has unpacked to a file, again until it is long enough, and a token.
fn gather(file: &Path, size: u64, token: &str) -> anyhow::Result<u64> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home =
        home.or_else(|| env::home_dir().map(|home| home.join(".cargo"))).context("a home")?;
    let mut to = BufWriter::new(File::create(file)?);
    let mut written = 0;
    while written < size {
        let before = written;
        let mut folders = vec![home.join("registry/src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let is_source =
                    path.extension().is_some_and(|it| it == "rs" || it == "c" || it == "h");
                if path.is_dir() {
                    folders.push(path);
                } else if is_source && written < size {
                    let text = fs::read(&path)?;
                    to.write_all(&text)?;
                    written += u64::try_from(text.len())?;
                }
            }
        }
        ensure!(written > before, "cargo has unpacked no sources");
    }
    writeln!(to, "\n{}", token.trim())?;
    to.flush()?;
    Ok(written)
}
