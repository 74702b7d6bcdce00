//! A published document, ready to be served.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use edgepass_jose::base64url;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// `Cache-Control` of every document: a copy may be used for a second ([`MAX_AGE`]), and no longer whatever
/// happens at its source.
pub const CACHE_CONTROL: &str = "public, max-age=1, must-revalidate";
/// For so long caches may answer with a document that has changed.
pub const MAX_AGE: Duration = Duration::from_secs(1);

/// A document with its validators.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// Its path below the issuer's base, without a leading slash.
    pub path: String,
    /// Its media type.
    pub media_type: &'static str,
    /// What it says.
    pub body: Bytes,
    /// The same, as content coding `gzip`.
    pub gzipped: Bytes,
    /// Its entity tag (RFC 9110 §8.8.3): a hash of the body, weak because it names both codings.
    pub etag: String,
}

impl Document {
    /// Make it ready.
    pub fn new(path: impl Into<String>, media_type: &'static str, body: String) -> Self {
        let etag = format!("W/\"{}\"", base64url::encode(&Sha256::digest(body.as_bytes())));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory cannot fail.
        let gzipped = gzip.write_all(body.as_bytes()).and_then(|()| gzip.finish());
        Self {
            path: path.into(),
            media_type,
            gzipped: gzipped.unwrap_or_default().into(),
            body: body.into(),
            etag,
        }
    }
}
