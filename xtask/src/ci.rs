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

fn docs() -> anyhow::Result<()> {
    let mut docs = cargo(&["doc", "--locked", "--no-deps", "--quiet"]);
    step::run("rustdoc", docs.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny() -> anyhow::Result<()> {
    let tools = tools::for_wasm()?;
    tools::cargo_deny(&tools)?;
    // Every package of every platform, also what is not built here.
    step::run("cargo fetch", &mut cargo(&["fetch", "--locked"]))?;
    let mut deny = step::command(tools.cargo_tool("cargo-deny"));
    // Advisories need the network: `cargo deny check advisories`, where there is one.
    deny.args(["--offline", "check", "licenses", "bans", "sources"]);
    step::run("cargo deny", &mut deny)
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
