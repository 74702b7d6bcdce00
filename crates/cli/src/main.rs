//! The `edgepass` program.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use edgepass::commands::Cli;

fn main() -> ExitCode {
    edgepass::private::forbid_core_dumps();
    if let Err(error) = edgepass::output::refuse_token_arguments(std::env::args_os()) {
        let json = std::env::args_os().any(|argument| argument == "--json");
        return edgepass::exit::report(&error, json);
    }
    let cli = Cli::parse();
    let json = cli.json();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
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
