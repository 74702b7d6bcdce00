//! The `edgepass` program.

use std::process::ExitCode;

use clap::Parser;
use edgepass::commands::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return edgepass::exit::report(&anyhow::Error::new(error)),
    };
    match runtime.block_on(cli.run()) {
        Ok(exit) => exit.into(),
        Err(error) => edgepass::exit::report(&error),
    }
}
