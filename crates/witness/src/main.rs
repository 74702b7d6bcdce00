//! The program `edgepass-witness`.

use std::io::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser;
use edgepass_witness::{Args, EXAMPLES, Seen, Witness, WitnessError};
use serde_json::json;

/// Watches the audit log of an Edgepass issuer from elsewhere, and cosigns each checkpoint that continues it.
#[derive(Parser)]
#[command(name = "edgepass-witness", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    args: Args,
    /// Print JSON for programs instead of text for people.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let Cli { args, json } = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(&args, json)),
        Err(error) => Err(WitnessError::Usage(error.to_string())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error.chain());
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(args: &Args, json: bool) -> Result<(), WitnessError> {
    let agent = concat!("edgepass-witness/", env!("CARGO_PKG_VERSION"));
    let witness = Witness::open(args, agent)?;
    tell(&format!("key of the witness: {}", witness.verifier_key()));
    let told = |looked| match looked {
        Ok(seen) => print(seen, json),
        Err(error) => {
            tell(&WitnessError::chain(&error));
            Ok(())
        }
    };
    witness.watch(args.every, now, told).await
}

#[expect(clippy::disallowed_methods, reason = "this is a host: the clock is read here")]
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn print(Seen { size, before }: Seen, json: bool) -> Result<(), WitnessError> {
    let line = match json {
        true => json!({ "size": size, "before": before }).to_string(),
        false => format!("cosigned {size} entries, {before} before"),
    };
    let written = writeln!(std::io::stdout(), "{line}");
    written.map_err(|error| WitnessError::Usage(format!("stdout cannot be written: {error}")))
}

/// Tells a person something. If stderr is closed, nobody listens.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "edgepass-witness: {text}");
}
