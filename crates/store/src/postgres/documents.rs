//! The published documents in the database: a target of the process that leads, and what the others serve.

use std::sync::Arc;

use edgepass_issuer::publish::document::Document;
use edgepass_issuer::publish::target::{
    StoredDocument, Target, TargetError, TargetFuture, Version,
};
use edgepass_issuer::storage::StoreError;
use sqlx::{PgConnection, Row};

use super::PostgresStore;
use super::connections::{Connections, query};
use super::error::{corrupt, failed};
use super::lease::NotServed;
use crate::rows::BadRow;

/// The documents in the database, as a target.
pub struct SharedDocuments(Arc<Connections>);

/// Documents that were written since an earlier look.
pub struct Written {
    /// To be given at the next look.
    pub serial: i64,
    /// Path and content of each.
    pub documents: Vec<(String, String)>,
}

impl PostgresStore {
    /// The documents that other processes serve. The one that leads publishes to them.
    pub fn shared_documents(&self) -> SharedDocuments {
        SharedDocuments(Arc::clone(&self.database))
    }

    /// The documents that were written after `serial`. 0: all.
    ///
    /// # Errors
    ///
    /// [`StoreError`]. Also while the process that leads does not serve them: see
    /// [`PostgresStore::set_served`].
    pub async fn documents(&self, serial: i64) -> Result<Written, StoreError> {
        let wanted = "SELECT path, body, serial FROM documents WHERE serial > $1 ORDER BY serial";
        let wanted = query(wanted).bind(serial);
        let rows = self.database.read(async |one| {
            let stopped = query("SELECT 1 FROM lease WHERE stopped");
            if stopped.fetch_optional(&mut *one).await.map_err(failed)?.is_some() {
                return Err(StoreError::Unavailable(Box::new(NotServed)));
            }
            wanted.fetch_all(one).await.map_err(failed)
        });
        let mut written = Written { serial, documents: Vec::new() };
        for row in rows.await? {
            written.serial = row.try_get("serial").map_err(failed)?;
            let body = String::from_utf8(row.try_get("body").map_err(failed)?).map_err(corrupt)?;
            written.documents.push((row.try_get("path").map_err(failed)?, body));
        }
        Ok(written)
    }
}

impl Target for SharedDocuments {
    fn name(&self) -> &str {
        "the documents in the database"
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, path: &'a str) -> TargetFuture<'a, Option<StoredDocument>> {
        Box::pin(async move {
            let found = self.0.read(async |one| find(one, path).await).await;
            found.map_err(unavailable)
        })
    }

    fn write<'a>(
        &'a self,
        document: &'a Document,
        over: Option<&'a Version>,
    ) -> TargetFuture<'a, Version> {
        Box::pin(async move {
            let over = over.map(|version| version.0.parse().unwrap_or_default());
            let put = self.0.write_leading(async |one| put(one, document, over).await).await;
            let serial = put.map_err(unavailable)?.ok_or(TargetError::Conflict)?;
            Ok(Version(serial.to_string()))
        })
    }

    fn remove<'a>(&'a self, path: &'a str) -> TargetFuture<'a, ()> {
        Box::pin(async move {
            let delete = query("DELETE FROM documents WHERE path = $1").bind(path);
            let removed = self.0.write_leading(async |one| {
                delete.execute(one).await.map_err(failed)?;
                Ok(())
            });
            removed.await.map_err(unavailable)
        })
    }
}

async fn find(
    connection: &mut PgConnection,
    path: &str,
) -> Result<Option<StoredDocument>, StoreError> {
    let row = query("SELECT body, serial FROM documents WHERE path = $1")
        .bind(path)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let body: Vec<u8> = row.try_get("body").map_err(failed)?;
    let serial: i64 = row.try_get("serial").map_err(failed)?;
    Ok(Some(StoredDocument { body: body.into(), version: Version(serial.to_string()) }))
}

/// Writes a document over the version `over`. `None`: the database holds another one.
async fn put(
    connection: &mut PgConnection,
    document: &Document,
    over: Option<i64>,
) -> Result<Option<i64>, StoreError> {
    let held = query("SELECT serial FROM documents WHERE path = $1")
        .bind(&document.path)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    let held: Option<i64> = held.map(|row| row.try_get(0)).transpose().map_err(failed)?;
    if held != over {
        return Ok(None);
    }
    let row = query(
        "INSERT INTO documents (path, body, serial) SELECT $1, $2, version + 1 FROM writer \
         ON CONFLICT (path) DO UPDATE SET body = excluded.body, serial = excluded.serial \
         RETURNING serial",
    )
    .bind(&document.path)
    .bind(document.body.as_ref())
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let row = row.ok_or_else(|| corrupt(BadRow("writer")))?;
    row.try_get(0).map(Some).map_err(failed)
}

fn unavailable(error: StoreError) -> TargetError {
    TargetError::Unavailable(Box::new(error))
}
