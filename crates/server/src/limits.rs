//! Rate limits.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::config::LimitsConfig;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

/// The limits of requests in a minute. Each is filled evenly over the minute.
pub(crate) struct Limits {
    clients: Limit<String>,
    failures: Limit<IpAddr>,
    /// Addresses over the limit of failures, until when.
    blocked: Mutex<HashMap<IpAddr, Instant>>,
    reports: Limit<IpAddr>,
}

/// A limit for each key. `None`: there is no limit.
struct Limit<K: Clone + Eq + Hash>(Option<DefaultKeyedRateLimiter<K>>);

/// The seconds until a request is worth another try.
pub(crate) struct Wait(u64);

/// The number of keys from which on those that have not come lately are forgotten.
const MANY: usize = 50_000;

impl Limits {
    pub(crate) fn new(config: &LimitsConfig) -> Self {
        Self {
            clients: Limit::new(config.requests_per_client),
            failures: Limit::new(config.failures_per_address),
            blocked: Mutex::default(),
            reports: Limit::new(config.reports_per_address),
        }
    }

    /// Counts a request of an authenticated client.
    pub(crate) fn request(&self, client: &str) -> Result<(), Wait> {
        self.clients.count(client.to_owned())
    }

    /// Whether a request from this address is looked at: not after too many that failed.
    pub(crate) fn may_authenticate(&self, address: IpAddr) -> Result<(), Wait> {
        let address = network(address);
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = blocked.get(&address) else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            blocked.remove(&address);
            return Ok(());
        }
        Err(Wait(left.as_secs().saturating_add(1)))
    }

    /// Counts a request from an address that failed to authenticate.
    pub(crate) fn failure(&self, address: IpAddr) -> Result<(), Wait> {
        let address = network(address);
        self.failures.count(address).inspect_err(|Wait(seconds)| {
            let now = Instant::now();
            let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
            if blocked.len() > MANY {
                blocked.retain(|_, until| *until > now);
            }
            let until = now.checked_add(Duration::from_secs(*seconds));
            blocked.extend(until.map(|until| (address, until)));
        })
    }

    /// Counts a report of leaked tokens.
    pub(crate) fn report(&self, address: IpAddr) -> Result<(), Wait> {
        self.reports.count(network(address))
    }
}

impl<K: Clone + Eq + Hash> Limit<K> {
    fn new(per_minute: u32) -> Self {
        Self(NonZeroU32::new(per_minute).map(|most| RateLimiter::keyed(Quota::per_minute(most))))
    }

    fn count(&self, key: K) -> Result<(), Wait> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        if limiter.len() > MANY {
            limiter.retain_recent();
        }
        limiter.check_key(&key).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Wait(wait.as_secs().saturating_add(1))
        })
    }
}

/// The network that one user has: an address of IPv4, the first 64 bits of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address => address,
    }
}

impl IntoResponse for Wait {
    fn into_response(self) -> Response {
        let headers =
            [(header::RETRY_AFTER, self.0.to_string()), (header::CACHE_CONTROL, "no-store".into())];
        (StatusCode::TOO_MANY_REQUESTS, headers).into_response()
    }
}

impl Wait {
    pub(crate) fn seconds(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_limit_and_zero_is_none() {
        let limits = Limits::new(&LimitsConfig {
            requests_per_client: 2,
            failures_per_address: 0,
            reports_per_address: 1,
        });
        assert!(limits.request("a").is_ok() && limits.request("a").is_ok());
        let wait = limits.request("a").err().unwrap();
        assert!((1..=31).contains(&wait.seconds()), "{}", wait.seconds());
        assert!(limits.request("b").is_ok());
        for _ in 0..100 {
            assert!(limits.failure(IpAddr::from([192, 0, 2, 1])).is_ok());
        }
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(limits.report(address("2001:db8::1")).is_ok());
        assert!(limits.report(address("2001:db8::ffff:2")).is_err(), "the same user");
        assert!(limits.report(address("2001:db8:0:1::1")).is_ok());
        assert!(limits.report(address("192.0.2.1")).is_ok());
        assert!(limits.report(address("::ffff:192.0.2.1")).is_err());
    }
}
