//! The open connections: their limit, and which one makes room for a new one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};

use crate::held::Held;

/// The connections of a listener.
pub(crate) struct Connections {
    /// One permit for each connection that may still be opened.
    free: Arc<Semaphore>,
    /// One permit for each connection that may still become one of a watch.
    watches: Arc<Semaphore>,
    open: Arc<Mutex<Open>>,
    since: Instant,
    /// Time of the last warning that no permit is free. `None`: there was none yet.
    warned_at: Option<Instant>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Arc<State>>,
    /// Their number by address.
    of_address: HashMap<IpAddr, u64>,
}

impl Open {
    fn add(&mut self, state: Arc<State>) -> u64 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        let count = self.of_address.entry(state.address).or_default();
        *count = count.saturating_add(1);
        self.connections.insert(number, state);
        number
    }

    fn remove(&mut self, number: u64) {
        let Some(state) = self.connections.remove(&number) else { return };
        if let Entry::Occupied(mut count) = self.of_address.entry(state.address) {
            *count.get_mut() = count.get().saturating_sub(1);
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// The state of a connection.
struct State {
    address: IpAddr,
    /// Milliseconds from the start of the listener to the end of the last response. [`BUSY`] while a
    /// request is being answered.
    idle_since: AtomicU64,
    /// Tells the connection to end.
    end: Notify,
    /// The place that the connection takes.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    /// Whether the connection takes a place among those of watches.
    watches: AtomicBool,
    /// The request that is to wait.
    held: Mutex<Option<Held>>,
    /// Tells the connection that there is one.
    hold: Notify,
}

const BUSY: u64 = u64::MAX;

/// A place among the open connections, which is free again when this is dropped.
pub(crate) struct Place {
    number: u64,
    state: Arc<State>,
    since: Instant,
    open: Arc<Mutex<Open>>,
    watches: Arc<Semaphore>,
}

/// The most connections of a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Of those that make requests.
    pub connections: usize,
    /// Of those that wait for status heads. They take no place of the others.
    pub watches: usize,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limits.connections)),
            watches: Arc::new(Semaphore::new(limits.watches)),
            open: Arc::default(),
            since: Instant::now(),
            warned_at: None,
        }
    }

    /// A place for a new connection. If none is free, the connection that has been idle for longest ends,
    /// of the address that has most. Waits if all are busy.
    pub(crate) async fn place(&mut self, address: SocketAddr) -> Place {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.warn();
                self.freed().await
            }
        };
        let state = Arc::new(State {
            address: address.ip(),
            idle_since: AtomicU64::new(millis(self.since)),
            end: Notify::new(),
            permit: Mutex::new(permit),
            watches: AtomicBool::new(false),
            held: Mutex::default(),
            hold: Notify::new(),
        });
        let number = lock(&self.open).add(Arc::clone(&state));
        let open = Arc::clone(&self.open);
        Place { number, state, since: self.since, open, watches: Arc::clone(&self.watches) }
    }

    /// Waits for a permit. Ends an idle connection for it, once there is one.
    async fn freed(&self) -> Option<OwnedSemaphorePermit> {
        let mut permit = pin!(Arc::clone(&self.free).acquire_owned());
        let mut is_ending = self.end_one();
        loop {
            tokio::select! {
                // The semaphore is never closed.
                permit = &mut permit => return permit.ok(),
                () = sleep(AGAIN), if !is_ending => is_ending = self.end_one(),
            }
        }
    }

    fn warn(&mut self) {
        if self.warned_at.is_none_or(|at| at.elapsed() > WARN_INTERVAL) {
            self.warned_at = Some(Instant::now());
            tracing::warn!("connection limit reached; idle connections are ended for new ones");
        }
    }

    /// Tells one idle connection to end. `false`: all are busy.
    fn end_one(&self) -> bool {
        let open = lock(&self.open);
        let idle = open.connections.values().filter_map(|state| {
            let since = state.idle_since.load(Ordering::Relaxed);
            let most = open.of_address.get(&state.address).copied().unwrap_or_default();
            let is_idle = since != BUSY && !state.watches.load(Ordering::Relaxed);
            is_idle.then_some((std::cmp::Reverse(most), since, state))
        });
        let Some((.., state)) = idle.min_by_key(|(most, since, _)| (*most, *since)) else {
            return false;
        };
        // Not chosen again while it ends.
        state.idle_since.store(BUSY, Ordering::Relaxed);
        state.end.notify_one();
        true
    }
}

impl Place {
    /// Waits until the connection is to end for another one.
    pub(crate) async fn ended(&self) {
        self.state.end.notified().await;
    }

