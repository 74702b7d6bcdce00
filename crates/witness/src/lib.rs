//! A witness of an issuer's audit log: it keeps the newest checkpoint that it saw, and cosigns a newer one
//! only if the log continues it. The program `edgepass-witness` and the command `edgepass audit witness`
//! run it.

#![forbid(unsafe_code)]

mod args;
mod error;
mod fetch;
mod files;

pub use args::{Args, EXAMPLES};
pub use error::WitnessError;
pub use fetch::Client;

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use edgepass_log::key::SignatureKind;
use edgepass_log::{Checkpoint, Cosigner, Note, TreeHead, VerifierKey};

/// A witness of one log.
pub struct Witness {
    /// Where the log is published, without a slash at the end.
    url: String,
    key: VerifierKey,
    cosigner: Cosigner,
    /// The file with the newest cosigned checkpoint.
    state: PathBuf,
    /// Held while the witness lives: two at once could cosign two logs.
    _lock: File,
    client: Client,
}

/// What one look found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Number of entries of the log.
    pub size: u64,
    /// Number of entries at the look before. 0: this was the first.
    pub before: u64,
}

impl Witness {
    /// Opens a witness. Makes its private key if the file does not exist.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Usage`].
    pub fn open(args: &Args, user_agent: &str) -> Result<Self, WitnessError> {
        let key: VerifierKey =
            args.key.parse().map_err(|error| WitnessError::usage("--key", &error))?;
        if key.kind() != SignatureKind::Note {
            return Err(WitnessError::Usage("--key is the key of a witness, not of a log".into()));
        }
        if args.name.contains("://") {
            return Err(WitnessError::Usage("--name is written without a scheme".into()));
        }
        fetch::check(&args.url)?;
        let seed = files::seed(&args.signing_key)?;
        let cosigner = Cosigner::from_seed(&args.name, &seed);
        Ok(Self {
            url: args.url.trim_end_matches('/').to_owned(),
            key,
            cosigner: cosigner.map_err(|error| WitnessError::usage("--name", &error))?,
            _lock: files::lock(&args.state)?,
            state: args.state.clone(),
            client: Client::new(user_agent)?,
        })
    }

    /// The public half of the witness's key.
    pub fn verifier_key(&self) -> &VerifierKey {
        self.cosigner.verifier_key()
    }

    /// Fetches the newest checkpoint, checks that it continues the one in the state file, cosigns it and
    /// keeps it. `now` returns the time in seconds since 1970. Takes a minute at most.
    ///
    /// # Errors
    ///
    /// [`WitnessError`]. Nothing was cosigned. A checkpoint that was refused is kept as evidence in a file
    /// beside the state.
    pub async fn look(&self, now: impl Fn() -> u64) -> Result<Seen, WitnessError> {
        let looked = tokio::time::timeout(TIMEOUT, self.look_once(now)).await;
        looked.unwrap_or_else(|_| {
            let what = "one look took longer than a minute".to_owned();
            Err(WitnessError::Unavailable { url: self.url.clone(), what })
        })
    }

    /// Looks, and with `every` again after each such time. `tell` is told what each look found, and the
    /// error of one that is followed by another.
    ///
    /// # Errors
    ///
    /// The error of `tell`, or [`WitnessError`]: of the only look, one that does not pass, or one after
    /// several others in a row.
    pub async fn watch<E: From<WitnessError>>(
        &self,
        every: Option<Duration>,
        now: impl Fn() -> u64,
        mut tell: impl FnMut(Result<Seen, WitnessError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut failed = 0_u32;
        loop {
            let looked = self.look(&now).await;
            failed = if looked.is_err() { failed.saturating_add(1) } else { 0 };
            match looked {
                Err(error) if every.is_none() || !error.may_pass(failed) => {
                    return Err(error.into());
                }
                looked => tell(looked)?,
            }
            match every {
                Some(every) => tokio::time::sleep(every).await,
                None => return Ok(()),
            }
        }
    }

    async fn look_once(&self, now: impl Fn() -> u64) -> Result<Seen, WitnessError> {
        let text = self.client.text(&format!("{}/checkpoint", self.url)).await?;
        let mut note = Note::parse(text.as_bytes()).map_err(WitnessError::refused)?;
        let new = Checkpoint::of_note(&note, &self.key, self.key.name());
        let new = new.map_err(WitnessError::refused)?.tree();
        let old = self.kept()?;
        if let Some(old) = old.filter(|old| old.size > 0) {
            let checked = self.client.check_continues(&self.url, old, new).await;
            if checked.as_ref().is_err_and(WitnessError::is_evidence) {
                files::replace(&files::beside(&self.state, ".refused"), &text)?;
            }
            checked?;
        }
        note.keep_only(&self.key);
        let cosignature = self.cosigner.cosign(&note, now()).map_err(WitnessError::refused)?;
        note.add(cosignature).map_err(WitnessError::refused)?;
        files::replace(&self.state, &note.to_string())?;
        Ok(Seen { size: new.size, before: old.map_or(0, |old| old.size) })
    }

    /// The tree of the checkpoint in the state file. `None`: there is no such file.
    fn kept(&self) -> Result<Option<TreeHead>, WitnessError> {
        let Some(text) = files::text(&self.state)? else { return Ok(None) };
        let kept = Checkpoint::open(text.as_bytes(), &self.key, self.key.name());
        let kept = kept.map_err(|error| {
            let file = self.state.display();
            WitnessError::Usage(format!("{file} is not a checkpoint of this log: {error}"))
        })?;
        Ok(Some(kept.tree()))
    }
}

/// The longest time of one look.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Looks in a row that a witness that goes on bears with: a cache may have an old checkpoint, or a proxy a
/// page of its own.
const PATIENCE: u32 = 5;
