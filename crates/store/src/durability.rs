//! Tracks whether changes of the database succeed, and stops them after a failed sync to disk.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use edgepass_issuer::storage::StoreError;

/// The outcome of this process's changes so far.
#[derive(Default)]
pub(crate) struct Durability {
    /// The last change failed. A change refused as [`StoreError::Duplicate`] does not count.
    fails: AtomicBool,
    /// A sync to disk has failed, so the content of the disk is unknown. A second sync could report
    /// success although data are lost, since the system has discarded what it could not write.
    lost: AtomicBool,
}

impl Durability {
    /// Awaits a change of the database and stores in `self` whether it succeeded. Returns
    /// [`StoreError::NotSynced`] without awaiting `change` if an earlier sync to disk failed.
    pub(crate) async fn change<T>(
        &self,
        change: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.lost.load(Relaxed) {
            return Err(StoreError::NotSynced);
        }
        let changed = change.await;
        match &changed {
            Ok(_) => self.fails.store(false, Relaxed),
            Err(StoreError::Duplicate(_) | StoreError::Corrupt(_)) => {}
            Err(StoreError::NotSynced) => {
                self.fails.store(true, Relaxed);
                self.lost.store(true, Relaxed);
            }
            Err(_) => self.fails.store(true, Relaxed),
        }
        changed
    }

    /// Whether the last change succeeded, not counting duplicates. `true` before the first change.
    pub(crate) fn last_change_succeeded(&self) -> bool {
        !self.fails.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error;
    use std::fmt::{self, Display};

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;
    use crate::sqlite::failed;

    /// An error of SQLite with this code. A test cannot make a real disk fail like this.
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
        assert!(durability.change::<()>(async { Err(failed(error)) }).await.is_err());
        durability.last_change_succeeded()
    }

    #[tokio::test]
    async fn after_an_error_the_next_change_is_tried_and_after_a_lost_sync_none() {
        let durability = Durability::default();
        assert!(fail(&durability, "1555").await, "a duplicate name is no failure of the disk");
        for code in ["13", "778", "5"] {
            assert!(!fail(&durability, code).await, "{code}");
            assert!(durability.change(async { Ok(()) }).await.is_ok());
            assert!(durability.last_change_succeeded(), "{code}");
        }
        assert!(!fail(&durability, "1034").await);
        let tried = durability.change::<()>(async { panic!("tried again") }).await;
        assert!(matches!(tried, Err(StoreError::NotSynced)));
        assert!(!durability.last_change_succeeded());
    }
}