    /// What a request of the connection holds until its response is made. `stopping` changes when the
    /// listener stops.
    pub(crate) fn requests(&self, stopping: watch::Receiver<()>) -> Requests {
        let (state, watches) = (Arc::clone(&self.state), Arc::clone(&self.watches));
        Requests { state, since: self.since, watches, stopping }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.open).remove(self.number);
        // A request that is still being answered holds the state.
        self.state.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Records whether a connection answers a request.
#[derive(Clone)]
pub(crate) struct Requests {
    state: Arc<State>,
    since: Instant,
    watches: Arc<Semaphore>,
    stopping: watch::Receiver<()>,
}

impl Requests {
    /// Lets a request wait. Its service ends.
    pub(crate) fn hold(&self, held: Held) {
        *self.state.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        self.state.hold.notify_one();
    }

    /// The request that is to wait, once there is one.
    pub(crate) async fn held(&self) -> Held {
        loop {
            self.state.hold.notified().await;
            let held = self.state.held.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(held) = held {
                return held;
            }
        }
    }

    /// Moves the connection to a place among those of watches, for as long as it is open, so that
    /// another connection can take its place. `false`: there is none.
    pub(crate) fn watch(&self) -> bool {
        if self.state.watches.load(Ordering::Relaxed) {
            return true;
        }
        let Ok(permit) = Arc::clone(&self.watches).try_acquire_owned() else { return false };
        self.state.watches.store(true, Ordering::Relaxed);
        *self.state.permit.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
        true
    }

    /// Changes when the listener stops, or is gone.
    pub(crate) fn stopping(&self) -> watch::Receiver<()> {
        self.stopping.clone()
    }

    /// The connection is busy until the returned value is dropped. HTTP/1.1 answers one request after the
    /// other.
    pub(crate) fn begin(&self) -> Answering {
        self.state.idle_since.store(BUSY, Ordering::Relaxed);
        Answering { state: Arc::clone(&self.state), since: self.since }
    }
}

/// A request that is being answered.
pub(crate) struct Answering {
    state: Arc<State>,
    since: Instant,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.state.idle_since.store(millis(self.since), Ordering::Relaxed);
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(BUSY.saturating_sub(1))
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    // A panic while the lock is held leaves the map consistent.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time after which a connection that has become idle is looked for, while all were busy.
const AGAIN: Duration = Duration::from_millis(20);
/// Shortest time between two warnings about the limit.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_of_the_address_with_most_makes_room() {
        let mut connections = Connections::new(Limits { connections: 4, watches: 0 });
        let (_stop, stopping) = watch::channel(());
        let address = |last| SocketAddr::from(([192, 0, 2, last], 1));
        let good = connections.place(address(1)).await;
        let mut others = Vec::new();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            others.push(connections.place(address(2)).await);
        }
        let answering = others[0].requests(stopping.clone()).begin();
        let ended = |place: &Place| place.state.idle_since.load(Ordering::Relaxed) == BUSY;
        let second = others.remove(1);
        let (new, ()) = tokio::join!(connections.place(address(3)), async {
            second.ended().await;
            drop(second);
        });
        assert!(!ended(&good) && !ended(&others[1]) && !ended(&new));
        drop(answering);
        assert!(!ended(&others[0]), "it is idle again");
        // If all are busy a new one waits until one ends by itself.
        let busy: Vec<_> = [&good, &others[0], &others[1], &new]
            .map(|place| place.requests(stopping.clone()).begin())
            .into();
        let (_next, ()) = tokio::join!(connections.place(address(4)), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(good);
        });
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_becomes_idle_makes_room_for_one_that_waits() {
        let mut connections = Connections::new(Limits { connections: 1, watches: 1 });
        let (_stop, stopping) = watch::channel(());
        let address = SocketAddr::from(([192, 0, 2, 1], 1));
        let only = connections.place(address).await;
        let answering = only.requests(stopping).begin();
        let began = Instant::now();
        let (_new, ()) = tokio::join!(connections.place(address), async {
            sleep(Duration::from_secs(1)).await;
            drop(answering);
            only.ended().await;
            drop(only);
        });
        assert!(began.elapsed() < Duration::from_millis(1100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_leaves_its_place_to_another_connection() {
        let mut connections = Connections::new(Limits { connections: 1, watches: 1 });
        let (_stop, stopping) = watch::channel(());
        let address = SocketAddr::from(([192, 0, 2, 1], 1));
        let first = connections.place(address).await;
        let answering = first.requests(stopping.clone()).begin();
        assert!(first.requests(stopping.clone()).watch());
        let second = connections.place(address).await;
        assert!(!second.requests(stopping.clone()).watch(), "one watch at most");
        assert!(first.requests(stopping.clone()).watch(), "it has a place");
        // Between two requests it is not ended for another connection either.
        drop(answering);
        let began = Instant::now();
        let (third, ()) = tokio::join!(connections.place(address), async {
            second.ended().await;
            drop(second);
        });
        assert!(began.elapsed() < Duration::from_millis(100));
        drop(first);
        assert!(third.requests(stopping).watch());
    }
}
