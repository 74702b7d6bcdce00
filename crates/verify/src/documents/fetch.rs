//! The order to the host to fetch a document, and the host's answer.

use std::time::Duration;

use crate::documents::refused::Refused;
use crate::policy::{IssuerIndex, Policy};
use crate::time::UnixMillis;
use crate::url;

/// The maximum number of redirects in turn that are followed.
const MAX_REDIRECTS: u8 = 3;

/// The kinds of document that a verifier fetches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DocumentKind {
    /// Authorization server metadata (RFC 8414), with the URL of the JWK Set.
    Metadata,
    /// The issuer's JWK Set (RFC 7517 §5).
    JwkSet,
    /// A status list token (draft-ietf-oauth-status-list §5.1).
    StatusList,
    /// The aggregation: the URIs of an issuer's status lists (draft-ietf-oauth-status-list §9).
    Aggregation,
    /// The status head: see [`StatusHead`](crate::documents::status_head::StatusHead).
    StatusHead,
}

impl DocumentKind {
    /// Returns the stable name of the kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::JwkSet => "jwk_set",
            Self::StatusList => "status_list",
            Self::Aggregation => "aggregation",
            Self::StatusHead => "status_head",
        }
    }

    /// Returns the value of `Accept` for a request for such a document.
    pub fn accept(self) -> &'static str {
        match self {
            Self::Metadata | Self::Aggregation => "application/json",
            Self::JwkSet => "application/jwk-set+json, application/json",
            Self::StatusList => "application/statuslist+jwt",
            Self::StatusHead => "application/statushead+jwt",
        }
    }
}

/// An order to GET a document and pass the answer to
/// [`Verifier::receive`](crate::Verifier::receive).
///
/// The host bypasses its HTTP cache, follows no redirect itself, and gives up after `timeout`. An
/// order without an answer expires after that time, so a cancelled request does not block others.
#[derive(Clone, Debug)]
pub struct FetchOrder {
    /// The kind of the document.
    pub document: DocumentKind,
    /// The identifier of the document: the URL of the first request.
    pub uri: String,
    /// The URL to request now; differs from `uri` after a redirect.
    pub url: String,
    /// The entity tag of the held copy, for `If-None-Match`.
    pub etag: Option<String>,
    /// The maximum length of the body, in bytes. The host stops reading after it.
    pub max_bytes: usize,
    /// The time after which the host gives up. Longer than `wait`.
    pub timeout: Duration,
    /// The time for which the source is asked to hold the request until the document changes, in
    /// whole seconds: the preference `wait` of RFC 7240 §4.3. `None`: it is to answer at once.
    pub wait: Option<Duration>,
    /// Whether the host may read its shared cache first, because no copy is held.
    pub may_read_cache: bool,
    /// The issuer of the document.
    pub(crate) issuer: IssuerIndex,
    /// The lease of this fetch; 0 for an aggregation, which has none.
    pub(crate) lease: u64,
    /// The number of redirects that led to `url`.
    pub(crate) redirects: u8,
    /// The earliest confirmation time of the redirects so far. `None` before a redirect.
    pub(crate) first_confirmed_at: Option<UnixMillis>,
}

impl FetchOrder {
    /// Returns the order for `url`, to which an answer confirmed at `first_confirmed_at` redirects.
    /// `etag` is that of the held copy, if the copy came from `url`: an entity tag belongs to one
    /// URL.
    pub(crate) fn redirected(
        self,
        url: String,
        etag: Option<String>,
        first_confirmed_at: UnixMillis,
    ) -> Self {
        let first_confirmed_at = self
            .first_confirmed_at
            .map_or(first_confirmed_at, |first| first.min(first_confirmed_at));
        let redirects = self.redirects.saturating_add(1);
        Self {
            url,
            etag,
            first_confirmed_at: Some(first_confirmed_at),
            redirects,
            may_read_cache: false,
            ..self
        }
    }

    /// The URL to which an answer redirects, if the redirect is followed: three in turn at most, inside the
    /// configured prefixes.
    pub(crate) fn redirect(&self, content: &Content, policy: &Policy) -> Option<String> {
        let Content::Redirect { location } = content else { return None };
        let url = url::resolve(location, &self.url).filter(|url| policy.allows_status_uri(url))?;
        (self.redirects < MAX_REDIRECTS).then_some(url)
    }

    /// The confirmation time of the document if that of the last answer is `confirmed_at`: the
    /// earliest in the chain of redirects.
    pub(crate) fn confirmed_at(&self, confirmed_at: UnixMillis) -> UnixMillis {
        self.first_confirmed_at.map_or(confirmed_at, |first| first.min(confirmed_at))
    }
}

