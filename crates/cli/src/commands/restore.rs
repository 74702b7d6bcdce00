//! `edgepass restore`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use edgepass_issuer::Config;
use edgepass_issuer::config::TargetConfig;
use edgepass_issuer::publish::target::TargetError;
use edgepass_issuer::restore::shown::{Backup, Shown};
use edgepass_issuer::restore::{Adopted, Restoration, RestoreError, RestoreStore, Restorer};
use edgepass_issuer::status_index::RETIRE_AFTER;
use edgepass_issuer::storage::{KeyStore, ListStore, StoredKeys};
use edgepass_issuer::vault::Vault;
use edgepass_server::error_chain;
use edgepass_store::sqlite::backup::{self, Contents};
use edgepass_store::{AnyStore, Objects, SqliteStore};
use serde_json::json;

use super::leading::Leading;
use super::source::Source;
use crate::exit::{Exit, Failure};
use crate::host::{self, OsEntropy};
use crate::{output, private, vault};

pub(super) const EXAMPLES: &str = "\
Examples:
  edgepass restore /backups/edgepass-2026-01-31.db
  mv data/edgepass.db* /elsewhere/ && edgepass restore /elsewhere/edgepass.db
  edgepass restore /backups/edgepass-2026-01-31.db --without-targets

`edgepass serve` must not run, and no database be in its place. One on a server is put back by its own
tools first; then run `edgepass restore` without a file. The master key of the time of the
backup is needed.";

#[derive(clap::Args)]
pub(super) struct Args {
    /// Backup that `edgepass backup` wrote, or a database that was moved away. None for a database on a
    /// server, which its own tools have put back before.
    file: Option<PathBuf>,
    /// Go on although no target is configured, or one cannot be read. Revocations since the backup
    /// that only such a target shows are lost.
    #[arg(long)]
    without_targets: bool,
}

pub(super) async fn run(args: &Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let config = source.load()?;
    private::folder(&config.data_dir)?;
    let file = match (&args.file, &config.database_url) {
        (Some(file), None) => file,
        (None, Some(_)) => return restore_on_server(args, &config, source, json).await,
        (Some(_), Some(_)) => bail!(
            "the database is on a server: put the backup back with pg_restore, or the server's own tools, and run `edgepass restore` without a file, before `edgepass serve`"
        ),
        (None, None) => bail!("name the backup: edgepass restore FILE"),
    };
    let _lock = super::serve::lock(&config, "").context("stop `edgepass serve` first")?;
    refuse_existing(&config)?;
    let vault = vault::load(&config)?;
    let copy = Copied::new(file, &config)?;
    let contents = backup::examine(&copy.path)
        .await
        .with_context(|| format!("{} cannot be restored", file.display()))?;
    let store = SqliteStore::open(&copy.path, false, host::now).await;
    let store = store.context("the backup cannot be opened; is it of a newer program?")?;
    let store = AnyStore::Sqlite(store);
    let restored = restore(&store, &config, &vault, source, args.without_targets).await;
    // The file is whole then: the write-ahead log is emptied.
    store.close().await;
    let restored = restored?;
    copy.place(&config.database())?;
    tell(&config, &contents, &restored, json)?;
    Ok(Exit::Ok)
}

/// Continues from the state to which a database on a server was put back.
async fn restore_on_server(
    args: &Args,
    config: &Config,
    source: &Source,
    json: bool,
) -> anyhow::Result<Exit> {
    let _lock = super::serve::lock(config, "").context("stop `edgepass serve` first")?;
    let vault = vault::load(config)?;
    let store = Arc::new(super::database::open(config).await?);
    let AnyStore::Postgres(database) = &*store else { bail!("the database is in a file") };
    let leading = Leading::take(&store).await?;
    let leading = leading.context("stop `edgepass serve` first, on every machine")?;
    let contents = database.contents().await?;
    let restored = restore(&store, config, &vault, source, args.without_targets).await;
    drop(leading);
    super::leading::end(&store).await;
    store.close().await;
    tell(config, &contents, &restored?, json)?;
    Ok(Exit::Ok)
}

/// What was done to the backup.
struct Restored {
    restoration: Restoration,
    adopted: Adopted,
    /// Each target that was not read, with the reason.
    unread: Vec<(String, String)>,
}

async fn restore(
    store: &AnyStore,
    config: &Config,
    vault: &Vault,
    source: &Source,
    without_targets: bool,
) -> anyhow::Result<Restored> {
    let policy = super::record_policy(config, store).await?.number();
    let stored = store.keys().await?;
    let shown = look(store, config, source, &stored).await?;
    let unread: Vec<_> = shown
        .iter()
        .filter_map(|it| Some((it.target.clone(), error_chain(it.problem.as_ref()?))))
        .collect();
    if !without_targets {
        if let Some((target, reason)) = unread.first() {
            return Err(anyhow::Error::new(Failure::Unavailable).context(format!(
                "{target}: {reason}; without it, revocations and key withdrawals since the backup that it shows are lost. Make it readable, or pass --without-targets"
            )));
        }
        if shown.is_empty() {
            bail!(
                "there is no [[target]], so nothing shows what was published since the backup: tokens that were revoked since are valid again, and withdrawn keys sign again. Pass --without-targets to go on"
            );
        }
    }
    let by = Restorer {
        vault,
        algorithm: config.keys.algorithm,
        actor: super::actor(),
        policy,
        at: host::now(),
    };
    let planned = Restoration::plan(&stored, &shown, by, &mut OsEntropy);
    let restoration = planned.map_err(|error| match error {
        RestoreError::Sealed(..) => anyhow::Error::new(error),
        error => super::unavailable(error),
    })?;
    let adopted = store.record_restoration(&restoration).await?;
    let adopted = adopted.context("another process changed the database")?;
    Ok(Restored { restoration, adopted, unread })
}

