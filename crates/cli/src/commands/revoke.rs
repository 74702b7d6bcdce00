//! `edgepass revoke`.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use edgepass_issuer::revoke::{Revocation, revoke, unverified_jwt_id};
use edgepass_issuer::status_index::RETIRE_AFTER;
use edgepass_issuer::storage::RecordedRevocation;
use edgepass_issuer::{Config, Store};
use edgepass_store::SqliteStore;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::{host, output};

/// Arguments of `revoke`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Why, for the audit trail.
    #[arg(long, allow_hyphen_values = true)]
    reason: String,
}

/// Exactly one way to name the token.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The token's `jti`, as `edgepass tokens` lists it.
    #[arg(long, allow_hyphen_values = true)]
    jti: Option<String>,
    /// A file that holds the token, or - for stdin.
    token_file: Option<PathBuf>,
}

/// How long to wait for a running `serve` to publish.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

pub(super) async fn run(args: Args, config: &Path, json: bool) -> anyhow::Result<Exit> {
    let config = super::load_config(config)?;
    let jwt_id = match (args.which.jti, args.which.token_file) {
        (Some(jwt_id), _) => jwt_id,
        (None, file) => {
            named(&output::read_token(file.as_deref().unwrap_or_else(|| Path::new("-")))?)?
        }
    };
    let store = super::open_store(&config).await?;
    let outcome = revoke(&store, &jwt_id, &args.reason, &super::actor(), host::now())
        .await
        .map_err(|error| {
            anyhow::Error::new(Failure::Unavailable).context(edgepass_server::error_chain(&error))
        })?;
    let recorded = match outcome {
        Revocation::Recorded(recorded) => recorded,
        Revocation::LongExpired => {
            return told(json, &jwt_id, true, "expired long ago; nothing accepts it", Exit::Ok);
        }
        Revocation::UnknownToken => {
            let error = anyhow::Error::new(Failure::Refused);
            return Err(error.context("this issuer has issued no token with that jti"));
        }
    };
    let what = if recorded.already { "had been revoked" } else { "revoked" };
    if published(&config, &store, &recorded).await? {
        told(json, &jwt_id, true, &format!("{what}; the new status list is served"), Exit::Ok)
    } else {
        let text = format!("{what}: recorded, not published; start `edgepass serve` to publish it");
        told(json, &jwt_id, false, &text, Exit::Unavailable)
    }
}

/// Wait until a running `serve` has published the change; false without one, or when it takes too
/// long.
async fn published(
    config: &Config,
    store: &SqliteStore,
    recorded: &RecordedRevocation,
) -> anyhow::Result<bool> {
    let wait = async {
        loop {
            if !somebody_serves(config)? {
                return anyhow::Ok(false);
            }
            let retired = host::now().numeric_date().seconds().saturating_sub(RETIRE_AFTER);
            let lists = store.lists(retired).await?;
            let list = lists.iter().find(|list| list.id == recorded.list_id);
            if list.is_some_and(|list| list.published >= recorded.change) {
                return Ok(true);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or(Ok(false))
}

/// `serve` holds this lock as long as it lives, however it ends.
fn somebody_serves(config: &Config) -> anyhow::Result<bool> {
    let path = super::serve_lock(config);
    let Ok(file) = File::open(&path) else { return Ok(false) };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

fn told(json: bool, jwt_id: &str, served: bool, text: &str, exit: Exit) -> anyhow::Result<Exit> {
    if json {
        output::json(&json!({ "jti": jwt_id, "published": served, "message": text }))?;
    } else {
        output::line(&format!("{jwt_id} {text}"))?;
    }
    Ok(exit)
}

fn named(token: &str) -> anyhow::Result<String> {
    unverified_jwt_id(token).context("that is no token, or it has no jti")
}
