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
    let mut failed = 0_u32;
    loop {
        match witness.look(|| host::now().numeric_date().seconds()).await {
            Ok(seen) => {
                failed = 0;
                tell(seen, json)?;
            }
            Err(error) => {
                failed = failed.saturating_add(1);
                if args.every.is_none() || !error.may_pass(failed) {
                    return Err(with_code(error));
                }
                output::remark(&format!("edgepass: {}", error.chain()));
            }
        }
        match args.every {
            Some(every) => tokio::time::sleep(every).await,
            None => return Ok(Exit::Ok),
        }
    }
}

fn tell(Seen { size, before }: Seen, json: bool) -> anyhow::Result<()> {
    match json {
        true => output::json(&json!({ "size": size, "before": before })),
        false => output::line(&format!("cosigned {}, {before} before", entries(size))),
    }
}

/// The error with the exit code that the program `edgepass-witness` has for it.
pub(super) fn with_code(error: WitnessError) -> anyhow::Error {
    let text = error.chain();
    match error.exit_code() {
        1 => anyhow::Error::new(Failure::Refused).context(text),
        3 => anyhow::Error::new(Failure::Unavailable).context(text),
        _ => anyhow::Error::msg(text),
    }
}
