//! Sets up and runs the test suites.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::artifacts;
use crate::crash;
use crate::journey;
use crate::step::{self, cargo, root};
use crate::system::{Log, System};
use crate::tally::Tally;
use crate::tools::{self, Tools, target_dir};

type Suite = fn(&Tools) -> anyhow::Result<Tally>;

const SUITES: [(&str, &str, Suite); 16] = [
    ("rust", "unit, documentation and whole-program tests in Rust", rust),
    ("vectors", "one vector file on four hosts: native, Node, workerd, Chromium", vectors),
    ("field", "what other issuers, hosts and clients do, by kind, on the same four hosts", field),
    ("bundles", "the package, built by each bundler and run", bundles),
    ("readers", "our tokens, read by verifiers that other people wrote", readers),
    ("interop", "OAuth clients and outside issuers of other people at a real issuer", interop),
    ("differential", "generated tokens, judged by this and other libraries", differential),
    (
        "simulation",
        "isolates and faults in virtual time; every rule is broken once and must be detected",
        simulation,
    ),
    (
        "journey",
        "issuer, guard and origin as real processes, with and without the Cache API",
        journey_suite,
    ),
    ("faults", "revocation under load and faults: kills, outages, a bucket, clocks, keys", faults),
    ("use", "how tokens are used: counted by guards, reported, and shown by the issuer", use_suite),
    ("governance", "access on request, and values that leave masked, in workerd", governance),
    ("crash", "an issuer that is killed, with a failing disk or damaged files", crash::suite),
    (
        "hostile",
        "caches, origins, clients and operator mistakes that could weaken the guard",
        hostile,
    ),
    ("inspector", "the inspector in real Chromium", inspector),
    ("examples", "each example, on the runtime that it is for", examples),
];

/// Print the suites and what they test.
pub(crate) fn list() -> anyhow::Result<()> {
    for (name, what, _) in SUITES {
        println!("{name:<10} {what}");
    }
    Ok(())
}

