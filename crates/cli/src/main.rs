//! The `edgepass` program.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use edgepass::commands::Cli;
use mimalloc::MiMalloc;
use tokio::runtime::Builder;

/// Measured: up to a tenth more tokens each second than with the allocator of glibc, and that of musl
/// is slower.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A task that another thread wakes, as when a transaction is done, is run after at most so many others.
/// Tokio's default lets it wait for dozens of requests.
const OTHERS_FIRST: u32 = 4;

fn main() -> ExitCode {
    edgepass::private::forbid_core_dumps();
    if let Err(error) = edgepass::output::refuse_token_arguments(std::env::args_os()) {
        let json = std::env::args_os().any(|argument| argument == "--json");
        return edgepass::exit::report(&error, json);
    }
    let cli = Cli::parse();
    let json = cli.json();
    let mut runtime = Builder::new_multi_thread();
    let runtime = match runtime.enable_all().global_queue_interval(OTHERS_FIRST).build() {
        Ok(runtime) => runtime,
        Err(error) => return edgepass::exit::report(&anyhow::Error::new(error), json),
    };
    let exit = match runtime.block_on(cli.run()) {
        Ok(exit) => exit.into(),
        Err(error) => edgepass::exit::report(&error, json),
    };
    // A thread that hangs on a disk or a resolver must not keep the process from ending.
    runtime.shutdown_timeout(Duration::from_millis(500));
    exit
}
