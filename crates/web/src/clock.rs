//! The host's clock and timer.

use std::time::Duration;

use edgepass_verify::UnixMillis;
use js_sys::{Date, Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The host's.
    Host,
    /// Always this instant, for replaying a decision.
    Fixed(UnixMillis),
}

impl Clock {
    /// The time now.
    pub fn now(self) -> UnixMillis {
        match self {
            // Whole milliseconds since the epoch, far below 2^53; a negative clock saturates to 0.
            Self::Host => UnixMillis(Date::now() as u64),
            Self::Fixed(now) => now,
        }
    }
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Function, millis: u32);
}

/// Sleep, by a timer of the request that calls this.
pub(crate) async fn sleep(time: Duration) {
    let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let timer = Promise::new(&mut |resolve, _reject| set_timeout(&resolve, millis));
    // A timer's promise is never rejected.
    let _ = JsFuture::from(timer).await;
}