/// The answer to a [`FetchOrder`].
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether the source or the host's shared cache answered.
    pub from: AnsweredBy,
    /// The time at which the request was *sent*, less the response's `Age`. For a read of the
    /// shared cache: the time in its entry, because reading a cache confirms nothing.
    pub confirmed_at: UnixMillis,
    /// The document, or the result that came instead.
    pub content: Content,
    /// The response's `Date`, if it could be read. `None` for a read of the shared cache.
    pub dated: Option<Dated>,
    /// The freshness lifetime that the response states, counted from `confirmed_at`. For a read of
    /// the shared cache: the lifetime in its entry.
    pub fresh_for: Option<Duration>,
    /// Whether the response's `Age` is absent or well-formed. A document with a deadline, and one
    /// whose age counts for its order, is refused otherwise.
    pub has_known_age: bool,
}

impl Answer {
    /// Returns the answer for a failed request that was sent at `sent_at`, for a reason that the
    /// host does not tell.
    pub fn failed(sent_at: UnixMillis) -> Self {
        Self {
            from: AnsweredBy::Source,
            confirmed_at: sent_at,
            content: Content::Failed(Failure::Unknown),
            dated: None,
            fresh_for: None,
            has_known_age: true,
        }
    }

    /// Returns the answer for a request that was sent at `sent_at` and failed for this reason.
    pub fn failed_by(failure: Failure, sent_at: UnixMillis) -> Self {
        Self { content: Content::Failed(failure), ..Self::failed(sent_at) }
    }

    /// Turns an answer of unknown age into a failed one.
    pub(crate) fn of_known_age(self) -> Self {
        if self.has_known_age {
            self
        } else {
            Self { content: Content::Failed(Failure::Age), ..self }
        }
    }
}

/// The head of a response to a [`FetchOrder`], as the host received it.
pub struct ResponseHead {
    /// The HTTP status code.
    pub status: u16,
    /// The value of `Age`. The values of several fields are joined by commas (RFC 9110 §5.3).
    pub age: Option<String>,
    /// The time in `Date`, if it can be read.
    pub date: Option<UnixMillis>,
    /// The value of `Cache-Control`. The values of several fields are joined by commas.
    pub cache_control: Option<String>,
    /// The time in `Expires`. The epoch if it cannot be read: an invalid time is a past one (RFC
    /// 9111 §5.3).
    pub expires: Option<UnixMillis>,
    /// The value of `Location`.
    pub location: Option<String>,
    /// The value of `Content-Type`.
    pub content_type: Option<String>,
    /// The value of `ETag`.
    pub etag: Option<String>,
}

/// The body of a response, as far as it was read.
pub enum Body {
    /// The complete body.
    Whole(Vec<u8>),
    /// The body is longer than the order's `max_bytes`.
    TooLarge,
    /// The body could not be read, or is not needed.
    None,
}

impl<E> From<Result<Option<Vec<u8>>, E>> for Body {
    fn from(read: Result<Option<Vec<u8>>, E>) -> Self {
        match read {
            Ok(Some(bytes)) => Self::Whole(bytes),
            Ok(None) => Self::TooLarge,
            Err(_) => Self::None,
        }
    }
}

impl ResponseHead {
    /// Returns whether the response carries the document, by its status. If so, read its body.
    pub fn carries_document(&self) -> bool {
        is_success(self.status)
    }

    /// Converts the response to a request that was sent at `sent_at` to an answer.
    pub fn answer(self, body: Body, sent_at: UnixMillis) -> Answer {
        let failed = Answer::failed(sent_at);
        let (age, has_known_age) = age(self.age.as_deref());
        let fresh_for = self.freshness_lifetime();
        let content = match (self.status, body, self.location) {
            (304, ..) => Content::NotModified,
            (status, _, Some(location)) if is_redirect(status) => Content::Redirect { location },
            (status, Body::Whole(bytes), _) if is_success(status) => Content::Body {
                bytes,
                media_type: self.content_type.as_deref().map(media_type),
                etag: self.etag,
            },
            (status, Body::TooLarge, _) if is_success(status) => Content::TooLarge,
            (status, Body::None, _) if is_success(status) => return failed,
            _ => Content::Failed(Failure::Status(self.status)),
        };
        let dated = self.date.map(|date| Dated { date, sent_at });
        let confirmed_at = sent_at.minus(age);
        Answer { content, confirmed_at, dated, fresh_for, has_known_age, ..failed }
    }

