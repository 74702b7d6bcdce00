//! Checks the policy file, `EDGEPASS_GUARD_POLICY` or `guard.toml`, and bundles it. A mistake stops
//! the build; the error names the file.

#[path = "src/fold.rs"]
#[allow(dead_code, reason = "the build only folds the patterns of routes")]
mod fold;
#[path = "src/overlap.rs"]
mod overlap;
#[path = "src/policy.rs"]
#[allow(dead_code, reason = "the build only checks the policy")]
mod policy;
#[path = "src/policy_error.rs"]
mod policy_error;
#[path = "src/untrusted.rs"]
mod untrusted;

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo:rerun-if-env-changed=EDGEPASS_GUARD_POLICY");
    for part in ["policy", "policy_error", "fold", "overlap", "untrusted"] {
        println!("cargo:rerun-if-changed=src/{part}.rs");
    }
    let file = std::env::var_os("EDGEPASS_GUARD_POLICY")
        .map_or_else(|| PathBuf::from("guard.toml"), PathBuf::from);
    println!("cargo:rerun-if-changed={}", file.display());
    match bundle(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed, the error cannot be reported.
            let _ = writeln!(std::io::stderr(), "{}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn bundle(file: &Path) -> Result<(), Box<dyn Error>> {
    let text = std::fs::read_to_string(file)?;
    let written: policy::PolicyText = toml::from_str(&text)?;
    let json = serde_json::to_string(&written)?;
    policy::GuardPolicy::try_from(written)?;
    let out = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    Ok(std::fs::write(Path::new(&out).join("guard.json"), json)?)
}
