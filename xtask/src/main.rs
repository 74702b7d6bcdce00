//! The developer's commands. `cargo xtask help` lists them.

mod artifacts;
mod bench;
mod ci;
mod closure;
mod crash;
mod demo;
mod fuzz;
mod http;
mod journey;
mod process;
mod provenance;
mod reference;
mod size;
mod step;
mod suites;
mod system;
mod tally;
mod tools;
mod transcript;
mod witness;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask <command>

  demo [--check]     start everything and print commands to try; --check runs the journey and exits
  test [NAME...]     set up and run all suites, or the named ones; --list prints their names
  check              formatting, lints and unit tests before a push; a minute once all is built
  setup              install the tools for demo, bench and most suites, and do nothing else
  worker             build the guard into worker/build (wrangler calls this)
  npm                build and pack the npm package; prints the path of the tarball
  inspector          build the inspector into www/edgepass
  forge              sign the verification vectors again
  fuzz [SECONDS]     fuzz every target, for SECONDS in total (default 60)
  differential [TOKENS [SEED]]
                     judge generated tokens with this and other libraries (default 100,000 from seed 1)
  simulate [--runs N] [--seed S]
                     simulate hundreds of isolates in virtual time; a failing run prints its seed
  faults             run the suite `faults` with the issuer away for five minutes and 1,000 revocations
  crash [--kills N] [--power-cuts N] [--only NAME] [--json]
                     kill the issuer, let its disk fail, damage its files; check docs/reliability.md's invariants
  crash --store postgres [--seconds N] [--only NAME] [--json]
                     kill several processes on one PostgreSQL server, their connections and the server
  bench [--quick] [--json]
                     measure this and other libraries; a full run writes docs/benchmarks.md
  bench issuer [--quick] [--json]
                     measure issuing, beside oidc-provider and the least that an issuer does
  witness            build the witness of audit logs as one static file; prints its path
  bench log [--quick] [--json]
                     measure the audit log of 10,000,000 entries (--quick: 1,000,000)
  bench growth [--quick] [--json]
                     measure issuing with up to 10,000,000 stored tokens (--quick: 1,000,000), and the purge
  bench watches [--quick] [--json]
                     measure 10,000 requests that wait for a status head (--quick: 2,000)
  bench reports [--quick] [--json]
                     measure issuing while 1,000 reports of use arrive in a second (--quick: 200)
  bench masking [--quick] [--json]
                     measure the guard that masks 1 MiB of JSON, beside a Worker that parses and writes it
  bench leaks [--quick] [--json]
                     measure the scan of source text, beside ripgrep
  reference          write docs/api, the API reference of the npm package
  provenance         write docs/provenance.md: third-party code in shipped artifacts, with its licences
  advisories         look up known vulnerabilities of the locked cargo and npm packages; needs the network
  ci [STEP...]       run all CI steps, or the named ones; --list prints their names

Tools go to target/tools and node_modules. For the tests, Chromium, Python's venv, nginx, Varnish, HAProxy,
Squid, Apache, SoftHSM and PostgreSQL are installed with apt-get if possible. Prerequisites: rustup, Node.js with npm, a C compiler.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words = arguments.iter().map(String::as_str);
    let command = words.next().unwrap_or("help");
    let rest: Vec<&str> = words.collect();
    let outcome = match (command, rest.as_slice()) {
        (_, ["--help" | "-h"]) => {
            println!("{HELP}");
            Ok(())
        }
        ("demo", []) => demo::run(),
        ("demo", ["--check"]) => demo::check(),
        ("test", ["--list"]) => suites::list(),
        ("test", names) => suites::run(names),
        ("check", []) => ci::check(),
        ("setup", []) => tools::everything().map(drop),
        ("worker", []) => tools::for_wasm().and_then(|tools| artifacts::worker(&tools)),
        ("npm", []) => tools::for_wasm()
            .and_then(|tools| artifacts::npm(&tools))
            .map(|tarball| println!("packed {}", tarball.display())),
        ("witness", []) => witness::run(),
        ("inspector", []) => tools::for_wasm().and_then(|tools| artifacts::inspector(&tools)),
        ("forge", []) => tools::for_wasm().and_then(|tools| suites::forge(&tools)),
        ("fuzz", []) => fuzz::run(fuzz::SECONDS),
        ("fuzz", [seconds]) => number(seconds).and_then(fuzz::run),
        ("differential", words @ ([] | [_] | [_, _])) => differential(words),
        ("simulate", options) => step::run("simulate", &mut suites::simulate(options)),
        ("faults", []) => suites::long_faults(),
        ("crash", options) => crash::run(options),
        ("bench", options) => bench::run(options),
        ("reference", []) => reference::write(),
        ("provenance", []) => provenance::write(),
        ("advisories", []) => ci::advisories(),
        ("ci", ["--list"]) => ci::list(),
        ("ci", names) => ci::run(names),
        ("help" | "--help" | "-h", _) => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("unknown command {command:?} with arguments {rest:?}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn differential(words: &[&str]) -> anyhow::Result<()> {
    let tokens = words.first().map_or(Ok(suites::DIFFERENTIAL_TOKENS), |word| number(word))?;
    let seed = words.get(1).map_or(Ok(1), |word| number(word))?;
    suites::differential_run(&tools::for_wasm()?, tokens, seed).map(drop)
}

fn number(word: &str) -> anyhow::Result<u64> {
    word.parse().map_err(|_| anyhow::anyhow!("{word:?} is not a number"))
}
