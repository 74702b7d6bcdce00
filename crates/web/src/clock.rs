//! The host's clock and timer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use edgepass_verify::UnixMillis;
use js_sys::{Date, Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

/// Source of the current time.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The host's clock.
    Host,
    /// The host's clock with an offset, to replay a decision. It runs at the speed of the host's
    /// clock, so a wait takes no longer.
    Moved {
        /// The replayed time at the start.
        from: UnixMillis,
        /// The time of the host's clock at the start.
        host: UnixMillis,
    },
}

impl Clock {
    /// Creates a clock that shows `now` at this instant and keeps running.
    pub fn starting_at(now: UnixMillis) -> Self {
        Self::Moved { from: now, host: host_now() }
    }

    /// Returns the current time of this clock.
    pub fn now(self) -> UnixMillis {
        match self {
            Self::Host => host_now(),
            Self::Moved { from, host } => from.plus(host_now().since(host).unwrap_or_default()),
        }
    }
}

fn host_now() -> UnixMillis {
    // Whole milliseconds since the epoch, far below 2^53; a negative clock saturates to 0.
    UnixMillis(Date::now() as u64)
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Function, millis: u32) -> JsValue;

    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

/// A running timer. It ends when this value is dropped, so that it keeps no process alive.
struct Timer(JsValue);

impl Drop for Timer {
    fn drop(&mut self) {
        clear_timeout(&self.0);
    }
}

/// Sleeps for `time`, by a timer of the calling request. Rounds down to whole milliseconds.
pub async fn sleep(time: Duration) {
    let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let mut timer = JsValue::UNDEFINED;
    let over = Promise::new(&mut |resolve, _reject| timer = set_timeout(&resolve, millis));
    let _running = Timer(timer);
    // A timer's promise is never rejected.
    let _ = JsFuture::from(over).await;
}

/// Awaits `work` for at most `timeout`; returns `None` after that. For calls of functions that may
/// never settle.
pub async fn in_time<T>(work: impl Future<Output = T>, timeout: Duration) -> Option<T> {
    let (mut work, mut timer) = (pin!(work), pin!(sleep(timeout)));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => timer.as_mut().poll(context).map(|()| None),
    })
    .await
}