/// Run the named suites, or all.
pub(crate) fn run(names: &[&str]) -> anyhow::Result<()> {
    if let Some(unknown) = names.iter().find(|name| SUITES.iter().all(|(own, ..)| own != *name)) {
        bail!("unknown suite {unknown:?}; `cargo xtask test --list` prints the suites");
    }
    let tools = tools::everything()?;
    let mut total = Tally::default();
    for (name, _, suite) in SUITES {
        if names.is_empty() || names.contains(&name) {
            println!("\n=== {name}");
            let mut tally = suite(&tools).with_context(|| format!("suite {name}"))?;
            for failure in &mut tally.failures {
                failure.insert_str(0, &format!("{name}: "));
            }
            println!("=== {name}: {} passed, {} failed", tally.passed, tally.failed);
            total.add(&tally);
        }
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    total.verdict()
}

/// Sign all vectors again.
pub(crate) fn forge(tools: &Tools) -> anyhow::Result<()> {
    step::run("sign the vectors", &mut tools.node(&["tests/vectors/forge.mjs"]))?;
    step::run("sign the batch lines", &mut tools.node(&["tests/vectors/batch.mjs"]))?;
    step::run("sign the lines of the field", &mut tools.node(&["tests/vectors/field.mjs"]))?;
    step::run("sign the lines of issuers", &mut tools.node(&["tests/vectors/issuers.mjs"]))
}

fn rust(_: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    tools::postgresql()?;
    let features = "edgepass-status-list/encoder,edgepass-client/axum";
    let mut all = cargo(&["test", "--locked", "--workspace", "--features", features]);
    // The vectors are a suite of their own; the npm package has nothing native to test.
    all.args(["--exclude", "edgepass-npm", "--exclude", "edgepass-tests", "--no-fail-fast"]);
    all.args(["--exclude", "edgepass-npm-mask"]);
    all.args(["--exclude", "edgepass-probe", "--exclude", "edgepass-tests-wasm"]);
    all.args(["--exclude", "edgepass-simulation", "--exclude", "edgepass-routing"]);
    count_cargo(&mut tally, "cargo test", &mut all)?;
    // One test needs a build with wrong constants.
    let mut fault = cargo(&["test", "--locked", "--package", "edgepass-tests"]);
    fault.args(["--features", "planted-fault", "--test", "planted_fault"]);
    count_cargo(&mut tally, "planted fault", &mut fault)?;
    Ok(tally)
}

fn vectors(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut native = cargo(&["test", "--locked", "--package", "edgepass-tests", "--tests"]);
    native.args(["--", "--nocapture"]).args(FIELD.iter().flat_map(|name| ["--skip", name]));
    count_cargo(&mut tally, "vectors, native", &mut native)?;
    let clean = clean_install(tools)?;
    let mut others =
        tools.node(&["--test", "--test-reporter=spec", "tests/hosts/vectors.test.mjs"]);
    others.env("EDGEPASS_INSTALLED", &clean).env("EDGEPASS_CHROMIUM", tools::chromium()?);
    count_node(&mut tally, "vectors in Node, workerd and Chromium", &mut others)?;
    let mut others =
        tools.node(&["--test", "--test-reporter=spec", "tests/hosts/third-party.test.mjs"]);
    others.env("EDGEPASS_PROBE", artifacts::probe(tools)?);
    others.env("EDGEPASS_CHROMIUM", tools::chromium()?);
    count_node(&mut tally, "third-party vectors in Node, workerd and Chromium", &mut others)?;
    Ok(tally)
}

/// Modules of the native tests that belong to the suite `field`.
const FIELD: [&str; 2] = ["field::", "http_freshness::"];

fn field(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut native = cargo(&["test", "--locked", "--package", "edgepass-tests", "--test"]);
    native.args(["native", "--", "--nocapture"]).args(FIELD);
    count_cargo(&mut tally, "the field, native", &mut native)?;
    let clean = clean_install(tools)?;
    let mut others = tools.node(&["--test", "--test-reporter=spec", "--test-concurrency=2"]);
    let files = ["lines", "fetching", "guard", "frameworks", "options"];
    others.args(files.map(|file| format!("tests/field/{file}.test.mjs")));
    others.env(
        "EDGEPASS_FIELD_GUARD",
        artifacts::guard_with(tools, "tests/field/guard.toml", "field-guard")?,
    );
    others.env("EDGEPASS_INSTALLED", &clean).env("EDGEPASS_CHROMIUM", tools::chromium()?);
    others.env("EDGEPASS_GUARD", root().join("worker/build"));
    count_node(&mut tally, "the field in Node, workerd and Chromium", &mut others)?;
    Ok(tally)
}

fn bundles(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    tools::bundlers()?;
    let tarball = artifacts::npm(tools)?;
    let mut test =
        tools.node(&["--test", "--test-reporter=spec", "tests/bundles/bundles.test.mjs"]);
    test.env("EDGEPASS_TARBALL", tarball).env("EDGEPASS_CHROMIUM", tools::chromium()?);
    count_node(&mut tally, "the package, bundled and run", &mut test)?;
    Ok(tally)
}

fn readers(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let edgepass = artifacts::issuer()?;
    let python = tools::libraries("readers")?;
    // Some of the libraries keep timers that nothing stops.
    let mut test = tools.node(&["--test", "--test-reporter=spec", "--test-force-exit"]);
    test.args(["tests/readers/readers.test.mjs", "tests/readers/audit.test.mjs"]);
    test.env("EDGEPASS_PROGRAM", edgepass).env("EDGEPASS_PYTHON", python);
    count_node(&mut tally, "verifiers that other people wrote", &mut test)?;
    Ok(tally)
}

fn interop(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let edgepass = artifacts::issuer()?;
    let python = tools::libraries("interop")?;
    let mut test = tools.node(&["--test", "--test-reporter=spec"]);
    tools::softhsm()?;
    test.args(
        ["interop", "pkcs11", "sidecar"].map(|name| format!("tests/interop/{name}.test.mjs")),
    );
    test.env("EDGEPASS_PROGRAM", edgepass).env("EDGEPASS_PYTHON", python);
    test.env("EDGEPASS_INSTALLED", clean_install(tools)?);
    artifacts::worker(tools)?;
    test.env("EDGEPASS_GUARD", root().join("worker/build"));
    count_node(&mut tally, "OAuth clients that other people wrote", &mut test)?;
    Ok(tally)
}

/// Number of simulation runs in CI.
const SIMULATIONS: u64 = 250;

fn simulation(_: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut rules = cargo(&["test", "--locked", "--release", "--package", "edgepass-simulation"]);
    count_cargo(&mut tally, "every rule broken once", &mut rules)?;
    tally.check("no run accepts a token past its bound or refuses one without a cause", || {
        let mut runs = simulate(&["--runs", &SIMULATIONS.to_string()]);
        Ok(step::output("the simulation", &mut runs)?.trim().replace('\n', "; "))
    });
    Ok(tally)
}

/// The command that runs the simulation with `arguments`.
pub(crate) fn simulate(arguments: &[&str]) -> Command {
    let mut runs = cargo(&["run", "--locked", "--release", "--quiet", "--package"]);
    runs.args(["edgepass-simulation", "--"]).args(arguments);
    runs
}

/// Number of generated tokens that CI judges.
pub(crate) const DIFFERENTIAL_TOKENS: u64 = 100_000;

fn differential(tools: &Tools) -> anyhow::Result<Tally> {
    differential_run(tools, DIFFERENTIAL_TOKENS, 1)
}

/// Judge `tokens` generated tokens, with seeds from `seed` on.
pub(crate) fn differential_run(tools: &Tools, tokens: u64, seed: u64) -> anyhow::Result<Tally> {
    let program = artifacts::issuer()?;
    let installed = clean_install(tools)?;
    let judge = |tokens: u64, seed: u64| {
        let mut run = tools.node(&["tests/differential/run.mjs"]);
        run.args([tokens.to_string(), seed.to_string()]);
        run.env("EDGEPASS_PROGRAM", &program).env("EDGEPASS_INSTALLED", &installed);
        step::run(&format!("judge {tokens} tokens from seed {seed}"), &mut run)
    };
    // Two processes judge one half each, on two cores.
    let first = tokens / 2;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| judge(tokens - first, seed + first));
        judge(first, seed)?;
        other.join().unwrap_or_else(|_| bail!("the second half panicked"))
    })?;
    Ok(Tally { passed: 1, ..Tally::default() })
}

