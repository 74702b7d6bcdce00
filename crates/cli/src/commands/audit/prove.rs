//! `edgepass audit prove`.

use edgepass_issuer::log::prove::{ProveError, find_issue};
use edgepass_log::LogProof;
use edgepass_server::admin::trail::{ProofQuery, proven};
use serde_json::Value;

use super::damaged;
use crate::commands::source::Source;
use crate::exit::Exit;
use crate::output;
use crate::remote::not_of_an_issuer;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("entry").required(true)))]
pub(super) struct Args {
    /// Position of the entry, as `edgepass audit export` prints it.
    #[arg(group = "entry")]
    position: Option<u64>,
    /// The entry about the issue of the token with this `jti`.
    #[arg(long, group = "entry", allow_hyphen_values = true)]
    jti: Option<String>,
    /// Also print the personal values of the entry and their salt, on stderr; with --json in the object.
    #[arg(long)]
    private: bool,
}

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let shown = match source.remote()? {
        Some(remote) => {
            let (position, jti, private) = (args.position, args.jti, args.private);
            remote.get("audit/proof", &ProofQuery { position, jti, private }).await?
        }
        None => {
            let (store, log) = super::open(source).await?;
            let position = match (args.position, &args.jti) {
                (Some(position), _) => position,
                (None, jti) => {
                    let jti = jti.as_deref().unwrap_or_default();
                    let none = || damaged(format!("no entry says that a token {jti:?} was issued"));
                    find_issue(&store, jti).await?.ok_or_else(none)?
                }
            };
            proven(&store, &log, position, args.private).await.map_err(|error| match error {
                ProveError::NotLogged | ProveError::TooLong | ProveError::Damaged => {
                    damaged(error.to_string())
                }
                error => error.into(),
            })?
        }
    };
    if json {
        output::json(&shown)?;
    } else {
        let proof = shown.get("proof").and_then(Value::as_str).unwrap_or_default();
        let proof = LogProof::parse(proof.as_bytes()).map_err(|_| not_of_an_issuer())?;
        output::line(proof.to_string().trim_end_matches('\n'))?;
        if let Some(private) = shown.get("private") {
            output::remark(&private.to_string());
        }
    }
    Ok(Exit::Ok)
}
