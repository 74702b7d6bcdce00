//! Publishing targets: a directory, or an S3-compatible bucket.

use std::fs;
use std::time::Duration;

use edgepass_issuer::config::TargetConfig;
use edgepass_issuer::publish::document::Document;
use edgepass_issuer::publish::target::{Answer, Live, Target, TargetError, Version};
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    RetryConfig, UpdateVersion,
};

/// Objects by path.
pub struct Objects {
    name: String,
    store: Box<dyn ObjectStore>,
    kind: Kind,
}

/// What a store can do.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    /// Replaces what has a version, and keeps media types.
    Bucket,
    /// One writer, by the lock on the issuer's data; whoever serves the files names their types.
    Directory,
}

impl Objects {
    /// The target that a configuration names. Nothing is asked of it yet; a directory is made.
    ///
    /// # Errors
    ///
    /// [`TargetError::Unavailable`]: the directory cannot be made, the bucket's settings make none.
    pub fn open(config: &TargetConfig) -> Result<Self, TargetError> {
        match config {
            TargetConfig::Directory { path } => {
                fs::create_dir_all(path).map_err(unavailable)?;
                let store = LocalFileSystem::new_with_prefix(path).map_err(unavailable)?;
                let name = format!("directory {}", path.display());
                Ok(Self { name, store: Box::new(store), kind: Kind::Directory })
            }
            TargetConfig::S3 { bucket, endpoint, region } => {
                for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
                    if std::env::var_os(name).is_none() {
                        return Err(TargetError::NoCredentials(name));
                    }
                }
                let http = endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
                // What is late is tried again with the next round, not here.
                let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
                let options = ClientOptions::new().with_timeout(TIMEOUT).with_allow_http(http);
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_conditional_put(S3ConditionalPut::ETagMatch)
                    .with_retry(retry)
                    .with_client_options(options);
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                if let Some(region) = region {
                    builder = builder.with_region(region);
                }
                let store = builder.build().map_err(unavailable)?;
                let name = format!("bucket {bucket}");
                Ok(Self { name, store: Box::new(store), kind: Kind::Bucket })
            }
        }
    }

    async fn get(&self, path: &str) -> Result<Option<Live>, TargetError> {
        let found = match self.store.get(&Path::parse(path).map_err(unavailable)?).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(unavailable)?,
        };
        let version = Version(found.meta.e_tag.clone().unwrap_or_default());
        if found.meta.size > MAX_BYTES {
            return Err(TargetError::Conflict);
        }
        Ok(Some(Live { body: found.bytes().await.map_err(unavailable)?, version }))
    }

    async fn put(
        &self,
        document: &Document,
        over: Option<&Version>,
    ) -> Result<Version, TargetError> {
        let path = Path::parse(&document.path).map_err(unavailable)?;
        let mut attributes = Attributes::new();
        if self.kind == Kind::Bucket {
            attributes.insert(Attribute::ContentType, document.media_type.into());
            attributes.insert(Attribute::CacheControl, "public, max-age=1".into());
        }
        let mode = match (over, self.kind) {
            (None, _) => PutMode::Create,
            (Some(Version(e_tag)), Kind::Bucket) => {
                PutMode::Update(UpdateVersion { e_tag: Some(e_tag.clone()), version: None })
            }
            (Some(Version(seen)), Kind::Directory) => {
                let live = self.store.head(&path).await.map_err(refused)?;
                if live.e_tag.as_ref() != Some(seen) {
                    return Err(TargetError::Conflict);
                }
                PutMode::Overwrite
            }
        };
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let body = document.body.clone().into();
        let put = self.store.put_opts(&path, body, options).await.map_err(refused)?;
        Ok(Version(put.e_tag.unwrap_or_default()))
    }

    async fn delete(&self, path: &str) -> Result<(), TargetError> {
        match self.store.delete(&Path::parse(path).map_err(unavailable)?).await {
            Err(Error::NotFound { .. }) => Ok(()),
            other => other.map_err(unavailable),
        }
    }
}

impl Target for Objects {
    fn name(&self) -> &str {
        &self.name
    }

    fn read<'a>(&'a self, path: &'a str) -> Answer<'a, Option<Live>> {
        Box::pin(in_time(self.get(path)))
    }

    fn write<'a>(
        &'a self,
        document: &'a Document,
        over: Option<&'a Version>,
    ) -> Answer<'a, Version> {
        Box::pin(in_time(self.put(document, over)))
    }

    fn remove<'a>(&'a self, path: &'a str) -> Answer<'a, ()> {
        Box::pin(in_time(self.delete(path)))
    }
}

/// A disk may hang as a bucket does.
async fn in_time<T>(work: impl Future<Output = Result<T, TargetError>>) -> Result<T, TargetError> {
    tokio::time::timeout(TIMEOUT, work).await.map_err(unavailable)?
}

fn refused(error: Error) -> TargetError {
    match error {
        Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. } => {
            TargetError::Conflict
        }
        other => unavailable(other),
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> TargetError {
    TargetError::Unavailable(Box::new(error))
}

/// When a target is given up for this round.
const TIMEOUT: Duration = Duration::from_secs(2);
/// More than any document of ours has.
const MAX_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn document(body: &str) -> Document {
        Document::new("status-lists/1", "application/statuslist+jwt", body.into())
    }

    #[tokio::test]
    async fn a_directory_replaces_only_what_it_was_seen_to_hold() {
        let folder = tempfile::tempdir().unwrap();
        let config = TargetConfig::Directory { path: folder.path().join("public") };
        let target = Objects::open(&config).unwrap();
        assert!(target.read("status-lists/1").await.unwrap().is_none());
        let first = target.write(&document("first"), None).await.unwrap();
        let again = target.write(&document("again"), None).await;
        assert!(matches!(again, Err(TargetError::Conflict)), "{again:?}");
        let live = target.read("status-lists/1").await.unwrap().unwrap();
        assert_eq!((live.version, live.body.as_ref()), (first.clone(), b"first".as_slice()));
        let second = target.write(&document("the second"), Some(&first)).await.unwrap();
        let late = target.write(&document("third"), Some(&first)).await;
        assert!(matches!(late, Err(TargetError::Conflict)), "{late:?}");
        let file = folder.path().join("public/status-lists/1");
        assert_eq!(fs::read_to_string(file).unwrap(), "the second");
        target.remove("status-lists/1").await.unwrap();
        target.remove("status-lists/1").await.unwrap();
        let gone = target.write(&document("fourth"), Some(&second)).await;
        assert!(matches!(gone, Err(TargetError::Conflict)), "{gone:?}");
    }
}