fn journey_suite(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let edgepass = artifacts::issuer()?;
    artifacts::worker(tools)?;
    for (cache, algorithm) in [("cache-api", "EdDSA"), ("none", "RS256")] {
        let mut system = System::start(tools, &edgepass, cache, algorithm, Log::Kept)?;
        println!("cache tier {cache}, signed with {algorithm}:");
        tally.add(&journey::main_job(&system));
        tally.add(&journey::guard::checks(&system));
        tally.add(&journey::issuer::checks(&system));
        if cache == "none" {
            guard_tests(&mut tally, tools, &system)?;
        }
        tally.add(&journey::outage(&mut system));
        tally.add(&journey::silence(&system));
    }
    Ok(tally)
}

/// Test the guard with other bindings than the demo's.
fn guard_tests(tally: &mut Tally, tools: &Tools, system: &System) -> anyhow::Result<()> {
    let (program, folder) = system.program();
    let files = ["guard", "sender", "documents"].map(|file| format!("tests/hosts/{file}.test.mjs"));
    let mut test = tools.node(&["--test", "--test-reporter=spec"]);
    test.args(files);
    test.env("EDGEPASS_GUARD", root().join("worker/build")).env("EDGEPASS_ISSUER", &system.issuer);
    test.env("EDGEPASS_PROGRAM", program).env("EDGEPASS_FOLDER", folder);
    count_node(tally, "the guard with other bindings", &mut test)
}

fn faults(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    count_node(&mut tally, "faults", &mut fault_tests(tools)?)?;
    Ok(tally)
}

/// Run the suite `faults` with the issuer away for five minutes.
pub(crate) fn long_faults() -> anyhow::Result<()> {
    let tools = tools::everything()?;
    let mut test = fault_tests(&tools)?;
    test.env("EDGEPASS_AWAY", "300").env("EDGEPASS_REVOCATIONS", "1000");
    step::run("faults, issuer away for 300 s, 1,000 revocations", &mut test)
}

fn fault_tests(tools: &Tools) -> anyhow::Result<Command> {
    let edgepass = artifacts::issuer()?;
    artifacts::worker(tools)?;
    let mut test = tools.node(&["--test", "--test-reporter=spec", "--test-concurrency=2"]);
    test.args(["faults", "bucket"].map(|file| format!("tests/faults/{file}.test.mjs")));
    test.env("EDGEPASS_GUARD", root().join("worker/build")).env("EDGEPASS_PROGRAM", edgepass);
    test.env("EDGEPASS_SEAWEEDFS", tools::seaweedfs()?);
    Ok(test)
}

