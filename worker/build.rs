//! Checks the policy file and bundles it: a mistake stops the build with file and line.

#[path = "src/fold.rs"]
#[allow(dead_code, reason = "the build only folds what is written")]
mod fold;
#[path = "src/overlap.rs"]
mod overlap;
#[path = "src/policy.rs"]
#[allow(dead_code, reason = "the build only checks the policy")]
mod policy;
#[path = "src/untrusted.rs"]
mod untrusted;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo:rerun-if-env-changed=EDGEPASS_GUARD_POLICY");
    for part in ["policy", "fold", "overlap", "untrusted"] {
        println!("cargo:rerun-if-changed=src/{part}.rs");
    }
    let file = std::env::var_os("EDGEPASS_GUARD_POLICY")
        .map_or_else(|| PathBuf::from("guard.toml"), PathBuf::from);
    println!("cargo:rerun-if-changed={}", file.display());
    match bundle(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{}: {message}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn bundle(file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let written: policy::PolicyText = toml::from_str(&text).map_err(|error| error.to_string())?;
    let json = serde_json::to_string(&written).map_err(|error| error.to_string())?;
    policy::GuardPolicy::try_from(written)?;
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    std::fs::write(Path::new(&out).join("guard.json"), json).map_err(|error| error.to_string())
}
