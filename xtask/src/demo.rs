//! The command `cargo xtask demo`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::system::{Log, System};
use crate::{artifacts, journey, tools};

/// Start everything, print commands to try, and run until Ctrl-C.
pub(crate) fn run() -> anyhow::Result<()> {
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::SeqCst) {
            std::process::exit(130); // a second Ctrl-C exits at once
        }
    })
    .context("cannot install a handler for Ctrl-C")?;
    let mut system = start()?;
    print_what_to_try(&system)?;
    while !stopped.load(Ordering::SeqCst) {
        if !system.all_running() {
            bail!("a process of the demo ended; see its output above");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("\nstopping ...");
    Ok(())
}

/// Start everything, run the journey and stop.
pub(crate) fn check() -> anyhow::Result<()> {
    let system = start()?;
    println!("\nthe journey:");
    let tally = journey::main_job(&system);
    drop(system);
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    tally.verdict()
}

fn start() -> anyhow::Result<System> {
    let tools = tools::for_wasm()?;
    let edgepass = artifacts::issuer()?;
    artifacts::worker(&tools)?;
    artifacts::inspector(&tools)?;
    println!("• start issuer, origin, guard and inspector ...");
    System::start(&tools, &edgepass, "cache-api", "EdDSA", Log::Shown)
}

fn print_what_to_try(system: &System) -> anyhow::Result<()> {
    let output = system.edgepass(&["issue", "--role", "invoice-reader"]).output()?;
    let token = String::from_utf8(output.stdout)?;
    let token = token.trim();
    let (program, folder) = system.program();
    let edgepass = format!("(cd {} && {} ", folder.display(), program.display());
    let System { issuer, guard, origin, inspector, .. } = system;
    println!(
        "
  issuer     {issuer}
  guard      {guard}   (in workerd)
  origin     {origin}   (serves only the guard)
  inspector  {inspector}

A token that may read invoices for 10 minutes:

  TOKEN={token}

Allowed, 200:
  curl -i -H \"Authorization: Bearer $TOKEN\" {guard}/invoices

Missing scope, 403:
  curl -i -X POST -H \"Authorization: Bearer $TOKEN\" {guard}/invoices

No token, 401:
  curl -i {guard}/invoices

Revoke it; returns when the new status list is served:
  echo \"$TOKEN\" | {edgepass}revoke - --reason \"just trying\")

The first call again, refused with 401 token_revoked within 10 s:
  curl -i -H \"Authorization: Bearer $TOKEN\" {guard}/invoices

The four bounds with their terms, and the time until a revoked probe token is refused:
  {edgepass}doctor --url {guard}/invoices)

What was used, and what a rule found (the second write of the same token does):
  {edgepass}usage --by code)
  {edgepass}tokens)
  {edgepass}alerts)

Another token, which may write as well:
  {edgepass}issue --role invoice-clerk)

Paste a token into the inspector to see its claims and which step refuses it.
Ctrl-C stops everything."
    );
    Ok(())
}
