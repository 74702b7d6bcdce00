//! Targets: directories and S3-compatible buckets.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use edgepass_issuer::config::{TargetConfig, is_s3_endpoint, is_s3_name};
use edgepass_issuer::publish::document::Document;
use edgepass_issuer::publish::target::{
    StoredDocument, Target, TargetError, TargetFuture, Version,
};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    RetryConfig, UpdateVersion,
};
use pollster::block_on;

use crate::directory::DirectoryThread;

/// A target: documents by path, in a directory or a bucket.
pub struct Objects {
    name: String,
    kind: Kind,
}

enum Kind {
    /// Replaces an object only if its entity tag matches. Stores the media type and the
    /// `Cache-Control` of each document.
    Bucket(Box<dyn ObjectStore>),
    /// Only one process writes, since `serve` locks the issuer's data directory. Comparing the
    /// version before a write therefore suffices. The web server in front sets media types.
    Directory(DirectoryThread),
}

/// What requests to buckets say of the program.
const USER_AGENT: &str = concat!("edgepass/", env!("CARGO_PKG_VERSION"));

impl Objects {
    /// Opens the target of a configuration. Creates a missing directory. A directory that does not
    /// answer within 2 s counts as opened, since it may answer later. Sends no request to a bucket.
    ///
    /// # Errors
    ///
    /// [`TargetError::Public`]: the directory contains a path of `private`, or is inside one.
    /// [`TargetError::NoCredentials`]: the environment lacks a credential of the bucket.
    /// [`TargetError::Environment`]: a variable of the environment that the client reads has a wrong
    /// value.
    /// [`TargetError::Unavailable`]: the directory cannot be created or opened, or the settings of
    /// the bucket are invalid.
    pub fn open(config: &TargetConfig, private: &[PathBuf]) -> Result<Self, TargetError> {
        match config {
            TargetConfig::Directory { path } => {
                let name = format!("directory {}", path.display());
                Ok(Self {
                    name,
                    kind: Kind::Directory(DirectoryThread::open(path, private, TIMEOUT)?),
                })
            }
            TargetConfig::S3 { bucket, prefix, endpoint, region } => {
                for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
                    if std::env::var_os(name).is_none_or(|value| value.is_empty()) {
                        return Err(TargetError::NoCredentials(name));
                    }
                }
                check_environment(std::env::vars_os())?;
                let http = endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
                // A failed request is repeated in the next publication round, not here.
                let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
                let mut options = ClientOptions::new().with_timeout(TIMEOUT).with_allow_http(http);
                if let Ok(user_agent) = USER_AGENT.parse() {
                    options = options.with_user_agent(user_agent);
                }
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_conditional_put(S3ConditionalPut::ETagMatch)
                    .with_retry(retry)
                    .with_client_options(options);
                if let Some(endpoint) = endpoint {
                    // Unlike `with_endpoint`, this wins over `AWS_ENDPOINT_URL_S3`.
                    builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
                }
                if let Some(region) = region {
                    builder = builder.with_region(region);
                }
                let store = builder.build().map_err(unavailable)?;
                Ok(match prefix {
                    None => Self {
                        name: format!("bucket {bucket}"),
                        kind: Kind::Bucket(Box::new(store)),
                    },
                    Some(prefix) => Self {
                        name: format!("bucket {bucket}/{prefix}"),
                        kind: Kind::Bucket(Box::new(PrefixStore::new(store, prefix.as_str()))),
                    },
                })
            }
        }
    }
}

/// Refuses the variables on which the client would panic at its first request.
fn check_environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), TargetError> {
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with("AWS_")) else { continue };
        let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() else { continue };
        let is_right = value.to_str().is_some_and(|value| match key {
            AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint => is_s3_endpoint(value),
            AmazonS3ConfigKey::Region
            | AmazonS3ConfigKey::DefaultRegion
            | AmazonS3ConfigKey::Bucket => is_s3_name(value),
            _ => value.bytes().all(|byte| byte.is_ascii_graphic()),
        });
        if !is_right {
            return Err(TargetError::Environment(name.to_owned()));
        }
    }
    Ok(())
}

async fn get(store: &dyn ObjectStore, path: &str) -> Result<Option<StoredDocument>, TargetError> {
    let found = match store.get(&Path::parse(path).map_err(unavailable)?).await {
        Err(Error::NotFound { .. }) => return Ok(None),
        found => found.map_err(unavailable)?,
    };
    let version = Version(found.meta.e_tag.clone().unwrap_or_default());
    if found.meta.size > MAX_BYTES {
        return Err(TargetError::Conflict);
    }
    Ok(Some(StoredDocument { body: found.bytes().await.map_err(unavailable)?, version }))
}

