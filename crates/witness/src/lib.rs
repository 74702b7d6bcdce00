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

use std::path::PathBuf;

use edgepass_log::proof::{check_consistency, consistency_tiles, prove_consistency};
use edgepass_log::{Checkpoint, Cosigner, Note, TreeHead, VerifierKey};

/// A witness of one log.
pub struct Witness {
    /// Where the log is published, without a slash at the end.
    url: String,
    key: VerifierKey,
    cosigner: Cosigner,
    /// The file with the newest cosigned checkpoint.
    state: PathBuf,
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
        let key = args.key.parse().map_err(|error| WitnessError::usage("--key", &error))?;
        let seed = files::seed(&args.signing_key)?;
        let cosigner = Cosigner::from_seed(&args.name, &seed);
        Ok(Self {
            url: args.url.trim_end_matches('/').to_owned(),
            key,
            cosigner: cosigner.map_err(|error| WitnessError::usage("--name", &error))?,
            state: args.state.clone(),
            client: Client::new(user_agent)?,
        })
    }

    /// The public half of the witness's key.
    pub fn verifier_key(&self) -> &VerifierKey {
        self.cosigner.verifier_key()
    }

    /// Fetches the newest checkpoint, checks that it continues the one in the state file, cosigns it and
    /// keeps it. `time` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`WitnessError`]. After each the state file is what it was.
    pub async fn look(&self, time: u64) -> Result<Seen, WitnessError> {
        let text = self.client.text(&format!("{}/checkpoint", self.url)).await?;
        let mut note = Note::parse(text.as_bytes()).map_err(WitnessError::refused)?;
        let new = Checkpoint::of_note(&note, &self.key, self.key.name());
        let new = new.map_err(WitnessError::refused)?.tree();
        let old = self.kept()?;
        if let Some(old) = old.filter(|old| old.size > 0) {
            self.check(old, new).await?;
        }
        let cosignature = self.cosigner.cosign(&note, time).map_err(WitnessError::refused)?;
        note.add(cosignature).map_err(WitnessError::refused)?;
        files::replace(&self.state, &note.to_string())?;
        Ok(Seen { size: new.size, before: old.map_or(0, |old| old.size) })
    }

    /// Checks that a log begins with the entries that it had before.
    async fn check(&self, old: TreeHead, new: TreeHead) -> Result<(), WitnessError> {
        if new.size < old.size {
            return Err(WitnessError::Shrunk { before: old.size, now: new.size });
        }
        let tiles = consistency_tiles(old.size, new.size).map_err(WitnessError::refused)?;
        let tiles = self.client.tiles(&self.url, &tiles).await?;
        let proof = prove_consistency(old.size, new, &tiles);
        // Of the same size it needs no tiles, but the same root.
        let proof = proof.map_err(|_| WitnessError::NotContinued(old.size))?;
        check_consistency(&proof, old, new).map_err(|_| WitnessError::NotContinued(old.size))
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
