//! Fuzzes every parser, and the steps after a signature check that always succeeds.

use anyhow::Context;

use crate::step::{self, command, root};
use crate::tools::{self, target_dir};

/// The targets of `fuzz/Cargo.toml`.
const TARGETS: [&str; 11] = [
    "jws",
    "json",
    "jwk_set",
    "status_list",
    "claims",
    "proof",
    "batch",
    "documents",
    "tables",
    "log",
    "masking",
];
/// Seconds that CI spends on all targets together.
pub(crate) const SECONDS: u64 = 60;

/// Fuzz all targets for `seconds` in total, at least 1 s each.
pub(crate) fn run(seconds: u64) -> anyhow::Result<()> {
    let tools = tools::for_fuzzing()?;
    let each = (seconds / TARGETS.len() as u64).max(1);
    for target in TARGETS {
        // New inputs go to a folder of their own; the committed corpus is only a seed.
        let found = target_dir().join("fuzz-corpus").join(target);
        std::fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
        let mut fuzz = command("cargo");
        fuzz.arg("+nightly").env("CARGO_TARGET_DIR", target_dir().join("fuzz"));
        fuzz.env("PATH", tools.path()?);
        fuzz.args(["fuzz", "run", "--sanitizer", "none", target]).arg(&found);
        let seeds = root().join("fuzz/corpus").join(target);
        if seeds.is_dir() {
            fuzz.arg(seeds);
        }
        fuzz.args(["--", "-dict=fuzz/words.dict", "-max_len=4096", "-timeout=10"]);
        fuzz.args(["-verbosity=0", "-print_final_stats=1"]);
        fuzz.arg(format!("-max_total_time={each}"));
        step::run(&format!("fuzz {target} for {each} s"), &mut fuzz)?;
    }
    Ok(())
}
