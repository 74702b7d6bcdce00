//! Deletes the records of tokens that expired long ago. The audit trail keeps what became of each.

use std::time::Duration;

use edgepass_issuer::Store;

use crate::{App, error_chain};

/// Records of one step: the database takes a few milliseconds for them, in which no token is recorded.
const STEP: u32 = 200;
/// Pause between two steps while there is more to delete.
const PAUSE: Duration = Duration::from_millis(10);
/// Pause when there is nothing to delete, and after a failure.
const IDLE: Duration = Duration::from_secs(60);

/// Deletes records until the task is dropped.
pub(crate) async fn run<S: Store>(app: &App<S>) {
    loop {
        let now = (app.host.now)().numeric_date().seconds();
        let before = now.saturating_sub(app.config.keep_records);
        let pause = match app.issuer.store().forget_tokens(before, STEP).await {
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
