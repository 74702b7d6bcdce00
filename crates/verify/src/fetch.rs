//! Fetching as data: what the host is to get, and what came of it.

use std::time::Duration;

use crate::time::UnixMillis;

/// The kinds of document a verifier holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Document {
    /// Authorization server metadata (RFC 8414), to find the JWK Set.
    Metadata,
    /// The issuer's JWK Set (RFC 7517 §5).
    JwkSet,
    /// A status list token (draft-ietf-oauth-status-list §5.1).
    StatusList,
}

impl Document {
    /// What to ask for in `Accept`.
    pub fn accept(self) -> &'static str {
        match self {
            Self::Metadata => "application/json",
            Self::JwkSet => "application/jwk-set+json, application/json",
            Self::StatusList => "application/statuslist+jwt",
        }
    }
}

/// GET this document, then hand the answer to [`Verifier::land`](crate::Verifier::land).
///
/// The host bypasses its HTTP cache, follows no redirect, and gives up after `timeout`. An order
/// that is never answered expires by itself, so a cancelled request blocks nobody.
#[derive(Clone, Debug)]
pub struct FetchOrder {
    /// What it is.
    pub document: Document,
    /// Where it is.
    pub url: String,
    /// Entity tag of the held copy, for `If-None-Match`.
    pub etag: Option<String>,
    /// Stop reading after this many bytes.
    pub max_bytes: usize,
    /// Give up after this long.
    pub timeout: Duration,
    /// Whether a shared cache of the host's may be asked first: nothing usable is held.
    pub may_read_cache: bool,
    pub(crate) lease: u64,
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
#[derive(Clone, Debug)]
pub enum Content {
    /// 304: the copy with the order's entity tag is still current.
    NotModified,
    /// 200.
    Body {
        /// At most the order's `max_bytes`.
        bytes: Vec<u8>,
        /// The media type without parameters, lower case.
        media_type: Option<String>,
        /// The response's entity tag.
        etag: Option<String>,
    },
    /// Anything else: another status, a redirect, too large, too slow, unreachable.
    Failed,
}
