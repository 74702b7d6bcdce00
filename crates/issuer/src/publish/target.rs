//! Targets: directories and buckets to which the issuer publishes documents, besides its own
//! endpoint.

use std::error::Error;
use std::pin::Pin;

use bytes::Bytes;

use crate::publish::document::Document;

/// The future result of a request to a target.
pub type TargetFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, TargetError>> + Send + 'a>>;

/// A directory or a bucket, from which verifiers may fetch documents.
pub trait Target: Send + Sync + 'static {
    /// Name of the target, for logs.
    fn name(&self) -> &str;

    /// Whether other processes of this database serve what this target holds. Then this one serves
    /// nothing newer, and the audit log is not written here: they read it from the database.
    fn is_shared(&self) -> bool {
        false
    }

    /// Reads the document at `path`. `None`: the target holds none there.
    fn read<'a>(&'a self, path: &'a str) -> TargetFuture<'a, Option<StoredDocument>>;

    /// Writes a document if the target holds the version `over` at its path, or, with `None`, holds
    /// nothing there. Returns the new version; otherwise [`TargetError::Conflict`].
    fn write<'a>(
        &'a self,
        document: &'a Document,
        over: Option<&'a Version>,
    ) -> TargetFuture<'a, Version>;

    /// Removes the document at `path`, if there is one.
    fn remove<'a>(&'a self, path: &'a str) -> TargetFuture<'a, ()>;
}

/// A document that a target holds.
#[derive(Clone, Debug)]
pub struct StoredDocument {
    /// The content.
    pub body: Bytes,
    /// The version, for [`Target::write`].
    pub version: Version,
}

/// A target's identifier for the content at a path, such as an entity tag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version(pub String);

/// The reason why a target did not carry out a request.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The target does not hold the expected document: another program writes to the target.
    #[error("the target holds a document that this issuer did not write")]
    Conflict,
    /// The directory contains, or is inside, a path that must not be public.
    #[error("the target would make data, key or configuration public; name a directory of its own")]
    Public,
    /// A credential of the bucket is missing from the environment. Holds the name of the variable.
    #[error("{0} is not set: the bucket's credentials come from the environment")]
    NoCredentials(&'static str),
    /// A variable of the environment that configures the bucket has a wrong value. Holds its name.
    #[error(
        "{0} has a wrong value: write visible ASCII, for an endpoint a URL, for a region letters and digits"
    )]
    Environment(String),
    /// The target does not answer, or refuses the request. The cause is for logs.
    #[error("the target is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}
