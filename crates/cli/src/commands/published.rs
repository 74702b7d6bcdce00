//! Waits until a running `serve` has published the change that a command recorded.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use edgepass_issuer::Config;

/// Longest wait for a running `serve` to publish.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Publication state of a recorded change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Published {
    /// Every target has the change.
    Everywhere,
    /// `serve` runs, but has not published the change in time.
    NotYet,
    /// No `serve` runs on the data directory.
    NobodyServes,
}

impl Published {
    /// Text for the operator about a change in this state.
    pub(super) fn says(self) -> &'static str {
        match self {
            Self::Everywhere => "published",
            Self::NotYet => {
                "recorded, not published yet; `edgepass serve` keeps trying, and `edgepass doctor` shows the cause"
            }
            Self::NobodyServes => "recorded, not published; start `edgepass serve` to publish it",
        }
    }
}

/// Polls `is_published` for up to five seconds, while a `serve` runs.
pub(super) async fn wait_until(
    config: &Config,
    is_published: impl AsyncFn() -> anyhow::Result<bool>,
) -> anyhow::Result<Published> {
    let wait = async {
        loop {
            if !somebody_serves(config)? {
                return anyhow::Ok(Published::NobodyServes);
            }
            if is_published().await? {
                return Ok(Published::Everywhere);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or(Ok(Published::NotYet))
}

/// Path of the file that `serve` locks while it runs. Other processes see by the lock that it runs.
pub(super) fn serve_lock(config: &Config) -> PathBuf {
    config.data_dir.join("serve.lock")
}

/// Whether `serve` runs. The operating system releases its lock however the process ends.
fn somebody_serves(config: &Config) -> anyhow::Result<bool> {
    let path = serve_lock(config);
    let Ok(file) = File::open(&path) else { return Ok(false) };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}
