//! Fetching as data: what the host is to get, and what came of it.

use std::time::Duration;

use crate::documents::refused::Refused;
use crate::policy::IssuerIndex;
use crate::time::UnixMillis;

/// The kinds of document a verifier holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DocumentKind {
    /// Authorization server metadata (RFC 8414), to find the JWK Set.
    Metadata,
    /// The issuer's JWK Set (RFC 7517 §5).
    JwkSet,
    /// A status list token (draft-ietf-oauth-status-list §5.1).
    StatusList,
    /// The URIs of an issuer's status lists (draft-ietf-oauth-status-list §9).
    Aggregation,
}

impl DocumentKind {
    /// What to ask for in `Accept`.
    pub fn accept(self) -> &'static str {
        match self {
            Self::Metadata | Self::Aggregation => "application/json",
            Self::JwkSet => "application/jwk-set+json, application/json",
            Self::StatusList => "application/statuslist+jwt",
        }
    }
}

/// GET this document, then hand the answer to [`Verifier::receive`](crate::Verifier::receive).
///
/// The host bypasses its HTTP cache, follows no redirect itself, and gives up after `timeout`. An order
/// that is never answered expires by itself, so a cancelled request blocks nobody.
#[derive(Clone, Debug)]
pub struct FetchOrder {
    /// What it is.
    pub document: DocumentKind,
    /// What it is called: the URL it was first asked for at.
    pub uri: String,
    /// Where it is asked for now; another URL after a redirect.
    pub url: String,
    /// Entity tag of the held copy, for `If-None-Match`.
    pub etag: Option<String>,
    /// Stop reading after this many bytes.
    pub max_bytes: usize,
    /// Give up after this long.
    pub timeout: Duration,
    /// Whether a shared cache of the host's may be asked first: nothing usable is held.
    pub may_read_cache: bool,
    /// Whose document it is.
    pub(crate) issuer: IssuerIndex,
    pub(crate) lease: u64,
    /// How many redirects led to `url`.
    pub(crate) redirects: u8,
    /// When the first request of a chain of redirects was sent.
    pub(crate) asked_at: Option<UnixMillis>,
}

impl FetchOrder {
    /// This order, led on to `url` by an answer to a request sent at `asked_at`. `etag` is of the held
    /// copy, if that came from `url`: an entity tag belongs to the URL it came from.
    pub(crate) fn redirected(
        self,
        url: String,
        etag: Option<String>,
        asked_at: UnixMillis,
    ) -> Self {
        let asked_at = self.asked_at.map_or(asked_at, |first| first.min(asked_at));
        let redirects = self.redirects.saturating_add(1);
        Self { url, etag, asked_at: Some(asked_at), redirects, may_read_cache: false, ..self }
    }

    /// When the document was confirmed, if the last answer says `confirmed_at`.
    pub(crate) fn confirmed_at(&self, confirmed_at: UnixMillis) -> UnixMillis {
        self.asked_at.map_or(confirmed_at, |first| first.min(confirmed_at))
    }
}

/// What came of a [`FetchOrder`].
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who confirmed the document.
    pub from: AnsweredBy,
    /// When the request that confirmed the document was *sent*, less the response's `Age`. For a
    /// cache read: what the entry says, since a read of a cache confirms nothing.
    pub confirmed_at: UnixMillis,
    /// What was received.
    pub content: Content,
    /// What the response's `Date` said, if it could be read. Of a cache read: nothing.
    pub dated: Option<Dated>,
}

impl Answer {
    /// The source could not be reached by a request sent at `sent_at`.
    pub fn failed(sent_at: UnixMillis) -> Self {
        let content = Content::Failed;
        Self { from: AnsweredBy::Source, confirmed_at: sent_at, content, dated: None }
    }
}

/// The head of a response to a [`FetchOrder`], as a host received it.
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// `Age`; several fields are one list (RFC 9110 §5.3).
    pub age: Option<String>,
    /// `Date`, if it can be read.
    pub date: Option<UnixMillis>,
    /// `Location`.
    pub location: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `ETag`.
    pub etag: Option<String>,
}

/// The body of a response, as far as it was read.
pub enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// More than the order's `max_bytes`.
    TooLarge,
    /// It broke off, or is not needed.
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
    /// Whether the response carries the document: its body is to be read.
    pub fn carries_document(&self) -> bool {
        is_success(self.status)
    }

    /// What the response says, to a request sent at `sent_at`.
    pub fn answer(self, body: Body, sent_at: UnixMillis) -> Answer {
        let failed = Answer::failed(sent_at);
        let Some(age) = age(self.age.as_deref()) else { return failed };
        let content = match (self.status, body, self.location) {
            (304, ..) => Content::NotModified,
            (status, _, Some(location)) if is_redirect(status) => Content::Redirect { location },
            (status, Body::Whole(bytes), _) if is_success(status) => Content::Body {
                bytes,
                media_type: self.content_type.as_deref().map(media_type),
                etag: self.etag,
            },
            (status, Body::TooLarge, _) if is_success(status) => Content::TooLarge,
            _ => return failed,
        };
        let dated = self.date.map(|date| Dated { date, sent_at });
        Answer { content, confirmed_at: sent_at.minus(age), dated, ..failed }
    }
}

