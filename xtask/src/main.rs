//! The developer's commands. `cargo xtask help` lists them.

mod artifacts;
mod bench;
mod ci;
mod closure;
mod demo;
mod fuzz;
mod http;
mod journey;
mod process;
mod provenance;
mod size;
mod step;
mod suites;
mod system;
mod tally;
mod tools;
mod transcript;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask <command>

  demo [--check]     start everything and print what to try; --check makes the journey by itself
  test [NAME...]     set up and run the suites, or those named; --list names them
  check              formatting, lints and unit tests, before a push: a minute once all is built
  setup              install what is missing for demo, bench and most suites, and nothing else
  worker             build the guard into worker/build (wrangler calls this)
  npm                build the npm package and pack it; prints where
  inspector          build the inspector into www/edgepass
  forge              sign the verification vectors anew
  fuzz [SECONDS]     fuzz every target, so long in all; 60 s without a number
  differential [TOKENS [SEED]]
                     judge generated tokens by this and by other libraries
  simulate [--runs N] [--seed S]
                     hundreds of isolates in virtual time; a failing run prints its seed
  faults             the suite `faults`, with the issuer away for five minutes
  bench [--quick] [--json]
                     measure this and other libraries; a full run writes docs/benchmarks.md
  provenance         write docs/provenance.md: whose code is in what is shipped, under which licence
  advisories         known weaknesses in what is locked, of cargo's and npm's; needs the network
  ci [STEP...]       run what CI runs; --list names the steps

Tools go to target/tools and node_modules. For the tests, Chromium, Python's venv, nginx, Varnish, HAProxy,
Squid and Apache come from apt-get where that is possible. Needed beforehand: rustup, Node.js with npm, a C compiler.";

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
        ("inspector", []) => tools::for_wasm().and_then(|tools| artifacts::inspector(&tools)),
        ("forge", []) => tools::for_wasm().and_then(|tools| suites::forge(&tools)),
        ("fuzz", []) => fuzz::run(fuzz::SECONDS),
        ("fuzz", [seconds]) => number(seconds).and_then(fuzz::run),
        ("differential", words @ ([] | [_] | [_, _])) => differential(words),
        ("simulate", options) => step::run("simulate", &mut suites::simulate(options)),
        ("faults", []) => suites::long_faults(),
        ("bench", options) => bench::run(options),
        ("provenance", []) => provenance::write(),
        ("advisories", []) => ci::advisories(),
        ("ci", ["--list"]) => ci::list(),
        ("ci", names) => ci::run(names),
        ("help" | "--help" | "-h", _) => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("there is no command {command:?} with arguments {rest:?}\n\n{HELP}");
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
    word.parse().map_err(|_| anyhow::anyhow!("{word:?} is no number"))
}
