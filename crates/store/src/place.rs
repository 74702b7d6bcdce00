//! A directory's own thread, and one call at a time.
//!
//! A disk or a network mount may take a call and never return. Such a call cannot be taken back; it keeps
//! its thread, and no other target's. Until it returns, nothing more is asked of that directory.

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

/// A directory, as its own thread sees it.
pub(crate) struct Files {
    root: PathBuf,
    store: LocalFileSystem,
}

type Job = Box<dyn FnOnce(Result<&Files, &TargetError>) + Send>;

/// The way to a directory's thread.
pub(crate) struct Place {
    jobs: Sender<Job>,
    /// One permit, which a call holds until it has returned, whoever still waits for it.
    free: Arc<Semaphore>,
    /// How many calls have returned.
    returned: Arc<AtomicU64>,
}

impl Place {
    /// Start the thread, which makes the directory. One that does not answer now may do so later. What it
    /// would make public of `private` is refused.
    ///
    /// # Errors
    ///
    /// [`TargetError::Public`]. [`TargetError::Unavailable`]: it cannot be made or used, or there is no
    /// thread to be had.
    pub(crate) fn open(
        root: &Path,
        private: &[PathBuf],
        patience: Duration,
    ) -> Result<Self, TargetError> {
        let (jobs, taken) = channel::<Job>();
        let (tell, told) = channel();
        let (root, private) = (root.to_owned(), private.to_owned());
        let serve = move || {
            let mut files = Files::open(&root, &private);
            // Whoever opened may have stopped waiting.
            let _ = tell.send(files.as_ref().map(drop).map_err(again));
            for job in taken {
                if files.is_err() {
                    files = Files::open(&root, &private);
                }
                job(files.as_ref());
            }
        };
        thread::Builder::new().name("target".into()).spawn(serve).map_err(unavailable)?;
        match told.recv_timeout(patience) {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => {
                Ok(Self { jobs, free: Arc::new(Semaphore::new(1)), returned: Arc::default() })
            }
        }
    }

    /// Have the thread do `work`, and wait for it for a while. Whoever waits for others' calls is patient as
    /// long as these return.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce(&Files) -> Result<T, TargetError> + Send + 'static,
    ) -> Result<T, TargetError> {
        let permit = loop {
            let returned = self.returned.load(Ordering::Relaxed);
            match timeout(patience, Arc::clone(&self.free).acquire_owned()).await {
                Ok(permit) => break permit.map_err(unavailable)?,
                Err(_) if self.returned.load(Ordering::Relaxed) > returned => {}
                Err(elapsed) => return Err(unavailable(elapsed)),
            }
        };
        let answered = self.send(permit, work)?;
        timeout(patience, answered).await.map_err(unavailable)?.map_err(unavailable)?
    }

    fn send<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce(&Files) -> Result<T, TargetError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, TargetError>>, TargetError> {
        let (answer, answered) = oneshot::channel();
        let returned = Arc::clone(&self.returned);
        let job = move |files: Result<&Files, &TargetError>| {
            let done = match files {
                Ok(files) => work(files),
                Err(error) => Err(again(error)),
            };
            returned.fetch_add(1, Ordering::Relaxed);
            drop(permit);
            // Whoever asked may have stopped waiting.
            let _ = answer.send(done);
        };
        let ended = |_| TargetError::Unavailable("its thread ended".into());
        self.jobs.send(Box::new(job)).map_err(ended)?;
        Ok(answered)
    }
}

/// The same error once more.
fn again(error: &TargetError) -> TargetError {
    match error {
        TargetError::Public => TargetError::Public,
        TargetError::Unavailable(cause) => TargetError::Unavailable(cause.to_string().into()),
        other => TargetError::Unavailable(other.to_string().into()),
    }
}

impl Files {
    fn open(root: &Path, private: &[PathBuf]) -> Result<Self, TargetError> {
        fs::create_dir_all(root).map_err(unavailable)?;
        // Whatever the paths are called: links and `..` resolved.
        let public = fs::canonicalize(root).map_err(unavailable)?;
        for private in private.iter().filter_map(|private| fs::canonicalize(private).ok()) {
            if private.starts_with(&public) || public.starts_with(&private) {
                return Err(TargetError::Public);
            }
        }
        let store = LocalFileSystem::new_with_prefix(root).map_err(unavailable)?;
        Ok(Self { root: root.to_owned(), store })
    }

    /// The directory's store, for a path at which a regular file lies, or nothing. Opening anything else
    /// may hang, as a pipe does, or lead out of the directory, as a link does.
    pub(crate) fn at(&self, path: &str) -> Result<&LocalFileSystem, TargetError> {
        let mut place = self.root.clone();
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            place.push(name);
            let found = match fs::symlink_metadata(&place) {
                Ok(found) => found.file_type(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(error) => return Err(unavailable(error)),
            };
            let is_last = names.peek().is_none();
            if !(if is_last { found.is_file() } else { found.is_dir() }) {
                return Err(TargetError::Unavailable(
                    "something that is no regular file lies there".into(),
                ));
            }
        }
        Ok(&self.store)
    }
}
