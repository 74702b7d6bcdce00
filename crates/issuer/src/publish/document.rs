//! A document in the form in which it is served.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use edgepass_jose::base64url;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// `Cache-Control` of every document that the issuer serves or writes to a bucket, and that may change. In a cache, a
/// copy is fresh for one second ([`MAX_AGE`]). A cache never serves it stale, even if the source is
/// unreachable.
pub const CACHE_CONTROL: &str = "public, max-age=1, must-revalidate";
/// `Cache-Control` of documents whose path determines their content.
pub const LASTING: &str = "public, max-age=604800, immutable";
/// The freshness lifetime of documents in caches, which may serve the previous document for that
/// time.
pub const MAX_AGE: Duration = Duration::from_secs(1);

/// A document with its entity tag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// Path below the issuer's base URI, without a leading slash.
    pub path: String,
    /// Media type, for the field `Content-Type`.
    pub media_type: &'static str,
    /// The field `Cache-Control`.
    pub cache_control: &'static str,
    /// The content without content coding.
    pub body: Bytes,
    /// The content in the content coding `gzip`, unless it cannot be made smaller.
    pub gzipped: Option<Bytes>,
    /// Entity tag (RFC 9110 §8.8.3): a hash of the body. It is weak, since both codings share it.
    pub etag: String,
}

impl Document {
    /// Creates a document: compresses the body and computes its entity tag.
    pub fn new(path: impl Into<String>, media_type: &'static str, body: String) -> Self {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory cannot fail.
        let gzipped = gzip.write_all(body.as_bytes()).and_then(|()| gzip.finish());
        let gzipped = Some(gzipped.unwrap_or_default().into());
        Self { gzipped, ..Self::of_octets(path, media_type, body.into()) }
    }

    /// Creates a document of octets that cannot be compressed, such as hashes.
    pub fn of_octets(path: impl Into<String>, media_type: &'static str, body: Bytes) -> Self {
        let etag = format!("W/\"{}\"", base64url::encode(&Sha256::digest(&body)));
        let cache_control = CACHE_CONTROL;
        Self { path: path.into(), media_type, cache_control, body, gzipped: None, etag }
    }

    /// The same document, as one that never changes.
    #[must_use]
    pub fn lasting(self) -> Self {
        Self { cache_control: LASTING, ..self }
    }
}
