//! `edgepass keys rewrap`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::entropy::Entropy;
use edgepass_issuer::rewrap::{RewrapStore, Rewrapped, rewrap, rewrap_log};
use edgepass_issuer::seal::MasterKey;
use edgepass_issuer::storage::{KeyStore, LogStore};
use edgepass_store::AnyStore;
use serde_json::json;

use super::leading::Leading;
use super::source::Source;
use crate::exit::Exit;
use crate::host::{self, OsEntropy};
use crate::{master_key, output, private};

pub(super) const EXAMPLES: &str = "\
Examples:
  edgepass keys rewrap --new-key new.key && mv new.key master.key

`edgepass serve` must not run: it would seal its next key with the old master key. Afterwards put the
new key in the place of the old one, or into EDGEPASS_MASTER_KEY, and start `edgepass serve`. Keep the
old key as long as the backups from before: they open with it alone.";

#[derive(clap::Args)]
pub(super) struct Args {
    /// File with the new master key. If it does not exist, a new key is written to it.
    #[arg(long, value_name = "FILE")]
    new_key: PathBuf,
}

/// An environment whose keys are to be sealed again.
struct Prepared {
    store: Arc<AnyStore>,
    name: Option<String>,
    /// The time of the last change of keys, in seconds.
    seen: u64,
    keys: Vec<Rewrapped>,
    /// The key of the audit log.
    log: Option<Rewrapped>,
    entry: AuditEntry,
}

impl Prepared {
    /// Whether the new master key opens everything already.
    fn is_done(&self) -> bool {
        self.keys.is_empty() && self.log.is_none()
    }
}

pub(super) async fn run(args: &Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    source.refuse_environment("keys rewrap")?;
    let environments = source.all()?.environments;
    let mut locks = Vec::new();
    for config in &environments {
        super::database::refuse_missing(config)?;
        private::folder(&config.data_dir)?;
        locks.push(super::serve::lock(config, "").context("stop `edgepass serve` first")?);
    }
    let Some(first) = environments.first() else {
        bail!("the configuration has no environment");
    };
    // One master key opens the keys of all environments.
    let old = master_key::load(first)?;
    let is_made = !args.new_key.exists();
    for config in &environments {
        master_key::refuse_place(&args.new_key, config)?;
    }
    let new = match is_made {
        true => MasterKey::new(OsEntropy.bytes()?),
        false => master_key::read(&args.new_key, first)?,
    };
    let mut prepared = Vec::new();
    let mut leases = Vec::new();
    for config in &environments {
        let store = Arc::new(super::database::open(config).await?);
        let leading = Leading::take(&store).await?;
        leases.push(leading.context("stop `edgepass serve` first, on every machine")?);
        let stored = store.keys().await?;
        let keys = rewrap(&stored, &old, &new)?;
        let log = store.log().await?.map(|log| rewrap_log(&log, &old, &new)).transpose()?.flatten();
        let key_ids = keys.iter().map(|key| key.key_id.clone()).collect();
        let policy = Some(super::record_policy(config, &store).await?.number());
        let act = Act::KeysRewrapped { key_ids };
        let entry = AuditEntry { at_ms: host::now().0, actor: super::actor(), policy, act };
        prepared.push(Prepared {
            store,
            name: config.environment.clone(),
            seen: stored.changed_at,
            keys,
            log,
            entry,
        });
    }
    // Written before any key is sealed with it.
    if is_made {
        master_key::create(&args.new_key, &new)?;
        master_key::read(&args.new_key, first)?;
    }
    let outcome = rewrap_all(&prepared).await;
    drop(leases);
    for environment in &prepared {
        super::leading::end(&environment.store).await;
        environment.store.close().await;
    }
    outcome?;
    tell(&prepared, &args.new_key, json)
}

/// Seals the keys of each environment in one transaction. If one fails, those before get their old sealed forms
/// back, so that everything opens with the old master key.
async fn rewrap_all(prepared: &[Prepared]) -> anyhow::Result<()> {
    for (at, environment) in prepared.iter().enumerate() {
        if environment.is_done() {
            continue;
        }
        let log = environment.log.as_ref();
        let done = environment
            .store
            .rewrap_keys(environment.seen, &environment.keys, log, &environment.entry)
            .await;
        let error = match done {
            Ok(true) => continue,
            Ok(false) => anyhow::anyhow!("another process changed the keys; try again"),
            Err(error) => error.into(),
        };
        for before in prepared.iter().take(at).filter(|before| !before.is_done()) {
            let keys: Vec<_> = before.keys.iter().map(Rewrapped::reversed).collect();
            let log = before.log.as_ref().map(Rewrapped::reversed);
            let undone =
                before.store.rewrap_keys(before.seen, &keys, log.as_ref(), &before.entry).await;
            if !matches!(undone, Ok(true)) {
                return Err(error.context(
                    "some environments have the new master key already; repeat the command",
                ));
            }
        }
        return Err(error.context("the keys were not sealed again; the old master key opens them"));
    }
    Ok(())
}

fn tell(prepared: &[Prepared], file: &Path, json: bool) -> anyhow::Result<Exit> {
    for Prepared { name, keys, .. } in prepared {
        let key_ids: Vec<&str> = keys.iter().map(|key| key.key_id.as_str()).collect();
        if json {
            output::json(&json!({ "environment": name, "key_ids": key_ids, "new_key": file }))?;
            continue;
        }
        let of = name.as_ref().map(|name| format!(" of the environment {name}"));
        output::line(&format!("sealed {} keys{} again", keys.len(), of.unwrap_or_default()))?;
    }
    if !json {
        let from_environment = std::env::var_os(master_key::VARIABLE).is_some();
        let place = if from_environment { master_key::VARIABLE } else { "master_key_file" };
        output::line(&format!(
            "next: put the key of {} into {place}, start `edgepass serve`, and keep the old key for the backups from before",
            file.display()
        ))?;
    }
    Ok(Exit::Ok)
}
