//! The lease of the process that publishes from a database on a server. For a database in a file, the lock of
//! its folder does the same.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use edgepass_issuer::entropy::Entropy;
use edgepass_server::error_chain;
use edgepass_store::postgres::LEASE;
use edgepass_store::{AnyStore, PostgresStore};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::host::OsEntropy;

/// Time between two renewals.
const RENEW: Duration = Duration::from_secs(1);
/// Time between two attempts to take the lease, or to renew it after a failure.
const AGAIN: Duration = Duration::from_millis(250);
/// Time before the end of the lease at which the process gives it up for lost: as long as it may take until
/// nothing is served any more.
const MARGIN: Duration = Duration::from_millis(500);

/// The lease, which is renewed until this value is dropped.
pub(super) struct Leading {
    /// Ends when the lease is lost. `None`: there is none to lose.
    keeping: Option<JoinHandle<()>>,
    /// Until when the process leads for certain. `None`: always.
    valid: Option<watch::Receiver<Instant>>,
}

impl Leading {
    /// Takes the lease. `None`: another process has it.
    pub(super) async fn take(store: &Arc<AnyStore>) -> anyhow::Result<Option<Self>> {
        let AnyStore::Postgres(database) = &**store else {
            return Ok(Some(Self { keeping: None, valid: None }));
        };
        let holder = name()?;
        let mut began = Instant::now();
        if !database.lead(&holder).await? {
            return Ok(None);
        }
        // It may have waited for a connection: the lease counts from the beginning.
        if began.elapsed() >= RENEW {
            began = Instant::now();
            if !database.lead(&holder).await? {
                return Ok(None);
            }
        }
        let kept = Arc::clone(store);
        let (until, valid) = watch::channel(end_of(began));
        let keeping = tokio::spawn(async move {
            if let AnyStore::Postgres(database) = &*kept {
                keep(database, &holder, began, &until).await;
            }
        });
        Ok(Some(Self { keeping: Some(keeping), valid: Some(valid) }))
    }

    /// Takes the lease once no other process has it.
    pub(super) async fn wait(store: &Arc<AnyStore>) -> anyhow::Result<Self> {
        loop {
            match Self::take(store).await {
                Ok(Some(leading)) => return Ok(leading),
                Ok(None) => {}
                Err(error) => tracing::warn!("the lease cannot be asked for: {error:#}"),
            }
            sleep(AGAIN).await;
        }
    }

    /// Until when the process leads for certain. `None`: always.
    pub(super) fn valid(&self) -> Option<watch::Receiver<Instant>> {
        self.valid.clone()
    }

    /// Ends when the lease is lost, and never otherwise.
    pub(super) async fn lost(mut self) {
        match &mut self.keeping {
            Some(keeping) => {
                let _ = keeping.await;
            }
            None => std::future::pending().await,
        }
    }
}

/// Gives the lease up, if this process has it, so that another process need not wait for its end.
pub(super) async fn end(store: &AnyStore) {
    if let AnyStore::Postgres(database) = store
        && let Err(error) = database.stop_leading().await
    {
        tracing::warn!(error = %error_chain(&error), "the lease ends by itself");
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        if let Some(keeping) = &self.keeping {
            keeping.abort();
        }
    }
}

/// The end of a lease that was taken or renewed by a call that began then.
fn end_of(began: Instant) -> Instant {
    began.checked_add(LEASE.saturating_sub(MARGIN)).unwrap_or(began)
}

/// Renews the lease. Ends when it is lost. `began`: when the last renewal began. Tells `until` when the lease
/// ends.
async fn keep(
    database: &PostgresStore,
    holder: &str,
    mut began: Instant,
    until: &watch::Sender<Instant>,
) {
    loop {
        sleep(RENEW).await;
        let end = end_of(began);
        let renewed = async {
            loop {
                let began = Instant::now();
                match database.lead(holder).await {
                    Ok(true) => return Some(began),
                    Ok(false) => return None,
                    Err(error) => {
                        tracing::warn!(error = %error_chain(&error), "the lease was not renewed");
                        sleep(AGAIN).await;
                    }
                }
            }
        };
        match timeout_at(end, renewed).await {
            Ok(Some(at)) => {
                began = at;
                until.send_replace(end_of(at));
            }
            Ok(None) | Err(_) => return,
        }
    }
}

/// A name that no other process has.
fn name() -> anyhow::Result<String> {
    let Ok(bytes) = OsEntropy.bytes::<16>() else { bail!("the system has no randomness") };
    let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{hexadecimal}", std::process::id()))
}