fn use_suite(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let edgepass = artifacts::issuer()?;
    artifacts::worker(tools)?;
    artifacts::npm(tools)?;
    let mut test = tools.node(&["--test", "--test-reporter=spec", "--test-concurrency=2"]);
    test.args(
        ["use", "package", "misuse", "leaks"].map(|file| format!("tests/use/{file}.test.mjs")),
    );
    test.env("EDGEPASS_GUARD", root().join("worker/build")).env("EDGEPASS_PROGRAM", edgepass);
    count_node(&mut tally, "the use of tokens", &mut test)?;
    Ok(tally)
}

/// The policy of the guard that masks.
pub(crate) const GOVERNANCE_POLICY: &str = "tests/governance/guard.toml";

fn governance(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let guard = artifacts::guard_with(tools, GOVERNANCE_POLICY, "governance-guard")?;
    let mut test = tools.node(&["--test", "--test-reporter=spec"]);
    test.args(
        ["access", "breach", "journey", "masking", "package-masking", "records"]
            .map(|name| format!("tests/governance/{name}.test.mjs")),
    );
    test.env("EDGEPASS_PROGRAM", artifacts::issuer()?).env("EDGEPASS_GOVERNANCE_GUARD", guard);
    test.env("EDGEPASS_CHROMIUM", tools::chromium()?);
    test.env("EDGEPASS_INSTALLED", clean_install(tools)?);
    count_node(&mut tally, "what an agreement and a scope let through", &mut test)?;
    Ok(tally)
}

fn hostile(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let edgepass = artifacts::issuer()?;
    artifacts::worker(tools)?;
    let installed = clean_install(tools)?;
    step::run(
        "build the routing program",
        &mut cargo(&["build", "--locked", "-p", "edgepass-routing"]),
    )?;
    tools::caches()?;
    artifacts::inspector(tools)?;
    let system = System::start(tools, &edgepass, "none", "ES256", Log::Kept)?;
    let (program, folder) = system.program();
    let files = [
        "caches",
        "doctor",
        "headers",
        "hung",
        "inspector",
        "lasting",
        "package",
        "paths",
        "settings",
        "shared-caches",
        "unit",
    ];
    let mut test = tools.node(&["--test", "--test-reporter=spec", "--test-concurrency=2"]);
    test.args(files.map(|file| format!("tests/hostile/{file}.test.mjs")));
    test.env("EDGEPASS_GUARD", root().join("worker/build")).env("EDGEPASS_ISSUER", &system.issuer);
    test.env("EDGEPASS_PROGRAM", program).env("EDGEPASS_FOLDER", folder);
    test.env("EDGEPASS_INSTALLED", installed).env("EDGEPASS_CHROMIUM", tools::chromium()?);
    test.env("EDGEPASS_ROUTING", target_dir().join("debug/edgepass-routing"));
    count_node(&mut tally, "hostile clients, caches and origins", &mut test)?;
    Ok(tally)
}

fn inspector(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let edgepass = artifacts::issuer()?;
    artifacts::worker(tools)?;
    artifacts::inspector(tools)?;
    let system = System::start(tools, &edgepass, "none", "EdDSA", Log::Shown)?;
    let (program, folder) = system.program();
    let mut test =
        tools.node(&["--test", "--test-reporter=spec", "tests/hosts/inspector.test.mjs"]);
    test.env("EDGEPASS_CHROMIUM", tools::chromium()?);
    test.env("EDGEPASS_INSPECTOR", &system.inspector).env("EDGEPASS_ISSUER", &system.issuer);
    test.env("EDGEPASS_PROGRAM", program).env("EDGEPASS_FOLDER", folder);
    test.env("EDGEPASS_SCREENSHOTS", target_dir().join("screenshots"));
    count_node(&mut tally, "the inspector", &mut test)?;
    Ok(tally)
}

