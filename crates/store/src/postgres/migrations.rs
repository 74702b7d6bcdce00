//! The migrations of the database.

use std::time::Duration;

use edgepass_issuer::storage::StoreError;
use sha2::{Digest, Sha256};
use sqlx::error::DatabaseError;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};

use super::connections::{Connections, query, quoted};
use super::error::failed;
use super::url::PostgresUrl;

/// The migrations in order. A database records a digest of each that it has run, and opens only if these are
/// unchanged: add a migration, edit none.
pub(super) const MIGRATIONS: [&str; 7] = [
    include_str!("../../migrations/postgres/0001_initial.sql"),
    include_str!("../../migrations/postgres/0002_tokens_of_a_key.sql"),
    include_str!("../../migrations/postgres/0003_served_documents.sql"),
    include_str!("../../migrations/postgres/0004_usage.sql"),
    include_str!("../../migrations/postgres/0005_misuse.sql"),
    include_str!("../../migrations/postgres/0006_access.sql"),
    include_str!("../../migrations/postgres/0007_incidents.sql"),
];

/// The reason why the tables cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
enum CannotMigrate {
    /// `edgepass init` was not run on the database.
    #[error("the database has no schema {0}; `edgepass init --config FILE` makes it")]
    NoSchema(String),
    /// The database was made by another version of this program.
    #[error("the schema {0} was made by a newer version of this program")]
    Unknown(String),
}

/// Brings the tables of a schema up to date, all or none. `create`: makes the schema if there is none.
pub(super) async fn run(
    database: &Connections,
    schema: &str,
    create: bool,
) -> Result<(), StoreError> {
    // A statement that waits for a lock makes all others wait that come after it.
    let mut again = 0..AGAIN;
    loop {
        let migrated =
            database.aside(async |connection| migrate(connection, schema, create).await).await;
        match migrated {
            Err(error) if is_locked(&error) && again.next().is_some() => {
                tokio::time::sleep(PAUSE).await;
            }
            migrated => return migrated,
        }
    }
}

/// Further attempts while a table is locked, half a minute in all; the time that each waits for a lock, and the
/// pause between two.
const AGAIN: u32 = 42;
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";
const PAUSE: Duration = Duration::from_millis(500);

/// Whether the database gave up waiting for a lock.
fn is_locked(error: &StoreError) -> bool {
    /// `lock_not_available`
    const CODE: &str = "55P03";
    let StoreError::Unavailable(cause) = error else { return false };
    let error = cause.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    error.and_then(DatabaseError::code).is_some_and(|code| code == CODE)
}

async fn migrate(
    connection: &mut PgConnection,
    schema: &str,
    create: bool,
) -> Result<(), StoreError> {
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *connection).await.map_err(failed)?;
    // Processes that start together come one after the other.
    query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(schema)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let known = query("SELECT 1 FROM pg_namespace WHERE nspname = $1").bind(schema);
    if known.fetch_optional(&mut *connection).await.map_err(failed)?.is_none() {
        if !create {
            return Err(unavailable(CannotMigrate::NoSchema(schema.to_owned())));
        }
        let make = AssertSqlSafe(format!("CREATE SCHEMA {}", quoted(schema)));
        sqlx::raw_sql(make).execute(&mut *connection).await.map_err(failed)?;
    }
    let table = "CREATE TABLE IF NOT EXISTS migrations \
                 (version BIGINT PRIMARY KEY, digest BYTEA NOT NULL)";
    sqlx::raw_sql(table).execute(&mut *connection).await.map_err(failed)?;
    let taken = query("SELECT digest FROM migrations ORDER BY version");
    let taken = taken.fetch_all(&mut *connection).await.map_err(failed)?;
    let mut migrations = MIGRATIONS.iter().zip(1_i64..);
    for row in taken {
        let digest: Vec<u8> = row.try_get(0).map_err(failed)?;
        if migrations.next().is_none_or(|(text, _)| digest != digest_of(text)) {
            return Err(unavailable(CannotMigrate::Unknown(schema.to_owned())));
        }
    }
    for (text, version) in migrations {
        sqlx::raw_sql(*text).execute(&mut *connection).await.map_err(failed)?;
        query("INSERT INTO migrations (version, digest) VALUES ($1, $2)")
            .bind(version)
            .bind(digest_of(text))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// Whether a schema has the keys of an issuer.
pub(super) async fn has_keys(url: &PostgresUrl, schema: &str) -> Result<bool, StoreError> {
    let mut connection = url.options().connect().await.map_err(failed)?;
    let table = format!("{}.signing_keys", quoted(schema));
    // Literals: a pooler may serve each statement by another connection.
    let known = format!("SELECT to_regclass('{}') IS NOT NULL", table.replace('\'', "''"));
    let mut has = async |text: String| -> Result<bool, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(text)).fetch_one(&mut connection).await?.try_get(0)
    };
    let found = has(known).await.map_err(failed)?
        && has(format!("SELECT EXISTS (SELECT 1 FROM {table})")).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(found)
}

fn digest_of(text: &str) -> Vec<u8> {
    Sha256::digest(text).to_vec()
}

fn unavailable(error: CannotMigrate) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