    /// The freshness lifetime that the response states: `max-age`, or else `Expires` less `Date`.
    /// `s-maxage` is for shared caches. Zero for `no-cache` and `no-store`, and for a `max-age`
    /// that cannot be read. Of several values the smallest counts.
    ///
    /// Source: [RFC 9111 §4.2.1](https://www.rfc-editor.org/rfc/rfc9111#section-4.2.1).
    fn freshness_lifetime(&self) -> Option<Duration> {
        let mut stated: Option<u32> = None;
        for directive in self.cache_control.as_deref().unwrap_or_default().split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let name = name.trim();
            let seconds = if name.eq_ignore_ascii_case("max-age") {
                delta_seconds(value.trim().trim_matches('"')).unwrap_or(0)
            } else if name.eq_ignore_ascii_case("no-cache") || name.eq_ignore_ascii_case("no-store")
            {
                0
            } else {
                continue;
            };
            stated = Some(stated.map_or(seconds, |known| known.min(seconds)));
        }
        match stated {
            Some(seconds) => Some(Duration::from_secs(seconds.into())),
            None => Some(self.expires?.since(self.date?).unwrap_or_default()),
        }
    }
}

/// Reads a number of seconds. A number above the largest `u32` becomes that. `None` if it is no
/// number.
///
/// Source: [RFC 9111 §1.2.2](https://www.rfc-editor.org/rfc/rfc9111#section-1.2.2).
fn delta_seconds(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u32::MAX))
}

/// The `Date` of a response, and the time of its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dated {
    /// The response's `Date`, by the clock of its server.
    pub date: UnixMillis,
    /// The time at which the request was sent, by the host's clock.
    pub sent_at: UnixMillis,
}

/// The last responses for one document, by their `Date`.
///
/// A cache may keep `Date` and drop `Age`. RFC 9111 §4.2.3 then computes the age from `Date` and
/// the local clock, but the verifier cannot tell which of the two clocks is wrong. Instead it takes
/// a response with a known `Date` for the known response: no younger than when first received. Four
/// are remembered, because several caches may answer in turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dates([Option<Dated>; 4]);

impl Dates {
    /// Returns when the request was sent that first brought a response with this `Date`. Returns
    /// `None` if the `Date` is unknown, and remembers it, or if the response has none.
    pub(crate) fn first_seen(&mut self, dated: Option<Dated>) -> Option<UnixMillis> {
        let dated = dated?;
        let known = self.0.iter().flatten().find(|known| known.date == dated.date);
        if let Some(known) = known {
            return Some(known.sent_at);
        }
        // A free place, or else the oldest response.
        let oldest = self.0.iter_mut().min_by_key(|known| known.map(|known| known.sent_at));
        if let Some(oldest) = oldest {
            *oldest = Some(dated);
        }
        None
    }
}

/// The party that gave an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnsweredBy {
    /// The source: a response from the order's URL, perhaps through an HTTP cache.
    Source,
    /// The host's shared cache. A miss gives no answer.
    Cache,
}

/// The content of an answer.
#[derive(Clone, Debug)]
pub enum Content {
    /// Status 304: the copy with the order's entity tag is current.
    NotModified,
    /// Status 301, 302, 303, 307 or 308. The host does not follow the redirect itself.
    Redirect {
        /// The value of `Location`, as received.
        location: String,
    },
    /// A successful response with the document.
    Body {
        /// The body, at most `max_bytes` of the order long.
        bytes: Vec<u8>,
        /// The media type without parameters, in lower case.
        media_type: Option<String>,
        /// The entity tag of the response.
        etag: Option<String>,
    },
    /// A body longer than the order's `max_bytes`.
    TooLarge,
    /// Any other result.
    Failed(Failure),
}

/// The reason why a fetch failed, as far as the host tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The name of the source cannot be resolved.
    Dns,
    /// The source refused the connection, or broke it off.
    Connection,
    /// The source's certificate is not valid, or TLS failed.
    Tls,
    /// The response did not arrive within the order's `timeout`.
    Timeout,
    /// The status of the response is no success.
    Status(u16),
    /// `Age` of the response cannot be read.
    Age,
    /// The host does not tell.
    Unknown,
}

impl Content {
    /// The reason for which an answer with this content is refused, if it is.
    pub(crate) fn refused(&self) -> Refused {
        match self {
            Self::NotModified => Refused::NotHeld,
            Self::Redirect { .. } => Refused::Redirect,
            Self::TooLarge => Refused::TooLarge,
            Self::Body { .. } => Refused::Malformed,
            Self::Failed(failure) => Refused::Failed(*failure),
        }
    }
}

/// Whether a response of this status carries the document: any 2xx except the empty and the partial
/// ones, 204 to 206.
fn is_success(status: u16) -> bool {
    (200..300).contains(&status) && !matches!(status, 204..=206)
}

