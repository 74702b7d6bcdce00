//! `edgepass status`.

use clap::builder::NonEmptyStringValueParser;
use edgepass_issuer::order::CLIENT;
use edgepass_issuer::sidecar::{AllotError, ForeignToken};
use edgepass_server::status_entries::{Entry, allot_soon};
use edgepass_verify::policy::duration::DurationText;
use serde_json::{Value, json};

use super::examples;
use super::source::Source;
use crate::exit::{Exit, Failure};
use crate::host::{self, OsEntropy};
use crate::output;

#[derive(clap::Subcommand)]
pub(super) enum Act {
    /// Allot a status entry for a token of another issuer, so that it can be revoked by its jti.
    /// Prints the claim `status` for it.
    #[command(after_help = examples::ALLOT)]
    Allot {
        /// `jti` of the token.
        #[arg(long, allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
        jti: String,
        /// How long the token lives from now on, at most 24h. Or pass --exp.
        #[arg(long, value_parser = DurationText::parse, required_unless_present = "exp")]
        expires_in: Option<DurationText>,
        /// `exp` of the token, in seconds since 1970.
        #[arg(long, conflicts_with = "expires_in")]
        exp: Option<u64>,
        /// `iss` of the token.
        #[arg(long = "iss", value_name = "URL")]
        issuer: String,
        /// `sub` of the token. Default: the jti.
        #[arg(long)]
        subject: Option<String>,
    },
}

pub(super) async fn run(act: Act, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let Act::Allot { jti, expires_in, exp, issuer: iss, subject } = act;
    let now = host::now();
    let ends = expires_in.map(|time| now.numeric_date().seconds().saturating_add(time.0.as_secs()));
    let sub = subject.unwrap_or_else(|| jti.clone());
    let entry = Entry { jti, exp: ends.or(exp).unwrap_or_default(), iss, sub };
    let status = match source.remote()? {
        Some(remote) => remote.post("status-entries", &entry).await?,
        None => allot_here(entry, source).await?,
    };
    output::line(&if json { status.to_string() } else { format!("{status:#}") })?;
    Ok(Exit::Ok)
}

async fn allot_here(entry: Entry, source: &Source) -> anyhow::Result<Value> {
    let issuer = super::open_issuer(&source.load()?, &super::policy_user()).await?;
    let token = ForeignToken {
        subject: entry.sub,
        jwt_id: entry.jti,
        expiration: entry.exp,
        issuer: entry.iss,
        client_id: CLIENT.to_owned(),
        actor: super::actor(),
    };
    let slot = allot_soon(&issuer, &token, &mut OsEntropy, host::now).await.map_err(|error| {
        let failure = match error {
            AllotError::Text(_) | AllotError::Expiration | AllotError::Taken => Failure::Refused,
            _ => Failure::Unavailable,
        };
        anyhow::Error::new(failure).context(edgepass_server::error_chain(&error))
    })?;
    let list = json!({ "idx": slot.index, "uri": issuer.list_uri(&slot.list_id) });
    Ok(json!({ "status": { "status_list": list } }))
}
