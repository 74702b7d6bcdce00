//! The host's clock and timer.

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
    fn set_timeout(callback: &Function, millis: u32);
}

/// Sleeps for `time`, by a timer of the calling request. Rounds down to whole milliseconds.
pub(crate) async fn sleep(time: Duration) {
    let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let timer = Promise::new(&mut |resolve, _reject| set_timeout(&resolve, millis));
    // A timer's promise is never rejected.
    let _ = JsFuture::from(timer).await;
}