async fn put(
    store: &dyn ObjectStore,
    document: &Document,
    over: Option<&Version>,
    is_bucket: bool,
) -> Result<Version, TargetError> {
    let path = Path::parse(&document.path).map_err(unavailable)?;
    let mut attributes = Attributes::new();
    if is_bucket {
        attributes.insert(Attribute::ContentType, document.media_type.into());
        attributes.insert(Attribute::CacheControl, document.cache_control.into());
    }
    let mode = match over {
        None => PutMode::Create,
        Some(Version(e_tag)) if is_bucket => {
            PutMode::Update(UpdateVersion { e_tag: Some(e_tag.clone()), version: None })
        }
        Some(Version(seen)) => {
            let live = store.head(&path).await.map_err(not_written)?;
            if live.e_tag.as_ref() != Some(seen) {
                return Err(TargetError::Conflict);
            }
            PutMode::Overwrite
        }
    };
    let options = PutOptions { mode, attributes, ..PutOptions::default() };
    let mut races: u32 = 0;
    loop {
        let put = store.put_opts(&path, document.body.clone().into(), options.clone()).await;
        // S3 answers 409 also while another request for the object is under way, perhaps an earlier
        // one of this issuer that timed out. If the object is as expected, this is no conflict.
        let error = match put {
            Err(error @ Error::AlreadyExists { .. }) if is_bucket => error,
            put => return Ok(Version(put.map_err(not_written)?.e_tag.unwrap_or_default())),
        };
        let is_expected = match store.head(&path).await {
            Err(Error::NotFound { .. }) => over.is_none(),
            live => live.map_err(unavailable)?.e_tag.as_ref() == over.map(|Version(seen)| seen),
        };
        if !is_expected {
            return Err(not_written(error));
        }
        if races >= RACES {
            return Err(unavailable(error));
        }
        races = races.saturating_add(1);
        tokio::time::sleep(RACE_PAUSE).await;
    }
}

/// How often a write is tried again that a bucket refused for the sake of another request.
const RACES: u32 = 3;
const RACE_PAUSE: Duration = Duration::from_millis(100);

async fn delete(store: &dyn ObjectStore, path: &str) -> Result<(), TargetError> {
    match store.delete(&Path::parse(path).map_err(unavailable)?).await {
        Err(Error::NotFound { .. }) => Ok(()),
        other => other.map_err(unavailable),
    }
}

// A directory's thread has no async runtime. Without one, `LocalFileSystem` does its work within
// the call, so `block_on` suffices.
impl Target for Objects {
    fn name(&self) -> &str {
        &self.name
    }

    fn read<'a>(&'a self, path: &'a str) -> TargetFuture<'a, Option<StoredDocument>> {
        match &self.kind {
            Kind::Bucket(store) => Box::pin(in_time(get(&**store, path))),
            Kind::Directory(thread) => {
                let path = path.to_owned();
                Box::pin(
                    thread.call(TIMEOUT, move |dir| block_on(get(dir.store_for(&path)?, &path))),
                )
            }
        }
    }

    fn write<'a>(
        &'a self,
        document: &'a Document,
        over: Option<&'a Version>,
    ) -> TargetFuture<'a, Version> {
        match &self.kind {
            Kind::Bucket(store) => Box::pin(in_time(put(&**store, document, over, true))),
            Kind::Directory(thread) => {
                let (document, over) = (document.clone(), over.cloned());
                Box::pin(thread.call(TIMEOUT, move |dir| {
                    block_on(put(dir.store_for(&document.path)?, &document, over.as_ref(), false))
                }))
            }
        }
    }

    fn remove<'a>(&'a self, path: &'a str) -> TargetFuture<'a, ()> {
        match &self.kind {
            Kind::Bucket(store) => Box::pin(in_time(delete(&**store, path))),
            Kind::Directory(thread) => {
                let path = path.to_owned();
                Box::pin(
                    thread.call(TIMEOUT, move |dir| block_on(delete(dir.store_for(&path)?, &path))),
                )
            }
        }
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, TargetError>>) -> Result<T, TargetError> {
    tokio::time::timeout(TIMEOUT, work).await.map_err(unavailable)?
}

fn not_written(error: Error) -> TargetError {
    match error {
        Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. } => {
            TargetError::Conflict
        }
        other => unavailable(other),
    }
}

