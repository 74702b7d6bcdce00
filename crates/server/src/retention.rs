//! Deletes the records of tokens that expired long ago, and old counts of use. The audit trail keeps what
//! became of each token.

use std::time::Duration;

use edgepass_issuer::Store;
use edgepass_issuer::storage::StoreError;
use edgepass_issuer::usage::OLDEST_MS;

use crate::{App, error_chain};

/// Records of one step: the database takes a few milliseconds for them, in which no token is recorded.
const STEP: u32 = 200;
/// Pause between two steps while there is more to delete.
const PAUSE: Duration = Duration::from_millis(10);
/// Pause when there is nothing to delete, and after a failure.
const IDLE: Duration = Duration::from_secs(60);

/// How long the sums of a day are kept, in days.
const KEEP_SUMS: u64 = 400;
/// How long isolates are remembered, in milliseconds: longer than their reports are taken.
const KEEP_ISOLATES_MS: u64 = OLDEST_MS * 2;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Deletes records until the task is dropped.
pub(crate) async fn run<S: Store>(app: &App<S>) {
    loop {
        let now = (app.host.now)();
        let before = now.numeric_date().seconds().saturating_sub(app.config.keep_records);
        let day = now.0.checked_div(DAY_MS).unwrap_or_default().saturating_sub(KEEP_SUMS);
        let store = app.issuer.store();
        let gone = async {
            let tokens = u64::from(store.forget_tokens(before, STEP).await?);
            let isolates_ms = now.0.saturating_sub(KEEP_ISOLATES_MS);
            Ok::<_, StoreError>(
                tokens
                    .saturating_add(store.forget_usage(day, isolates_ms, STEP).await?)
                    .saturating_add(store.forget_access(before, STEP).await?),
            )
        };
        let pause = match gone.await {
            Ok(1..) => PAUSE,
            Ok(0) => IDLE,
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "old records not deleted");
                IDLE
            }
        };
        tokio::time::sleep(pause).await;
    }
}
