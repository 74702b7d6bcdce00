//! Which crate may reach which: allow lists over `cargo tree`, with positive controls.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, bail, ensure};

use crate::step::{self, cargo, root};

/// Everything that may lie under `edgepass-verify`. No clock, no randomness, no runtime, no socket.
const VERIFY: [&str; 51] = [
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
    "humantime",
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
/// Crates that must never lie under `edgepass-verify`; named so that the list above can't grow to
/// hold one by oversight.
const NEVER: [&str; 9] =
    ["getrandom", "tokio", "async-std", "smol", "mio", "socket2", "reqwest", "chrono", "js-sys"];
/// Crates of the issuer; none may be reached by what runs at the edge.
const ISSUER: [&str; 4] = ["edgepass-issuer", "edgepass-store", "edgepass-server", "edgepass"];
/// What the guard's module exports: its handler and its Durable Object.
const GUARD_EXPORTS: [&str; 2] = ["default", "UsedProofs"];

/// Check every border.
pub(crate) fn check() -> anyhow::Result<()> {
    println!("• dependency closure ...");
    let verify = tree("edgepass-verify", "wasm32-unknown-unknown")?;
    let allowed: BTreeSet<String> = VERIFY.iter().map(|name| (*name).to_owned()).collect();
    let extra: Vec<&String> = verify.difference(&allowed).collect();
    ensure!(
        extra.is_empty(),
        "edgepass-verify reaches {extra:?}, which its allow list does not name"
    );
    let unused: Vec<&String> = allowed.difference(&verify).collect();
    ensure!(
        unused.is_empty(),
        "the allow list names {unused:?}, which nothing reaches: remove them"
    );
    for name in NEVER {
        ensure!(!verify.contains(name), "edgepass-verify reaches {name}");
    }

    let guard = tree("edgepass-guard", "wasm32-unknown-unknown")?;
    for name in ISSUER {
        ensure!(!guard.contains(name), "the guard reaches {name}");
    }
    ensure!(!features("edgepass-guard")?.contains("encoder"), "the guard can build status lists");

    // Positive controls: the same questions find what is really there.
    let cli = tree("edgepass", "x86_64-unknown-linux-gnu")?;
    for name in ["edgepass-issuer", "edgepass-verify", "getrandom", "tokio"] {
        ensure!(cli.contains(name), "the check is blind: it does not see {name} under edgepass");
    }
    ensure!(guard.contains("edgepass-verify"), "the check is blind to the guard's dependencies");
    ensure!(features("edgepass-issuer")?.contains("encoder"), "the check is blind to features");

    check_directions()?;
    println!("• dependency closure: as written");
    Ok(())
}

/// The guard exports its handlers and nothing of ours.
pub(crate) fn check_exports() -> anyhow::Result<()> {
    let file = root().join("worker/build/index.js");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let list = text.rsplit_once("export{").context("the guard exports nothing")?.1;
    let list = list.split_once('}').context("an export list ends")?.0;
    let names: BTreeSet<&str> =
        list.split(',').map(|item| item.rsplit(" as ").next().unwrap_or(item).trim()).collect();
    let expected = BTreeSet::from(GUARD_EXPORTS);
    ensure!(names == expected, "the guard exports {names:?} instead of {expected:?}");
    println!("• the guard exports its handlers and nothing else");
    Ok(())
}

/// `A <- B`: B may depend on A, never the reverse.
fn check_directions() -> anyhow::Result<()> {
    const ORDER: [(&str, &[&str]); 8] = [
        ("edgepass-jose", &[]),
        ("edgepass-crypto", &["edgepass-jose"]),
        ("edgepass-status-list", &["edgepass-jose"]),
        ("edgepass-verify", &["edgepass-crypto", "edgepass-jose", "edgepass-status-list"]),
        ("edgepass-web", &["edgepass-jose", "edgepass-verify"]),
        (
            "edgepass-issuer",
            &["edgepass-crypto", "edgepass-jose", "edgepass-status-list", "edgepass-verify"],
        ),
        ("edgepass-store", &["edgepass-issuer", "edgepass-status-list"]),
        ("edgepass-server", &["edgepass-issuer", "edgepass-jose", "edgepass-verify"]),
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

/// The names of every crate under `package`, itself included; build-time crates are left out.
fn tree(package: &str, target: &str) -> anyhow::Result<BTreeSet<String>> {
    let arguments = ["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none"];
    let mut tree = cargo(&arguments);
    let text = step::output("cargo tree", tree.args(["--package", package, "--target", target]))?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// The features of `edgepass-status-list` that `package` turns on.
fn features(package: &str) -> anyhow::Result<String> {
    let arguments = ["tree", "--locked", "--edges", "normal,features", "--prefix", "none"];
    let mut tree = cargo(&arguments);
    let text = step::output("cargo tree", tree.args(["--package", package]))?;
    Ok(text.lines().filter(|line| line.contains("edgepass-status-list feature")).collect())
}
