//! `edgepass audit prove`.

use anyhow::bail;
use edgepass_issuer::audit::Act;
use edgepass_issuer::log::prove::{ProveError, prove};
use edgepass_issuer::storage::{AuditStore, Page};
use edgepass_jose::base64url;
use edgepass_store::AnyStore;
use serde_json::{Value, json};

use super::damaged;
use crate::commands::source::Source;
use crate::exit::Exit;
use crate::output;

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

/// Entries that are searched at once.
const PAGE: u32 = 1000;

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let (store, log) = super::open(source).await?;
    let position = match (args.position, &args.jti) {
        (Some(position), _) => position,
        (None, jti) => issued(&store, jti.as_deref().unwrap_or_default()).await?,
    };
    let (leaf, proof) = prove(&store, &log, position).await.map_err(|error| match error {
        ProveError::NotLogged | ProveError::TooLong | ProveError::Damaged => {
            damaged(error.to_string())
        }
        error => error.into(),
    })?;
    let private = leaf.private.filter(|_| args.private).map(
        |private| json!({ "salt": base64url::encode(&private.salt), "values": private.values }),
    );
    if json {
        let entry: Value = serde_json::from_str(&leaf.text)?;
        let (proof, key) = (proof.to_string(), log.key()?.to_string());
        let mut object =
            json!({ "position": position, "entry": entry, "proof": proof, "key": key });
        if let (Some(private), Some(members)) = (private, object.as_object_mut()) {
            members.insert("private".to_owned(), private);
        }
        output::json(&object)?;
    } else {
        output::line(proof.to_string().trim_end_matches('\n'))?;
        if let Some(private) = private {
            output::remark(&private.to_string());
        }
    }
    Ok(Exit::Ok)
}

/// The position of the entry about the issue of a token.
async fn issued(store: &AnyStore, jti: &str) -> anyhow::Result<u64> {
    let mut page = Page::first(true, PAGE);
    loop {
        let entries = store.audit(0, page).await?;
        let Some((last, _)) = entries.last() else {
            bail!(damaged(format!("no entry says that a token {jti:?} was issued")));
        };
        page.before = *last;
        for (position, entry) in &entries {
            if let Act::TokenIssued { jwt_id, .. } | Act::StatusAllotted { jwt_id, .. } = &entry.act
                && jwt_id == jti
            {
                return Ok(*position);
            }
        }
    }
}
