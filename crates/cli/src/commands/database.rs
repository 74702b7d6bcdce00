//! The database of an issuer: a file, or tables on a PostgreSQL server.

use anyhow::{Context, bail};
use edgepass_issuer::Config;
use edgepass_issuer::config::DatabaseUrl;
use edgepass_store::postgres::PostgresUrl;
use edgepass_store::{AnyStore, PostgresStore, SqliteStore};

use super::unavailable;
use crate::{host, private};

/// Environment variable with the URL of the database; takes precedence over the configuration.
const VARIABLE: &str = "EDGEPASS_DATABASE_URL";

/// The URL from the environment. An empty variable names none.
pub(crate) fn from_environment() -> anyhow::Result<Option<DatabaseUrl>> {
    match std::env::var(VARIABLE) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => {
            let url = DatabaseUrl::new(text);
            url.map(Some).with_context(|| format!("{VARIABLE} is no URL of a PostgreSQL database"))
        }
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{VARIABLE} is no URL"),
    }
}

/// How messages name the database of an issuer. Without user and password.
pub(super) fn shown(config: &Config) -> anyhow::Result<String> {
    Ok(match url(config)? {
        Some(url) => format!("schema {} of {url}", config.schema()),
        None => config.database().display().to_string(),
    })
}

/// Opens the database of an issuer that `init` made. First restricts its files to their owner.
pub(super) async fn open(config: &Config) -> anyhow::Result<AnyStore> {
    let opened = match url(config)? {
        Some(url) => {
            // The lock of `serve` is there.
            private::folder(&config.data_dir)?;
            private::keep(config)?;
            let store = PostgresStore::open(&url, &config.schema(), false, host::now).await;
            store.map(AnyStore::Postgres)
        }
        None => {
            refuse_missing(config)?;
            private::keep(config)?;
            let store = SqliteStore::open(&config.database(), false, host::now).await;
            store.map(AnyStore::Sqlite)
        }
    };
    let shown = shown(config)?;
    opened.map_err(unavailable).with_context(|| format!("{shown} cannot be opened"))
}

/// Makes the database of an issuer.
pub(super) async fn create(config: &Config) -> anyhow::Result<AnyStore> {
    let shown = shown(config)?;
    let cannot = || format!("{shown} cannot be created");
    if let Some(url) = url(config)? {
        let store = PostgresStore::open(&url, &config.schema(), true, host::now).await;
        return store.map(AnyStore::Postgres).map_err(unavailable).with_context(cannot);
    }
    let file = config.database();
    // SQLite creates its `-wal` and `-shm` files with the mode of the database file.
    private::file(&file).with_context(cannot)?;
    let store = SqliteStore::open(&file, true, host::now).await.with_context(cannot)?;
    Ok(AnyStore::Sqlite(store))
}

/// Whether the issuer has a database.
pub(super) async fn exists(config: &Config) -> anyhow::Result<bool> {
    let Some(url) = url(config)? else { return Ok(config.database().exists()) };
    let shown = shown(config)?;
    let found = PostgresStore::exists(&url, &config.schema()).await.map_err(unavailable);
    found.with_context(|| format!("{shown} cannot be read"))
}

/// Refuses an issuer that has no database. One on a server is looked for when it is opened.
pub(super) fn refuse_missing(config: &Config) -> anyhow::Result<()> {
    if config.database_url.is_some() {
        return Ok(());
    }
    let file = config.database();
    let shown = file.display();
    // A database that another user owns must not be reported as missing.
    let exists = file
        .try_exists()
        .with_context(|| format!("{shown} cannot be accessed; run as the user that owns it"))?;
    let is_empty = exists && file.metadata().is_ok_and(|found| found.len() == 0);
    if is_empty && !file.with_extension("db-wal").exists() {
        bail!(
            "{shown} is empty: it is no database; put a backup in its place with `edgepass restore FILE`"
        );
    }
    if !exists {
        bail!(
            "{shown} does not exist; put a backup in its place with `edgepass restore FILE`. For a configuration or an environment that never had one, run `edgepass init --config FILE`; for a new issuer, move the configuration away and run `edgepass init`"
        );
    }
    Ok(())
}

/// Whether another process leads on the database. Always `false` for a file.
pub(super) async fn is_led(store: &AnyStore) -> anyhow::Result<bool> {
    match store {
        AnyStore::Sqlite(_) => Ok(false),
        AnyStore::Postgres(store) => Ok(store.is_led().await?),
    }
}

fn url(config: &Config) -> anyhow::Result<Option<PostgresUrl>> {
    let parse = |url: &DatabaseUrl| PostgresUrl::parse(url.reveal());
    config.database_url.as_ref().map(parse).transpose().context("the URL of the database")
}
