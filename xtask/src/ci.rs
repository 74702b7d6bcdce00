//! What CI runs, step by step; each can be run by itself.

use anyhow::bail;

use crate::step::{self, cargo};
use crate::tools;
use crate::{closure, size, suites};

type Step = fn() -> anyhow::Result<()>;

const STEPS: [(&str, Step); 9] = [
    ("fmt", fmt),
    ("clippy", clippy),
    ("docs", docs),
    ("closure", closure::check),
    ("deny", deny),
    ("deploy", deploy),
    ("size", size::check),
    ("fuzz", fuzz),
    ("test", test),
];

/// Name the steps.
pub(crate) fn list() -> anyhow::Result<()> {
    for (name, _) in STEPS {
        println!("{name}");
    }
    Ok(())
}

/// Run the steps named, or all.
pub(crate) fn run(names: &[&str]) -> anyhow::Result<()> {
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|(own, _)| own != *name)) {
        bail!("there is no step {unknown:?}; `cargo xtask ci --list` names them");
    }
    for (name, step) in STEPS {
        if names.is_empty() || names.contains(&name) {
            step()?;
        }
    }
    Ok(())
}

fn fmt() -> anyhow::Result<()> {
    step::run("cargo fmt", &mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    const DENY: [&str; 3] = ["--", "-D", "warnings"];
    let mut native = cargo(&["clippy", "--locked", "--workspace", "--all-targets"]);
    native.args(["--exclude", "edgepass-npm", "--exclude", "edgepass-guard"]);
    native.args(["--exclude", "edgepass-tests-wasm"]);
    native.args(["--features", "edgepass-status-list/encoder"]);
    step::run("clippy, native", native.args(DENY))?;
    let mut wasm = cargo(&["clippy", "--locked", "--target", "wasm32-unknown-unknown"]);
    wasm.args(["--package", "edgepass-web", "--package", "edgepass-npm"]);
    wasm.args(["--package", "edgepass-guard", "--package", "edgepass-tests-wasm"]);
    step::run("clippy, Wasm", wasm.args(DENY))
}

/// What a contributor runs before each push: formatting, lints, unit tests. A minute once all is built.
pub(crate) fn check() -> anyhow::Result<()> {
    tools::wasm_target()?;
    fmt()?;
    clippy()?;
    let mut tests = cargo(&["test", "--locked", "--quiet", "--workspace", "--lib"]);
    // The simulation's take minutes without optimisation.
    tests.args(["--exclude", "edgepass-simulation"]);
    step::run("unit tests", tests.args(["--features", "edgepass-status-list/encoder"]))
}

fn docs() -> anyhow::Result<()> {
    let mut docs = cargo(&["doc", "--locked", "--no-deps", "--quiet", "--workspace"]);
    step::run("rustdoc", docs.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny() -> anyhow::Result<()> {
    let tools = tools::for_wasm()?;
    tools::cargo_deny(&tools)?;
    for (manifest, checks) in LOCKED {
        // Every package of every platform, also what is not built here.
        let mut fetch = cargo(&["fetch", "--locked", "--manifest-path", manifest]);
        step::run(&format!("cargo fetch, {manifest}"), &mut fetch)?;
        let mut deny = step::command(tools.cargo_tool("cargo-deny"));
        deny.args(["--manifest-path", manifest, "--config", "deny.toml", "--offline", "check"]);
        step::run(&format!("cargo deny, {manifest}"), deny.args(LENIENT).args(checks))?;
    }
    pinned_workflows()?;
    crate::provenance::check()
}

/// Each lock file has its own: what one has not is no mistake.
const LENIENT: [&str; 4] =
    ["--allow", "unmatched-skip", "--allow", "license-exception-not-encountered"];

/// Each lock file of cargo's, and what is checked of it. What is shipped is in the first alone.
const LOCKED: [(&str, &[&str]); 3] = [
    ("Cargo.toml", &["licenses", "bans", "sources"]),
    ("bench/native/Cargo.toml", &["licenses", "sources"]),
    ("fuzz/Cargo.toml", &["licenses", "sources"]),
];

/// Known weaknesses in what is locked, of cargo's and npm's. Needs the network: what was reported since
/// is what is looked for.
pub(crate) fn advisories() -> anyhow::Result<()> {
    let tools = tools::for_wasm()?;
    tools::cargo_deny(&tools)?;
    for (manifest, _) in LOCKED {
        let mut deny = step::command(tools.cargo_tool("cargo-deny"));
        deny.args(["--manifest-path", manifest, "--config", "deny.toml", "check", "advisories"]);
        step::run(&format!("advisories, {manifest}"), &mut deny)?;
    }
    step::run("advisories, npm", tools.command("npm").args(["audit", "--audit-level=low"]))
}

/// Whoever moves a tag of an action changes what runs here with our permissions: actions are named by commit.
fn pinned_workflows() -> anyhow::Result<()> {
    let folder = step::root().join(".github/workflows");
    for file in std::fs::read_dir(&folder)? {
        let path = file?.path();
        for line in std::fs::read_to_string(&path)?.lines() {
            let Some((_, action)) = line.split_once("uses:") else { continue };
            let commit = action.split('@').nth(1).and_then(|rest| rest.split_whitespace().next());
            let is_commit =
                |text: &str| text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
            if !commit.is_some_and(is_commit) {
                bail!("{}: {} is not named by its commit", path.display(), action.trim());
            }
        }
    }
    Ok(())
}

fn deploy() -> anyhow::Result<()> {
    let tools = tools::for_wasm()?;
    let folder = tools::target_dir().join("deploy");
    let mut deploy = tools.command(tools.npm_tool("wrangler"));
    deploy.args(["deploy", "--dry-run", "--outdir"]).arg(&folder);
    deploy.env("XDG_CONFIG_HOME", tools::target_dir().join("wrangler"));
    step::run("wrangler deploy --dry-run", &mut deploy)?;
    closure::check_exports()
}

fn fuzz() -> anyhow::Result<()> {
    crate::fuzz::run(crate::fuzz::SECONDS)
}

fn test() -> anyhow::Result<()> {
    suites::run(&[])
}