/// Reads every target, all at once.
async fn look(
    store: &AnyStore,
    config: &Config,
    source: &Source,
    stored: &StoredKeys,
) -> anyhow::Result<Vec<Shown>> {
    let now = host::now().numeric_date().seconds();
    let lists = store.lists(now.saturating_sub(RETIRE_AFTER)).await?;
    let backup = &Backup::new(&config.status.base_uri, &lists, stored)?;
    let private = &Arc::new(private::private(config, source.config()));
    let looks = config.targets.iter().map(async |target: &TargetConfig| {
        let (target, private) = (target.clone(), Arc::clone(private));
        let opened = tokio::task::spawn_blocking(move || Objects::open(&target, &private)).await?;
        let opened = opened.map_err(|error| match error {
            TargetError::Unavailable(_) => super::unavailable(error),
            error => anyhow::Error::new(error),
        });
        Ok(Shown::read(&opened.context("a [[target]] cannot be used")?, backup, now).await)
    });
    futures_util::future::join_all(looks).await.into_iter().collect()
}

/// Refuses a place where files of a database are.
fn refuse_existing(config: &Config) -> anyhow::Result<()> {
    let database = config.database();
    let files = ["", "-wal", "-shm", "-journal"].map(|ending| private::beside(&database, ending));
    if let Some(file) = files.iter().find(|file| fs::symlink_metadata(file).is_ok()) {
        let (file, database) = (file.display(), database.display());
        bail!(
            "{file} is there; restore never overwrites. Move it away with the files beside it, and keep them: mkdir ELSEWHERE && mv {database}* ELSEWHERE/"
        );
    }
    Ok(())
}

/// A copy of the backup beside the place of the database. Removed when dropped.
struct Copied {
    path: PathBuf,
}

impl Copied {
    /// Copies the file, with mode 0600; and the write-ahead log of a database that no program has closed.
    fn new(file: &Path, config: &Config) -> anyhow::Result<Self> {
        let copied = Self { path: private::beside(&config.database(), ".restoring") };
        // Those of an interrupted command.
        copied.remove();
        for ending in ["", "-wal"] {
            let (from, to) = (private::beside(file, ending), private::beside(&copied.path, ending));
            if !ending.is_empty() && !from.exists() {
                continue;
            }
            let copy = || {
                let mut from = fs::File::open(&from)?;
                let mut to = private::new_file(&to)?;
                std::io::copy(&mut from, &mut to)?;
                to.sync_all()
            };
            copy().with_context(|| format!("{} cannot be copied", from.display()))?;
        }
        Ok(copied)
    }

    /// Makes the copy the database.
    fn place(self, database: &Path) -> anyhow::Result<()> {
        let cannot = || format!("{} cannot be written", database.display());
        let log = private::beside(&self.path, "-wal");
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            bail!("the restored database is still in use");
        }
        let place = || {
            fs::File::open(&self.path)?.sync_all()?;
            fs::rename(&self.path, database)?;
            private::sync_folder_of(database)
        };
        place().with_context(cannot)
    }

    fn remove(&self) {
        for ending in ["", "-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(private::beside(&self.path, ending));
        }
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.remove();
    }
}

fn tell(
    config: &Config,
    contents: &Contents,
    restored: &Restored,
    json: bool,
) -> anyhow::Result<()> {
    let Restored { restoration, adopted, unread } = restored;
    let database = super::database::shown(config)?;
    let withdrawn: Vec<&str> = restoration.withdrawn().collect();
    if json {
        let unread: Vec<_> = unread
            .iter()
            .map(|(target, reason)| json!({ "target": target, "reason": reason }))
            .collect();
        return output::json(&json!({
            "database": database,
            "environment": config.environment,
            "epoch": restoration.epoch.as_str(),
            "tokens": contents.tokens,
            "audit_entries": contents.entries,
            "last_entry_at_ms": contents.last_entry_ms,
            "adopted_lists": adopted.lists,
            "adopted_statuses": adopted.statuses,
            "withdrawn_keys": withdrawn,
            "unread_targets": unread,
        }));
    }
    let last = output::date(contents.last_entry_ms / 1000);
    output::line(&format!(
        "restored {}: {} tokens, {} audit entries, the last of {last}",
        database, contents.tokens, contents.entries
    ))?;
    output::line(&format!("  epoch    {} in the names of new lists", restoration.epoch))?;
    output::line(
        "  log      `edgepass serve` begins a new audit log: give its key (`edgepass audit key`) to witnesses, and move the files of `[audit] checkpoints` away",
    )?;
    output::line(&format!(
        "  adopted  {} lists, {} revocations and suspensions that the targets show",
        adopted.lists, adopted.statuses
    ))?;
    for key_id in &withdrawn {
        output::line(&format!("  withdrawn or lost  key {key_id}: its tokens are refused"))?;
    }
    output::line(&format!(
        "  lost     records of what happened after {last}: tokens issued since stay valid until they expire, but cannot be listed, introspected or revoked one by one"
    ))?;
    for (target, reason) in unread {
        output::line(&format!("  unread   {target}: {reason}"))?;
    }
    if config.targets.is_empty() || !unread.is_empty() {
        output::line(
            "  unknown  revocations and withdrawn keys since the backup. If there were any, withdraw the keys of the backup: `edgepass keys list`, `edgepass keys compromise KID`",
        )?;
    }
    if contents.device_keys > 0 {
        output::line(&format!("  {}", super::backup::DEVICE_KEYS))?;
    }
    output::line("next: edgepass serve")
}
