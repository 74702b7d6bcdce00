//! The steps that CI runs. Each can be run by itself.

use anyhow::bail;

use crate::step::{self, cargo};
use crate::tools;
use crate::{closure, reference, size, suites};

type Step = fn() -> anyhow::Result<()>;

const STEPS: [(&str, Step); 10] = [
    ("fmt", fmt),
    ("clippy", clippy),
    ("others", others),
    ("docs", docs),
    ("closure", closure::check),
    ("deny", deny),
    ("deploy", deploy),
    ("size", size::check),
    ("fuzz", fuzz),
    ("test", test),
];

/// Print the names of the steps.
pub(crate) fn list() -> anyhow::Result<()> {
    for (name, _) in STEPS {
        println!("{name}");
    }
    Ok(())
}

/// Run the named steps, or all.
pub(crate) fn run(names: &[&str]) -> anyhow::Result<()> {
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|(own, _)| own != *name)) {
        bail!("unknown step {unknown:?}; `cargo xtask ci --list` prints the steps");
    }
    for (name, step) in STEPS {
        if names.is_empty() || names.contains(&name) {
            step()?;
        }
    }
    Ok(())
}

fn fmt() -> anyhow::Result<()> {
    step::run("cargo fmt", &mut cargo(&["fmt", "--all", "--check"]))?;
    for manifest in OTHER_WORKSPACES {
        let mut other = cargo(&["fmt", "--all", "--check", "--manifest-path", manifest]);
        step::run(&format!("cargo fmt, {manifest}"), &mut other)?;
    }
    Ok(())
}

/// Workspaces with lock files of their own.
const OTHER_WORKSPACES: [&str; 2] = ["bench/native/Cargo.toml", "fuzz/Cargo.toml"];

/// Check that the benchmark compiles. The step `fuzz` compiles the other workspace.
fn others() -> anyhow::Result<()> {
    let [bench, _] = OTHER_WORKSPACES;
    let mut check = cargo(&["check", "--locked", "--manifest-path", bench]);
    step::run(&format!("cargo check, {bench}"), &mut check)
}

fn clippy() -> anyhow::Result<()> {
    const DENY: [&str; 3] = ["--", "-D", "warnings"];
    let mut native = cargo(&["clippy", "--locked", "--workspace", "--all-targets"]);
    native.args(["--exclude", "edgepass-npm", "--exclude", "edgepass-npm-mask"]);
    native.args(["--exclude", "edgepass-guard"]);
    native.args(["--exclude", "edgepass-tests-wasm"]);
    native.args(["--features", "edgepass-status-list/encoder"]);
    step::run("clippy, native", native.args(DENY))?;
    let mut wasm = cargo(&["clippy", "--locked", "--target", "wasm32-unknown-unknown"]);
    wasm.args(["--package", "edgepass-web", "--package", "edgepass-npm"]);
    wasm.args(["--package", "edgepass-npm-mask"]);
    wasm.args(["--package", "edgepass-guard", "--package", "edgepass-tests-wasm"]);
    step::run("clippy, Wasm", wasm.args(DENY))
}

/// Run the checks before a push: formatting, lints, unit tests. Takes a minute once all is built.
pub(crate) fn check() -> anyhow::Result<()> {
    tools::wasm_target()?;
    fmt()?;
    clippy()?;
    let mut tests = cargo(&["test", "--locked", "--quiet", "--workspace", "--lib"]);
    // The simulation's tests take minutes without optimisation.
    tests.args(["--exclude", "edgepass-simulation"]);
    step::run("unit tests", tests.args(["--features", "edgepass-status-list/encoder"]))
}

fn docs() -> anyhow::Result<()> {
    let mut docs = cargo(&["doc", "--locked", "--no-deps", "--quiet", "--workspace"]);
    step::run("rustdoc", docs.env("RUSTDOCFLAGS", "-D warnings"))?;
    reference::check(&tools::for_wasm()?)
}

fn deny() -> anyhow::Result<()> {
    let tools = tools::for_wasm()?;
    tools::cargo_deny(&tools)?;
    for (manifest, checks) in LOCKED {
        // Fetches the packages of every platform, including those that are not built here.
        let mut fetch = cargo(&["fetch", "--locked", "--manifest-path", manifest]);
        step::run(&format!("cargo fetch, {manifest}"), &mut fetch)?;
        let mut deny = step::command(tools.cargo_tool("cargo-deny"));
        deny.args(["--manifest-path", manifest, "--config", "deny.toml", "--offline", "check"]);
        step::run(&format!("cargo deny, {manifest}"), deny.args(LENIENT).args(checks))?;
    }
    pinned_workflows()?;
    crate::provenance::check()
}

/// All lock files share `deny.toml`, so an entry that matches nothing in one of them is no error.
const LENIENT: [&str; 4] =
    ["--allow", "unmatched-skip", "--allow", "license-exception-not-encountered"];

/// Each workspace with a Cargo lock file, and its checks. Only the first contains shipped code.
const LOCKED: [(&str, &[&str]); 3] = [
    ("Cargo.toml", &["licenses", "bans", "sources"]),
    ("bench/native/Cargo.toml", &["licenses", "sources"]),
    ("fuzz/Cargo.toml", &["licenses", "sources"]),
];

/// Look up known vulnerabilities of the locked cargo and npm packages. Needs the network, since it
/// looks for new reports.
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

/// Check that workflows name each action by its commit: a moved tag would run other code with the
/// repository's permissions.
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
                bail!("{}: {} is not pinned to a commit", path.display(), action.trim());
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
