//! Waits until a running `serve` has published the change that a command recorded.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use edgepass_issuer::Config;
use edgepass_store::AnyStore;
use rustix::process::Pid;

use super::database;

/// Longest wait for a running `serve` to publish a change.
const WAIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Whether a recorded change is published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Published {
    /// The issuer's endpoint and every target serve the change.
    Everywhere,
    /// `serve` runs, but has not published the change within 5 s.
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

/// Waits up to 5 s until `is_published` returns `true`. Returns at once if no `serve` runs.
pub(super) async fn wait_until(
    config: &Config,
    store: &AnyStore,
    is_published: impl AsyncFn() -> anyhow::Result<bool>,
) -> anyhow::Result<Published> {
    let wait = async {
        loop {
            if !somebody_serves(config)? && !database::is_led(store).await? {
                return anyhow::Ok(Published::NobodyServes);
            }
            if is_published().await? {
                return Ok(Published::Everywhere);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(WAIT, wait).await.unwrap_or(Ok(Published::NotYet))
}

/// Path of the file that `serve` locks while it runs, and that says who it is: see [`Server`]. The lock
/// shows other processes that it runs.
pub(super) fn serve_lock(config: &Config) -> PathBuf {
    config.data_dir.join("serve.lock")
}

/// A process that serves.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Server {
    pub(super) process: Pid,
    /// The names of the environments that it serves. Empty: the configuration had none.
    pub(super) environments: Vec<String>,
}

impl Server {
    /// This process.
    pub(super) fn of(environments: &[Config]) -> Self {
        let names = environments.iter().filter_map(|config| config.environment.clone());
        Self { process: rustix::process::getpid(), environments: names.collect() }
    }

    /// The content of the lock file: the number of the process, then a line for each environment.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", self.process);
        for name in &self.environments {
            text.push_str(name);
            text.push('\n');
        }
        text
    }
}

/// The process that serves this data directory, if one does.
pub(super) fn server(config: &Config) -> anyhow::Result<Option<Server>> {
    if !somebody_serves(config)? {
        return Ok(None);
    }
    let text = std::fs::read_to_string(serve_lock(config)).unwrap_or_default();
    let mut lines = text.lines();
    let process = lines.next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
    let environments = lines.map(str::to_owned).collect();
    Ok(process.map(|process| Server { process, environments }))
}

/// Whether `serve` runs on this data directory. The operating system releases its lock however the
/// process ends.
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