fn examples(tools: &Tools) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let edgepass = artifacts::issuer()?;
    let installed = clean_install(tools)?;
    tools::caches()?;
    let mut test = tools.node(&["--test", "--test-reporter=spec"]);
    test.args(["examples", "mcp"].map(|name| format!("tests/examples/{name}.test.mjs")));
    let guard = artifacts::guard_with(tools, "examples/mcp/guard.toml", "mcp-guard")?;
    test.env("EDGEPASS_MCP_GUARD", guard);
    test.env("EDGEPASS_INSTALLED", installed).env("EDGEPASS_PROGRAM", edgepass);
    test.env("EDGEPASS_CHROMIUM", tools::chromium()?);
    test.env("EDGEPASS_DENO", tools::npm_extras()?.join(".bin/deno"));
    test.env("EDGEPASS_AXUM", artifacts::axum_example()?);
    count_node(&mut tally, "the examples", &mut test)?;
    Ok(tally)
}

/// Install the packed package into an empty folder, as its users do.
pub(crate) fn clean_install(tools: &Tools) -> anyhow::Result<std::path::PathBuf> {
    let tarball = artifacts::npm(tools)?;
    let folder = target_dir().join("installed");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("package.json"), "{ \"private\": true, \"type\": \"module\" }\n")?;
    let mut install = tools.command("npm");
    install.current_dir(&folder).args(["install", "--silent", "--ignore-scripts", "--offline"]);
    step::run("install the packed package into a clean folder", install.arg(&tarball))?;
    type_check(tools, &folder)?;
    Ok(folder)
}

/// Check the types of programs that use the package. The frameworks are those of the workspace.
fn type_check(tools: &Tools, folder: &Path) -> anyhow::Result<()> {
    for program in ["types.ts", "frameworks.ts"] {
        fs::copy(root().join("tests/hosts").join(program), folder.join(program))?;
    }
    let check = |program: &str, more: &[&str]| {
        let mut check = tools.command(tools.npm_tool("tsc"));
        check.current_dir(folder).args(["--noEmit", "--strict", "--module", "nodenext"]);
        check.args(["--target", "es2022", "--lib", "es2022,dom", program]).args(more);
        step::run(&format!("check {program} against the package's types"), &mut check)
    };
    check("types.ts", &["--types", "node"])?;
    // The types of the frameworks themselves are not checked.
    check("frameworks.ts", &["--skipLibCheck"])
}

fn count_cargo(tally: &mut Tally, what: &str, command: &mut Command) -> anyhow::Result<()> {
    let before = tally.passed;
    let succeeded = step::watched(what, command, |line| {
        // test tests::name ... FAILED
        if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            tally.failures.push(name.to_owned());
        }
        // test result: ok. 7 passed; 0 failed; ...
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let count = |name: &str| {
            let at = words.iter().position(|word| word.starts_with(name))?;
            words.get(at.checked_sub(1)?)?.parse::<u32>().ok()
        };
        tally.passed += count("passed").unwrap_or_default();
        tally.failed += count("failed").unwrap_or_default();
    })?;
    conclude(tally, what, before, succeeded)
}

fn count_node(tally: &mut Tally, what: &str, command: &mut Command) -> anyhow::Result<()> {
    let before = tally.passed;
    let succeeded = step::watched(what, command, |line| {
        // ✖ name (12.3ms); the reporter prints each a second time, below "failing tests".
        if let Some(name) =
            line.trim_start().strip_prefix("✖ ").and_then(|rest| rest.split_once(" ("))
            && !tally.failures.iter().any(|known| known == name.0)
        {
            tally.failures.push(name.0.to_owned());
        }
        // ℹ pass 7
        let mut words = line.split_whitespace().skip(1);
        match (words.next(), words.next().and_then(|count| count.parse::<u32>().ok()), words.next())
        {
            (Some("pass"), Some(count), None) => tally.passed += count,
            (Some("fail" | "cancelled" | "skipped" | "todo"), Some(count), None) => {
                tally.failed += count;
            }
            _ => {}
        }
    })?;
    conclude(tally, what, before, succeeded)
}

/// Count a failure if a command failed without a counted failure. Having run no test is an error.
fn conclude(tally: &mut Tally, what: &str, before: u32, succeeded: bool) -> anyhow::Result<()> {
    if tally.passed == before && tally.failed == 0 {
        bail!("{what}: no test ran");
    }
    if !succeeded && tally.failed == 0 {
        tally.failed += 1;
        tally.failures.push(format!("{what}: the command failed"));
    }
    Ok(())
}
