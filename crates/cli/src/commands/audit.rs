//! `edgepass audit`.

use std::path::Path;

use anyhow::Context;
use edgepass_issuer::storage::AuditStore;
use serde_json::Value;

use crate::exit::Exit;
use crate::output;

pub(super) async fn run(config: &Path, json: bool) -> anyhow::Result<Exit> {
    let config = super::load_config(config)?;
    let store = super::open_store(&config).await?;
    for entry in store.audit().await? {
        let value =
            serde_json::to_value(&entry).context("an audit entry cannot be written as JSON")?;
        if json {
            output::json(&value)?;
            continue;
        }
        let details = value.as_object().into_iter().flatten();
        let details: Vec<String> = details
            .filter(|(name, _)| !["at_ms", "actor", "act"].contains(&name.as_str()))
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name}={text:?}"),
                other => format!("{name}={other}"),
            })
            .collect();
        let (at, act) = (output::date(entry.at_ms / 1000), entry.act.name());
        output::line(&format!("{at}  {}  {act}  {}", entry.actor, details.join(" ")))?;
    }
    Ok(Exit::Ok)
}