pub(crate) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> TargetError {
    TargetError::Unavailable(Box::new(error))
}

/// Time limit for opening a directory, and for one call to a target once earlier calls to the same
/// directory have returned.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Size limit of a document read from a target, in bytes. A larger one gives
/// [`TargetError::Conflict`], since no document of the issuer is larger.
const MAX_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn document(body: &str) -> Document {
        Document::new("status-lists/1", "application/statuslist+jwt", body.into())
    }

    #[test]
    fn a_variable_on_which_the_client_would_panic_is_named() {
        for (name, value, is_right) in [
            ("AWS_ACCESS_KEY_ID", "id", true),
            ("AWS_ACCESS_KEY_ID", "id\n", false),
            ("AWS_SESSION_TOKEN", "a b", false),
            ("AWS_REGION", "us\neast", false),
            ("AWS_REGION", "us<east", false),
            ("AWS_ENDPOINT", "https://s3.example:99999", false),
            ("AWS_ENDPOINT_URL_S3", "https://s3.example", true),
            ("AWS_ENDPOINT_URL_S3", "s3.example", false),
            ("AWS_PROFILE", "not read by the client", true),
            ("OTHER", "a b", true),
        ] {
            let checked = check_environment([(name.into(), value.into())].into_iter());
            match checked {
                Ok(()) => assert!(is_right, "{name}={value:?}"),
                Err(error) => assert!(!is_right && error.to_string().starts_with(name), "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_directory_replaces_only_what_it_was_seen_to_hold() {
        let folder = tempfile::tempdir().unwrap();
        let config = TargetConfig::Directory { path: folder.path().join("public") };
        let target = Objects::open(&config, &[]).unwrap();
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

    #[tokio::test]
    async fn what_is_no_regular_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let public = folder.path().join("public");
        let target = Objects::open(&TargetConfig::Directory { path: public.clone() }, &[]).unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("1"), "theirs").unwrap();
        let refuses = async || {
            assert!(target.read("status-lists/1").await.is_err());
            assert!(target.write(&document("ours"), None).await.is_err());
            assert!(target.remove("status-lists/1").await.is_err());
        };
        symlink(&outside, public.join("status-lists")).unwrap();
        refuses().await;
        fs::remove_file(public.join("status-lists")).unwrap();
        fs::create_dir(public.join("status-lists")).unwrap();
        symlink(outside.join("1"), public.join("status-lists/1")).unwrap();
        refuses().await;
        fs::remove_file(public.join("status-lists/1")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(public.join("status-lists/1")).status();
        assert!(made.unwrap().success());
        refuses().await;
        assert_eq!(fs::read_to_string(outside.join("1")).unwrap(), "theirs");
        fs::remove_file(public.join("status-lists/1")).unwrap();
        target.write(&document("ours"), None).await.unwrap();
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_the_only_one_under_way_and_holds_up_no_other_directory() {
        let folder = tempfile::tempdir().unwrap();
        let open =
            |name: &str| DirectoryThread::open(&folder.path().join(name), &[], TIMEOUT).unwrap();
        let (hung, healthy) = (open("hung"), open("healthy"));
        let short = Duration::from_millis(20);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let began = hung.call(short, move |_| Ok(ended.recv().is_ok())).await;
        assert!(began.is_err());
        for _ in 0..5 {
            let later = hung.call(short, |_| Ok(())).await;
            assert!(later.is_err(), "a call began while another was running");
            healthy.call(TIMEOUT, |_| Ok(())).await.unwrap();
        }
        end.send(()).unwrap();
        hung.call(TIMEOUT, |_| Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn slow_calls_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let thread = DirectoryThread::open(folder.path(), &[], TIMEOUT).unwrap();
        let slow = || {
            thread.call(Duration::from_millis(100), |_| {
                std::thread::sleep(Duration::from_millis(30));
                Ok(())
            })
        };
        let all = tokio::join!(slow(), slow(), slow(), slow(), slow(), slow(), slow(), slow());
        assert!(all.0.is_ok() && all.4.is_ok() && all.7.is_ok(), "{all:?}");
    }

    #[test]
    fn a_directory_that_could_not_be_made_is_no_target_and_one_that_leads_to_data_neither() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        symlink(&data, folder.path().join("linked")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        for name in ["linked", "linked/deeper", "file", ".", "data"] {
            let path = folder.path().join(name);
            let config = TargetConfig::Directory { path };
            assert!(Objects::open(&config, std::slice::from_ref(&data)).is_err(), "{name}");
        }
    }
}
