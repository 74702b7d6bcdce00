//! A thread for each target directory. It runs one call at a time.
//!
//! A call to a disk or a network mount may never return, and it cannot be cancelled. Such a call
//! blocks only the thread of its own directory. No other call to that directory starts before the
//! blocked one has returned.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use edgepass_issuer::publish::target::TargetError;
use object_store::local::LocalFileSystem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::objects::unavailable;

/// An open directory. Only its thread uses it.
pub(crate) struct Directory {
    root: PathBuf,
    store: LocalFileSystem,
}

type Job = Box<dyn FnOnce(Result<&Directory, &TargetError>) + Send>;

/// Handle of a directory's thread.
pub(crate) struct DirectoryThread {
    jobs: Sender<Job>,
    /// The only permit. A call holds it until the call returns, even if its caller has stopped
    /// waiting.
    permit: Arc<Semaphore>,
    /// Number of calls that have returned.
    returned: Arc<AtomicU64>,
}

impl DirectoryThread {
    /// Starts the thread, which creates the directory if it is missing, and opens it. A directory
    /// that does not answer within `time_limit` counts as opened, since it may answer later. If it
    /// turns out to be unusable, each later call tries to open it again.
    ///
    /// # Errors
    ///
    /// [`TargetError::Public`]: the directory contains a path of `private`, or is inside one.
    /// [`TargetError::Unavailable`]: the directory cannot be created or opened, or no thread can be
    /// started.
    pub(crate) fn open(
        root: &Path,
        private: &[PathBuf],
        time_limit: Duration,
    ) -> Result<Self, TargetError> {
        let (jobs, received) = channel::<Job>();
        let (opened_sender, opened) = channel();
        let (root, private) = (root.to_owned(), private.to_owned());
        let run = move || {
            let mut directory = Directory::open(&root, &private);
            // `open` may have stopped waiting.
            let _ = opened_sender.send(directory.as_ref().map(drop).map_err(copy_of));
            for job in received {
                if directory.is_err() {
                    directory = Directory::open(&root, &private);
                }
                job(directory.as_ref());
            }
        };
        thread::Builder::new().name("target".into()).spawn(run).map_err(unavailable)?;
        match opened.recv_timeout(time_limit) {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => {
                Ok(Self { jobs, permit: Arc::new(Semaphore::new(1)), returned: Arc::default() })
            }
        }
    }

    /// Runs `work` on the thread and waits up to `time_limit` for its result. Before that, waits
    /// for earlier calls, as long as at least one of them returns within each `time_limit`. After
    /// the limit, returns [`TargetError::Unavailable`]; a `work` that has started still runs on.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        time_limit: Duration,
        work: impl FnOnce(&Directory) -> Result<T, TargetError> + Send + 'static,
    ) -> Result<T, TargetError> {
        let permit = loop {
            let returned = self.returned.load(Ordering::Relaxed);
            match timeout(time_limit, Arc::clone(&self.permit).acquire_owned()).await {
                Ok(permit) => break permit.map_err(unavailable)?,
                Err(_) if self.returned.load(Ordering::Relaxed) > returned => {}
                Err(elapsed) => return Err(unavailable(elapsed)),
            }
        };
        let outcome = self.send(permit, work)?;
        timeout(time_limit, outcome).await.map_err(unavailable)?.map_err(unavailable)?
    }

    fn send<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce(&Directory) -> Result<T, TargetError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, TargetError>>, TargetError> {
        let (sender, outcome) = oneshot::channel();
        let returned = Arc::clone(&self.returned);
        let job = move |directory: Result<&Directory, &TargetError>| {
            let result = match directory {
                Ok(directory) => work(directory),
                Err(error) => Err(copy_of(error)),
            };
            returned.fetch_add(1, Ordering::Relaxed);
            drop(permit);
            // The caller may have stopped waiting.
            let _ = sender.send(result);
        };
        let ended = |_| TargetError::Unavailable("the directory's thread ended".into());
        self.jobs.send(Box::new(job)).map_err(ended)?;
        Ok(outcome)
    }
}

/// Copies an error, since [`TargetError`] cannot be cloned. Causes are kept as text, and errors
/// other than `Public` become `Unavailable`.
fn copy_of(error: &TargetError) -> TargetError {
    match error {
        TargetError::Public => TargetError::Public,
        TargetError::Unavailable(cause) => TargetError::Unavailable(cause.to_string().into()),
        other => TargetError::Unavailable(other.to_string().into()),
    }
}

impl Directory {
    fn open(root: &Path, private: &[PathBuf]) -> Result<Self, TargetError> {
        fs::create_dir_all(root).map_err(unavailable)?;
        // Compare paths with symbolic links and `..` resolved.
        let public = fs::canonicalize(root).map_err(unavailable)?;
        for private in private.iter().filter_map(|private| fs::canonicalize(private).ok()) {
            if private.starts_with(&public) || public.starts_with(&private) {
                return Err(TargetError::Public);
            }
        }
        let store = LocalFileSystem::new_with_prefix(root).map_err(unavailable)?;
        Ok(Self { root: root.to_owned(), store })
    }

    /// Returns the directory's store if `path` is a regular file or does not exist, and no segment
    /// of `path` is a symbolic link. Other paths give [`TargetError::Unavailable`]: opening a pipe
    /// may hang, and a link may lead out of the directory.
    pub(crate) fn store_for(&self, path: &str) -> Result<&LocalFileSystem, TargetError> {
        let mut full_path = self.root.clone();
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            full_path.push(name);
            let found = match fs::symlink_metadata(&full_path) {
                Ok(found) => found.file_type(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(error) => return Err(unavailable(error)),
            };
            let is_last = names.peek().is_none();
            if !(if is_last { found.is_file() } else { found.is_dir() }) {
                return Err(TargetError::Unavailable("the path is not a regular file".into()));
            }
        }
        Ok(&self.store)
    }
}
