//! Checks which crate may depend on which: allow lists over `cargo tree`, with positive controls.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, bail, ensure};

use crate::step::{self, cargo, root};

/// All crates that `edgepass-verify` may depend on. No clock, no randomness, no runtime, no socket.
const VERIFY: [&str; 50] = [
    "adler2",
    "base16ct",
    "base64",
    "block-buffer",
    "borrow-or-share",
    "cfg-if",
    "cmov",
    "const-oid",
    "cpubits",
    "crypto-bigint",
    "crypto-common",
    "ctutils",
    "curve25519-dalek",
    "der",
    "digest",
    "ed25519",
    "ed25519-dalek",
    "edgepass-crypto",
    "edgepass-jose",
    "edgepass-status-list",
    "edgepass-verify",
    "elliptic-curve",
    "ff",
    "fluent-uri",
    "foldhash",
    "group",
    "hmac",
    "hybrid-array",
    "itoa",
    "memchr",
    "miniz_oxide",
    "num-traits",
    "p256",
    "p384",
    "primefield",
    "primeorder",
    "rand_core",
    "ref-cast",
    "sec1",
    "serde",
    "serde_core",
    "serde_json",
    "sha2",
    "signature",
    "subtle",
    "thiserror",
    "typenum",
    "wnaf",
    "zeroize",
    "zmij",
];
/// Crates that `edgepass-verify` must never depend on. They are named here so that the list above
/// does not gain one by oversight.
const NEVER: [&str; 9] =
    ["getrandom", "tokio", "async-std", "smol", "mio", "socket2", "reqwest", "chrono", "js-sys"];
/// Crates of the issuer. The guard must not depend on any of them.
const ISSUER: [&str; 4] = ["edgepass-issuer", "edgepass-store", "edgepass-server", "edgepass"];
/// Exports of the guard's module: its handler and its Durable Object.
const GUARD_EXPORTS: [&str; 2] = ["default", "UsedProofs"];

/// Check all rules about dependencies.
pub(crate) fn check() -> anyhow::Result<()> {
    println!("• dependency closure ...");
    let verify = tree("edgepass-verify", "wasm32-unknown-unknown")?;
    let allowed: BTreeSet<String> = VERIFY.iter().map(|name| (*name).to_owned()).collect();
    let extra: Vec<&String> = verify.difference(&allowed).collect();
    ensure!(
        extra.is_empty(),
        "edgepass-verify depends on {extra:?}, which are not on its allow list"
    );
    let unused: Vec<&String> = allowed.difference(&verify).collect();
    ensure!(
        unused.is_empty(),
        "the allow list names {unused:?}, which are no dependencies: remove them"
    );
    for name in NEVER {
        ensure!(!verify.contains(name), "edgepass-verify depends on {name}");
    }

    let guard = tree("edgepass-guard", "wasm32-unknown-unknown")?;
    for name in ISSUER {
        ensure!(!guard.contains(name), "the guard depends on {name}");
    }
    ensure!(
        !features("edgepass-guard")?.contains("encoder"),
        "the guard has the feature `encoder` of edgepass-status-list"
    );

    // Positive controls: the same queries find dependencies that exist.
    let cli = tree("edgepass", "x86_64-unknown-linux-gnu")?;
    for name in ["edgepass-issuer", "edgepass-verify", "getrandom", "tokio"] {
        ensure!(
            cli.contains(name),
            "the check does not work: it does not find {name} under edgepass"
        );
    }
    ensure!(
        guard.contains("edgepass-verify"),
        "the check does not work: it does not find the guard's dependencies"
    );
    ensure!(
        features("edgepass-issuer")?.contains("encoder"),
        "the check does not work: it does not find features"
    );

    check_directions()?;
    println!("• dependency closure: ok");
    Ok(())
}

/// Check that the guard exports its handler and its Durable Object and nothing else.
pub(crate) fn check_exports() -> anyhow::Result<()> {
    let file = root().join("worker/build/index.js");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let list = text.rsplit_once("export{").context("the guard exports nothing")?.1;
    let list = list.split_once('}').context("the export list has no closing brace")?.0;
    let names: BTreeSet<&str> =
        list.split(',').map(|item| item.rsplit(" as ").next().unwrap_or(item).trim()).collect();
    let expected = BTreeSet::from(GUARD_EXPORTS);
    ensure!(names == expected, "the guard exports {names:?} instead of {expected:?}");
    println!("• the guard exports its handlers and nothing else");
    Ok(())
}

/// Check each crate's direct dependencies on other crates of the project: they must be exactly
/// these.
fn check_directions() -> anyhow::Result<()> {
    const ORDER: [(&str, &[&str]); 10] = [
        ("edgepass-jose", &[]),
        ("edgepass-crypto", &["edgepass-jose"]),
        ("edgepass-status-list", &["edgepass-jose"]),
        ("edgepass-mask", &[]),
        ("edgepass-verify", &["edgepass-crypto", "edgepass-jose", "edgepass-status-list"]),
        ("edgepass-web", &["edgepass-jose", "edgepass-verify"]),
        ("edgepass-log", &["edgepass-crypto"]),
        (
            "edgepass-issuer",
            &[
                "edgepass-crypto",
                "edgepass-jose",
                "edgepass-log",
                "edgepass-status-list",
                "edgepass-usage",
                "edgepass-verify",
            ],
        ),
        (
            "edgepass-store",
            &["edgepass-issuer", "edgepass-log", "edgepass-status-list", "edgepass-verify"],
        ),
        (
            "edgepass-server",
            &[
                "edgepass-client",
                "edgepass-issuer",
                "edgepass-jose",
                "edgepass-log",
                "edgepass-usage",
                "edgepass-verify",
            ],
        ),
    ];
    for (package, expected) in ORDER {
        let arguments =
            ["tree", "--locked", "--edges", "normal", "--depth", "1", "--prefix", "none"];
        let mut tree = cargo(&arguments);
        let text = step::output("cargo tree", tree.args(["--package", package]))?;
        let own: BTreeSet<&str> = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| name.starts_with("edgepass"))
            .collect();
        if own != BTreeSet::from_iter(expected.iter().copied()) {
            bail!("{package} depends on {own:?}, expected {expected:?}");
        }
    }
    Ok(())
}

/// The names of all crates that `package` depends on, and its own. Build-time crates are left out.
fn tree(package: &str, target: &str) -> anyhow::Result<BTreeSet<String>> {
    let arguments = ["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none"];
    let mut tree = cargo(&arguments);
    let text = step::output("cargo tree", tree.args(["--package", package, "--target", target]))?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// The features of `edgepass-status-list` that `package` enables.
fn features(package: &str) -> anyhow::Result<String> {
    let arguments = ["tree", "--locked", "--edges", "normal,features", "--prefix", "none"];
    let mut tree = cargo(&arguments);
    let text = step::output("cargo tree", tree.args(["--package", package]))?;
    Ok(text.lines().filter(|line| line.contains("edgepass-status-list feature")).collect())
}
