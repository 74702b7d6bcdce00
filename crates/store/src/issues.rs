//! Tokens that wait to be recorded together.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::storage::{NewToken, Recorded, StoreError};
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::oneshot;
use tokio::time::Instant;

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
        new.facts.parent.is_none()
            && new.facts.grant.is_none()
            && new.once.is_empty()
            && new.replaces.is_none()
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

/// Groups of the tokens to be recorded.
pub(crate) struct Groups {
    receiver: Receiver<Issue>,
    /// When the last group was given, and its size.
    given: Option<(Instant, usize)>,
    /// How long the last transactions have taken, apart from [`EACH`] of their tokens.
    taken: [Duration; 8],
}

/// The time that recording one token takes, at most, apart from its share of a commit.
const EACH: Duration = Duration::from_micros(25);
/// A disk is slow if no commit takes less.
const SLOW: Duration = Duration::from_millis(1);

impl Groups {
    pub(crate) fn new(receiver: Receiver<Issue>) -> Self {
        Self { receiver, given: None, taken: [Duration::ZERO; 8] }
    }

    /// Waits for tokens. `None`: all senders are gone. Call this once the group before is recorded.
    ///
    /// On a fast disk it takes with them what the requests that have arrived already come to: a busy
    /// process makes a larger group of them before it turns to the disk. On a slow one the group
    /// begins at once, so that the disk works while the requests of the group before are answered.
    pub(crate) async fn next(&mut self) -> Option<Vec<Issue>> {
        if let Some((since, size)) = self.given {
            let tokens = EACH.saturating_mul(u32::try_from(size).unwrap_or(u32::MAX));
            self.taken.rotate_right(1);
            self.taken[0] = since.elapsed().saturating_sub(tokens);
        }
        let is_slow = self.taken.iter().all(|taken| *taken >= SLOW);
        let mut group = Vec::new();
        if self.receiver.recv_many(&mut group, MOST).await == 0 {
            return None;
        }
        while !is_slow && group.len() < MOST {
            let before = group.len();
            tokio::task::yield_now().await;
            while let (true, Ok(issue)) = (group.len() < MOST, self.receiver.try_recv()) {
                group.push(issue);
            }
            if group.len() == before {
                break;
            }
        }
        self.given = Some((Instant::now(), group.len()));
        Some(group)
    }
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

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{Sender, channel};
    use tokio::time::advance;

    use super::*;
    use crate::suite::{entry, token};

    /// The size of the next group if one token waits and the request of another one is about to be run.
    async fn next_size(sender: &Sender<Issue>, groups: &mut Groups) -> usize {
        let issue = || {
            let (outcome, _) = oneshot::channel();
            Issue { new: token("t"), entry: entry("t"), outcome }
        };
        sender.send(issue()).await.unwrap();
        let (sender, other) = (sender.clone(), issue());
        let request = tokio::spawn(async move { sender.send(other).await.is_ok() });
        let size = groups.next().await.unwrap().len();
        assert!(request.await.unwrap());
        while groups.receiver.try_recv().is_ok() {}
        size
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_waits_for_requests_unless_every_commit_is_slow() {
        let (sender, receiver) = channel(MOST);
        let mut groups = Groups::new(receiver);
        for _ in 0..10 {
            assert_eq!(next_size(&sender, &mut groups).await, 2);
            // Two tokens may take so long on a fast disk.
            advance(SLOW + EACH).await;
        }
        let mut sizes = Vec::new();
        for _ in 0..10 {
            sizes.push(next_size(&sender, &mut groups).await);
            advance(SLOW + 2 * EACH).await;
        }
        assert_eq!(sizes, [2, 2, 2, 2, 2, 2, 2, 2, 1, 1]);
        // One that is fast is enough: others may have been slow for another reason.
        assert_eq!(next_size(&sender, &mut groups).await, 1);
        advance(EACH).await;
        assert_eq!(next_size(&sender, &mut groups).await, 2);
    }
}
