//! Tokens that wait to be recorded together.

use std::error::Error;
use std::sync::Arc;

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::storage::{NewToken, Recorded, StoreError};
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::oneshot;

/// Tokens in one transaction, at most.
pub(crate) const MOST: usize = 256;

/// A token to be recorded, and where its request waits for the outcome.
pub(crate) struct Issue {
    pub(crate) new: NewToken,
    pub(crate) entry: AuditEntry,
    pub(crate) outcome: oneshot::Sender<Result<Recorded, StoreError>>,
}

impl Issue {
    /// Whether the token depends on nothing else in the database. It is recorded with others of its kind.
    pub(crate) fn is_plain(&self) -> bool {
        let Self { new, .. } = self;
        new.facts.parent.is_none() && new.once.is_empty() && new.replaces.is_none()
    }
}

/// Has a token recorded by the task at the other end, and waits for the outcome.
pub(crate) async fn send(
    issues: &mpsc::Sender<Issue>,
    new: &NewToken,
    entry: &AuditEntry,
) -> Result<Recorded, StoreError> {
    let (outcome, told) = oneshot::channel();
    let issue = Issue { new: new.clone(), entry: entry.clone(), outcome };
    let ended = || StoreError::Unavailable("the task that records tokens has ended".into());
    issues.send(issue).await.map_err(|_| ended())?;
    told.await.unwrap_or_else(|_| Err(ended()))
}

/// Waits for tokens. Takes with them what the requests that have arrived already come to: a busy process
/// makes a larger group of them before it turns to the disk. `None`: all senders are gone.
pub(crate) async fn gather(receiver: &mut Receiver<Issue>) -> Option<Vec<Issue>> {
    let mut group = Vec::new();
    if receiver.recv_many(&mut group, MOST).await == 0 {
        return None;
    }
    while group.len() < MOST {
        let before = group.len();
        tokio::task::yield_now().await;
        while let (true, Ok(issue)) = (group.len() < MOST, receiver.try_recv()) {
            group.push(issue);
        }
        if group.len() == before {
            break;
        }
    }
    Some(group)
}

/// The error of a group, as each of its tokens gets it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<dyn Error + Send + Sync>);

/// Gives an error as often as asked.
pub(crate) fn repeated(error: StoreError) -> impl Fn() -> StoreError {
    type Cause = Box<dyn Error + Send + Sync>;
    let (kind, cause): (fn(Cause) -> StoreError, Cause) = match error {
        StoreError::Duplicate(cause) => (StoreError::Duplicate, cause),
        StoreError::Corrupt(cause) => (StoreError::Corrupt, cause),
        StoreError::NotSynced => (|_| StoreError::NotSynced, "not synced".into()),
        StoreError::Unavailable(cause) => (StoreError::Unavailable, cause),
        other => (StoreError::Unavailable, other.into()),
    };
    let cause: Arc<dyn Error + Send + Sync> = cause.into();
    move || kind(Box::new(Shared(Arc::clone(&cause))))
}
