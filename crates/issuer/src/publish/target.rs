//! Where documents are published besides the issuer's own endpoint.

use std::error::Error;
use std::pin::Pin;

use bytes::Bytes;

use crate::publish::document::Document;

/// What a target answers, in time.
pub type TargetFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, TargetError>> + Send + 'a>>;

/// A place that serves documents to the public: a directory, a bucket.
pub trait Target: Send + Sync + 'static {
    /// Its name, for logs.
    fn name(&self) -> &str;

    /// What lies at `path`.
    fn read<'a>(&'a self, path: &'a str) -> TargetFuture<'a, Option<Live>>;

    /// Put a document at its path, if what lies there is `over` (nothing, for `None`).
    fn write<'a>(
        &'a self,
        document: &'a Document,
        over: Option<&'a Version>,
    ) -> TargetFuture<'a, Version>;

    /// Take away what lies at `path`, if anything does.
    fn remove<'a>(&'a self, path: &'a str) -> TargetFuture<'a, ()>;
}

/// What lies at a path.
#[derive(Clone, Debug)]
pub struct Live {
    /// The document.
    pub body: Bytes,
    /// Which it is, for [`Target::write`].
    pub version: Version,
}

/// A target's own name for what lies at a path, such as an entity tag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version(pub String);

/// Why a target did not do it.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Something else lies there than was expected: somebody else writes to this target.
    #[error("something else lies there than this issuer put there")]
    Conflict,
    /// It holds, or lies in, what must not be public.
    #[error("it would make data, key or configuration public; name a directory of its own")]
    Public,
    /// What opens it is not in the environment.
    #[error("{0} is not set: the environment names what opens the bucket")]
    NoCredentials(&'static str),
    /// It does not answer, or refuses. The cause is for logs.
    #[error("the target is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}
