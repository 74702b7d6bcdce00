//! Errors of PostgreSQL as those of the storage.

use edgepass_issuer::storage::StoreError;
use sqlx::error::DatabaseError;

pub(super) fn failed(error: sqlx::Error) -> StoreError {
    let database = error.as_database_error();
    if database.is_some_and(DatabaseError::is_unique_violation) {
        StoreError::Duplicate(Box::new(error))
    } else if matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) {
        StoreError::Corrupt(Box::new(error))
    } else {
        StoreError::Unavailable(Box::new(error))
    }
}

pub(super) fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Corrupt(Box::new(error))
}

/// Whether one token may be the cause of an error: the database refuses what it is to store.
pub(super) fn is_of_one(error: &StoreError) -> bool {
    /// Classes of `SQLSTATE`: data exception, violated constraint, program limit exceeded.
    const OF_VALUES: [&str; 3] = ["22", "23", "54"];
    match error {
        StoreError::Duplicate(_) | StoreError::Corrupt(_) => true,
        StoreError::Unavailable(cause) => {
            let error = cause.downcast_ref::<sqlx::Error>();
            let code = error.and_then(sqlx::Error::as_database_error).and_then(DatabaseError::code);
            code.is_some_and(|code| OF_VALUES.iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}