/// Whether a status is a redirect that keeps a GET a GET.
fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// The age in `Age`, and whether it is known. 0 if the field is absent or cannot be read. A response
/// through several caches may have several values: the largest counts.
///
/// Source: [RFC 9111 §5.1](https://www.rfc-editor.org/rfc/rfc9111#section-5.1).
fn age(header: Option<&str>) -> (Duration, bool) {
    let (mut largest, mut is_known) = (0, true);
    for age in header.unwrap_or("0").split(',') {
        let seconds = delta_seconds(age.trim());
        is_known &= seconds.is_some_and(|seconds| seconds < u32::MAX);
        largest = seconds.unwrap_or_default().max(largest);
    }
    (Duration::from_secs(largest.into()), is_known)
}

/// Returns the media type without its parameters, in lower case.
pub fn media_type(header: &str) -> String {
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_lost_its_age_is_known_by_its_date() {
        let mut dates = Dates::default();
        let mut first = |date: u64, sent_at: u64| {
            let second = |at: u64| UnixMillis(1_000_000_000 + at * 1000);
            let seen =
                dates.first_seen(Some(Dated { date: second(date), sent_at: second(sent_at) }));
            seen.map(|at| (at.0 - 1_000_000_000) / 1000)
        };
        // The clocks differ: this one is 40 s ahead, and that of one of two servers a minute.
        assert_eq!(
            (first(0, 40), first(5, 45), first(70, 50), first(15, 55)),
            (None, None, None, None)
        );
        // The same response, repeatedly.
        assert_eq!(
            (first(15, 60), first(15, 200), first(15, 4000)),
            (Some(55), Some(55), Some(55))
        );
        assert_eq!((first(4100, 4140), first(4100, 4141)), (None, Some(4140)));
        // Two caches in turn.
        assert_eq!((first(15, 4142), first(4100, 4143)), (Some(55), Some(4140)));
        assert_eq!((first(4104, 4144), first(15, 4145)), (None, Some(55)));
        assert_eq!(dates.first_seen(None), None);
    }

    #[test]
    fn the_largest_age_counts_and_an_unreadable_one_is_no_age() {
        let seconds = |header| {
            let (age, is_known) = age(header);
            (age.as_secs(), is_known)
        };
        assert_eq!(seconds(None), (0, true));
        assert_eq!(seconds(Some("7")), (7, true));
        assert_eq!(seconds(Some("100, 3")), (100, true));
        for header in ["", "x", "-1", "1.5"] {
            assert_eq!(seconds(Some(header)), (0, false), "{header:?}");
        }
        assert_eq!(seconds(Some("3,")), (3, false));
        assert_eq!(seconds(Some("99999999999")), (u32::MAX.into(), false));
    }

    #[test]
    fn the_freshness_lifetime_is_the_smallest_that_the_response_states() {
        let lifetime = |cache_control: Option<&str>, expires, date| {
            let head = ResponseHead {
                status: 200,
                age: None,
                date,
                cache_control: cache_control.map(str::to_owned),
                expires,
                location: None,
                content_type: None,
                etag: None,
            };
            let answer = head.answer(Body::Whole(Vec::new()), UnixMillis(0));
            answer.fresh_for.map(|lifetime| lifetime.as_secs())
        };
        for (field, expected) in [
            ("public, max-age=24873, must-revalidate, no-transform", Some(24_873)),
            ("MAX-AGE = \"60\"", Some(60)),
            ("max-age=60, max-age=5", Some(5)),
            ("max-age=60,no-cache", Some(0)),
            ("no-cache=\"set-cookie\", max-age=60", Some(0)),
            ("no-store", Some(0)),
            ("max-age=x", Some(0)),
            ("max-age=-1", Some(0)),
            ("max-age", Some(0)),
            ("max-age=99999999999", Some(u32::MAX.into())),
            ("s-maxage=60", None),
            ("private, x-max-age=9", None),
            ("", None),
        ] {
            assert_eq!(lifetime(Some(field), None, None), expected, "{field:?}");
        }
        let at = |seconds| Some(UnixMillis::from_seconds(seconds));
        assert_eq!(lifetime(None, at(100), at(40)), Some(60));
        assert_eq!(lifetime(None, at(40), at(100)), Some(0));
        assert_eq!(lifetime(None, at(0), at(100)), Some(0));
        assert_eq!(lifetime(None, at(100), None), None);
        assert_eq!(lifetime(Some("s-maxage=9"), at(100), at(40)), Some(60));
        assert_eq!(lifetime(Some("max-age=7"), at(100), at(40)), Some(7));
    }
}
