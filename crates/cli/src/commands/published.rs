//! Whether a running `serve` has published what a command recorded.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use edgepass_issuer::Config;

/// How long to wait for a running `serve` to publish.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// What became of what a command recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Published {
    /// Every target has it.
    Everywhere,
    /// A running `serve` is at it.
    NotYet,
    /// Nobody is.
    NobodyServes,
}

impl Published {
    /// What to say of what is recorded, and no more.
    pub(super) fn says(self) -> &'static str {
        match self {
            Self::Everywhere => "published",
            Self::NotYet => {
                "recorded, not published yet: `edgepass serve` keeps trying; `edgepass doctor` looks why"
            }
            Self::NobodyServes => "recorded, not published; start `edgepass serve` to publish it",
        }
    }
}

/// Wait until a running `serve` has published.
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

/// Held by `serve` while it runs: its lock tells other processes that someone publishes.
pub(super) fn serve_lock(config: &Config) -> PathBuf {
    config.data_dir.join("serve.lock")
}

/// `serve` holds this lock as long as it lives, however it ends.
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
