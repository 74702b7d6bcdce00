//! The number of the status head, and the requests that wait for another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::task::yield_now;

/// The number of the status head.
pub(crate) struct HeadNumber {
    number: AtomicU64,
    /// The waiting requests in groups, so that other tasks run between the answers to thousands.
    groups: Vec<watch::Sender<()>>,
    next_group: AtomicUsize,
}

/// With ten thousand requests, those of a group are answered in about two milliseconds.
const GROUPS: usize = 128;

impl Default for HeadNumber {
    fn default() -> Self {
        let groups = (0..GROUPS).map(|_| watch::Sender::new(())).collect();
        Self { number: AtomicU64::new(0), groups, next_group: AtomicUsize::new(0) }
    }
}

impl HeadNumber {
    /// Tells all requests that wait if the number is another one.
    pub(crate) fn set(self: &Arc<Self>, number: u64) {
        if self.number.swap(number, Ordering::SeqCst) != number {
            tokio::spawn(Arc::clone(self).tell());
        }
    }

    async fn tell(self: Arc<Self>) {
        for group in &self.groups {
            group.send_replace(());
            yield_now().await;
        }
    }

    /// Waits until the number is not `after`.
    pub(crate) async fn after(&self, after: u64) {
        let group = self.next_group.fetch_add(1, Ordering::Relaxed).checked_rem(GROUPS);
        let Some(group) = group.and_then(|group| self.groups.get(group)) else { return };
        // Before the number is read, so that no change is missed.
        let mut told = group.subscribe();
        while self.number.load(Ordering::SeqCst) == after && told.changed().await.is_ok() {}
    }
}