/// When a response was made, by the clock of who made it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dated {
    /// Its `Date`.
    pub date: UnixMillis,
    /// When the request was sent, by the host's clock.
    pub sent_at: UnixMillis,
}

/// The responses that were last seen at one place, by their `Date`.
///
/// A cache may keep `Date` and lose `Age`. Whose clock is wrong nobody knows (RFC 9111 §4.2.3 goes by the
/// difference); but a response with a `Date` that was seen before is that response, and no younger. Several
/// are remembered, since several caches may answer by turns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dates([Option<Dated>; 4]);

impl Dates {
    /// When the request was sent that first brought a response of this date, unless that is this one.
    pub(crate) fn first_seen(&mut self, dated: Option<Dated>) -> Option<UnixMillis> {
        let dated = dated?;
        let known = self.0.iter().flatten().find(|known| known.date == dated.date);
        if let Some(known) = known {
            return Some(known.sent_at);
        }
        // The oldest makes room.
        let oldest = self.0.iter_mut().min_by_key(|known| known.map(|known| known.sent_at));
        if let Some(oldest) = oldest {
            *oldest = Some(dated);
        }
        None
    }
}

/// Who answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnsweredBy {
    /// The configured source.
    Source,
    /// A shared cache of the host's. A miss is not reported at all.
    Cache,
}

/// What was received.
#[derive(Clone, Debug, Default)]
pub enum Content {
    /// 304: the copy with the order's entity tag is still current.
    NotModified,
    /// 301, 302, 303, 307 or 308. The host follows none by itself.
    Redirect {
        /// `Location`, as written.
        location: String,
    },
    /// Success.
    Body {
        /// At most the order's `max_bytes`.
        bytes: Vec<u8>,
        /// The media type without parameters, lower case.
        media_type: Option<String>,
        /// The response's entity tag.
        etag: Option<String>,
    },
    /// More than the order's `max_bytes`.
    TooLarge,
    /// Anything else: another status, too slow, unreachable.
    #[default]
    Failed,
}

impl Content {
    /// What is wrong with an answer that is not the document.
    pub(crate) fn refused(&self) -> Refused {
        match self {
            Self::NotModified => Refused::NotHeld,
            Self::Redirect { .. } => Refused::Redirect,
            Self::TooLarge => Refused::TooLarge,
            Self::Body { .. } => Refused::Malformed,
            Self::Failed => Refused::Unreachable,
        }
    }
}

/// Whether a response of this status carries the document: any success but an empty or a partial one.
fn is_success(status: u16) -> bool {
    (200..300).contains(&status) && !matches!(status, 204..=206)
}

/// Whether a status is a redirect that keeps a GET a GET.
fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// What `Age` takes off a confirmation. A response through several caches may carry several values:
/// the largest counts. `None` when it cannot be read, which makes the answer worthless.
///
/// Source: [RFC 9111 §5.1](https://www.rfc-editor.org/rfc/rfc9111#section-5.1).
fn age(header: Option<&str>) -> Option<Duration> {
    let seconds = match header {
        None => Some(0),
        Some(text) => {
            let ages = text.split(',').map(|age| age.trim().parse::<u32>().ok());
            ages.collect::<Option<Vec<_>>>()?.into_iter().max()
        }
    };
    seconds.map(|seconds| Duration::from_secs(seconds.into()))
}

/// A media type without its parameters, in lower case.
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
        // Whatever the clocks say: 40 s ahead here, and one of two servers is a minute ahead.
        assert_eq!(
            (first(0, 40), first(5, 45), first(70, 50), first(15, 55)),
            (None, None, None, None)
        );
        // The same response again and again.
        assert_eq!(
            (first(15, 60), first(15, 200), first(15, 4000)),
            (Some(55), Some(55), Some(55))
        );
        assert_eq!((first(4100, 4140), first(4100, 4141)), (None, Some(4140)));
        // Two caches by turns.
        assert_eq!((first(15, 4142), first(4100, 4143)), (Some(55), Some(4140)));
        assert_eq!((first(4104, 4144), first(15, 4145)), (None, Some(55)));
        assert_eq!(dates.first_seen(None), None);
    }

    #[test]
    fn the_largest_age_counts_and_an_unreadable_one_is_no_age() {
        let seconds = |header| age(header).map(|age| age.as_secs());
        assert_eq!(seconds(None), Some(0));
        assert_eq!(seconds(Some("7")), Some(7));
        assert_eq!(seconds(Some("100, 3")), Some(100));
        for header in ["", "x", "-1", "3,", "1.5", "99999999999"] {
            assert_eq!(seconds(Some(header)), None, "{header:?}");
        }
    }
}
