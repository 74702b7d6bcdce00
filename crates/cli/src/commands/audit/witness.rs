//! `edgepass audit witness`: as the program `edgepass-witness`.

use edgepass_client::USER_AGENT;
use edgepass_witness::{Args, Seen, Witness, WitnessError};
use serde_json::json;

use super::entries;
use crate::commands::source::Source;
use crate::exit::{Exit, Failure};
use crate::{host, output};

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    source.refuse_server()?;
    let witness = Witness::open(&args, USER_AGENT).map_err(with_code)?;
    output::remark(&format!("key of the witness: {}", witness.verifier_key()));
    let told = |looked: Result<Seen, WitnessError>| match looked {
        Ok(seen) => tell(seen, json),
        Err(error) => {
            output::remark(&format!("edgepass: {}", error.chain()));
            Ok(())
        }
    };
    let now = || host::now().numeric_date().seconds();
    match witness.watch(args.every, now, told).await {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => Err(error.downcast().map_or_else(|other| other, with_code)),
    }
}

fn tell(Seen { size, before }: Seen, json: bool) -> anyhow::Result<()> {
    match json {
        true => output::json(&json!({ "size": size, "before": before })),
        false => output::line(&format!("cosigned {}, {before} before", entries(size))),
    }
}

/// The error with the exit code that the program `edgepass-witness` has for it.
pub(in crate::commands) fn with_code(error: WitnessError) -> anyhow::Error {
    let text = error.chain();
    match error.exit_code() {
        1 => anyhow::Error::new(Failure::Refused).context(text),
        3 => anyhow::Error::new(Failure::Unavailable).context(text),
        _ => anyhow::Error::msg(text),
    }
}
