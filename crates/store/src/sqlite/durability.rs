//! What a change that failed says of the file.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use edgepass_issuer::storage::StoreError;

/// `SQLITE_IOERR_FSYNC` and `SQLITE_IOERR_DIR_FSYNC`.
const NOT_SYNCED: [&str; 2] = ["1034", "1290"];

/// What is known of the file from the changes made so far.
#[derive(Default)]
pub(super) struct Durability {
    /// The last change failed.
    fails: AtomicBool,
    /// It failed to sync once: what lies on the disk is unknown. Asking again would be answered with a
    /// success that means nothing, since the system has given up what it could not write.
    lost: AtomicBool,
}

/// Why no change is tried.
#[derive(Debug, thiserror::Error)]
#[error("the disk did not keep what was written; see to it, then start again")]
struct WriteLost;

impl Durability {
    /// Make a change, unless nothing can be relied on.
    pub(super) async fn change<T>(
        &self,
        change: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.lost.load(Relaxed) {
            return Err(StoreError(Box::new(WriteLost)));
        }
        let changed = change.await;
        match &changed {
            Ok(_) => self.fails.store(false, Relaxed),
            Err(error) => self.note_failure(error),
        }
        changed
    }

    /// Whether the last change could be made.
    pub(super) fn is_whole(&self) -> bool {
        !self.fails.load(Relaxed)
    }

    fn note_failure(&self, error: &StoreError) {
        let Some(error) = error.0.downcast_ref::<sqlx::Error>() else { return };
        let database = error.as_database_error();
        if database.is_some_and(|error| error.is_unique_violation()) {
            return;
        }
        self.fails.store(true, Relaxed);
        let code = database.and_then(sqlx::error::DatabaseError::code);
        if code.is_some_and(|code| NOT_SYNCED.contains(&&*code)) {
            self.lost.store(true, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error;
    use std::fmt::{self, Display};

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;
    use crate::sqlite::unavailable;

    /// An error of SQLite by its code, which no test can have a disk make.
    #[derive(Debug)]
    struct Code(&'static str);

    impl Display for Code {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Code {}

    impl DatabaseError for Code {
        fn message(&self) -> &str {
            self.0
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            if self.0 == "1555" { ErrorKind::UniqueViolation } else { ErrorKind::Other }
        }
    }

    async fn fail(durability: &Durability, code: &'static str) -> bool {
        let error = sqlx::Error::Database(Box::new(Code(code)));
        assert!(durability.change::<()>(async { Err(unavailable(error)) }).await.is_err());
        durability.is_whole()
    }

    #[tokio::test]
    async fn after_an_error_the_next_change_is_tried_and_after_a_lost_sync_none() {
        let durability = Durability::default();
        assert!(fail(&durability, "1555").await, "a name given twice says nothing of the disk");
        for code in ["13", "778", "5"] {
            assert!(!fail(&durability, code).await, "{code}");
            assert!(durability.change(async { Ok(()) }).await.is_ok());
            assert!(durability.is_whole(), "{code}");
        }
        assert!(!fail(&durability, "1034").await);
        let tried = durability.change::<()>(async { panic!("tried again") }).await;
        assert!(tried.unwrap_err().0.to_string().contains("start again"));
        assert!(!durability.is_whole());
    }
}
