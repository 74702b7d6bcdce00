//! Appends the entries of the audit trail to the log, and signs its checkpoints.

use std::sync::Arc;

use edgepass_log::checkpoint::CheckpointError;
use edgepass_log::key::{KeyError, SignatureKind};
use edgepass_log::note::NoteError;
use edgepass_log::tree::{FrontierError, TreeFull};
use edgepass_log::{Checkpoint, Frontier, NoteSigner, TileId, VerifierKey, leaf_hash};
use zeroize::Zeroizing;

use super::prove::read_tiles;
use super::stored::{LogExtension, StoredLog};
use crate::entropy::{Entropy, NoEntropy};
use crate::issue::Issuer;
use crate::seal::SealError;
use crate::storage::{LogStore, StoreError};

/// Appends entries to the log. Any number of processes may do so: of two that extend the same
/// checkpoint, storage takes one.
pub struct Sequencer<S> {
    issuer: Arc<Issuer<S>>,
    open: Option<Open>,
}

/// The log as this process extended it last.
struct Open {
    signer: NoteSigner,
    frontier: Frontier,
}

/// The log after an attempt to extend it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extended {
    /// Number of entries that the newest checkpoint covers, as far as this process knows.
    pub size: u64,
    /// Whether there may be more entries.
    pub is_more: bool,
}

/// The reason why the log was not extended. The entries stay in the trail, and the next attempt takes
/// them.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Storage failed, or an entry is missing in the trail.
    #[error("the audit trail could not be read or its log not be extended")]
    Store(#[from] StoreError),
    /// The host provides no randomness for the key of a new log.
    #[error("no key could be made for the log of the audit trail")]
    Entropy(#[from] NoEntropy),
    /// The key of the log cannot be opened or sealed.
    #[error("the key of the audit log cannot be opened")]
    Seal(#[from] SealError),
    /// The stored key or its name is not usable.
    #[error("the key of the audit log is not usable")]
    Key(#[from] KeyError),
    /// The stored checkpoint is not one of this log.
    #[error("the stored checkpoint of the audit log is not valid")]
    Checkpoint(#[from] CheckpointError),
    /// The stored tiles are not those of the checkpoint: they were changed.
    #[error(
        "the stored hashes of the audit log are not those of its checkpoint; `edgepass audit verify` says more"
    )]
    Tiles(#[from] FrontierError),
    /// The stored log has fewer entries than this process has written to it: it was changed.
    #[error("the audit log in the database had {had} entries, and has {has} now: it was changed")]
    Shrunk {
        /// Entries that this process wrote.
        had: u64,
        /// Entries of the stored log.
        has: u64,
    },
    /// A checkpoint could not be signed.
    #[error("the checkpoint of the audit log could not be signed")]
    Signing(#[from] NoteError),
    /// The log is full.
    #[error("the audit log is full")]
    Full(#[from] TreeFull),
}

/// Entries that are read and hashed at once.
const BATCH: u32 = 4096;
/// Batches that one checkpoint adds, at most: what 8 MiB of tiles hold.
const BATCHES: usize = 64;
/// The path of the first log of an issuer. Later ones are below it, at the epoch of a restored backup.
const PATH: &str = "audit-log";

impl<S: LogStore> Sequencer<S> {
    /// Creates a sequencer. It reads nothing yet.
    pub fn new(issuer: Arc<Issuer<S>>) -> Self {
        Self { issuer, open: None }
    }

    /// Appends the entries that are not in the log yet, and signs a checkpoint. Begins the log if there
    /// is none.
    ///
    /// # Errors
    ///
    /// [`LogError`].
    pub async fn extend(&mut self, entropy: &mut impl Entropy) -> Result<Extended, LogError> {
        let stored = self.stored(entropy).await?;
        let open = match self.open.take() {
            Some(open) if is_at(&open, &stored) => open,
            Some(open) if is_behind(&stored, &open) => {
                let had = open.frontier.size();
                self.open = Some(open);
                return Err(LogError::Shrunk { had, has: stored.size });
            }
            _ => self.reopen(&stored).await?,
        };
        let open = self.open.insert(open);
        let store = self.issuer.store();
        let mut is_more = true;
        for _ in 0..BATCHES {
            let texts = store.leaf_texts(open.frontier.size(), BATCH).await?;
            for text in &texts {
                open.frontier.append(leaf_hash(text.as_bytes()))?;
            }
            is_more = u32::try_from(texts.len()) == Ok(BATCH);
            if !is_more {
                break;
            }
        }
        let tree = open.frontier.tree();
        if tree.size == stored.size {
            return Ok(Extended { size: stored.size, is_more: false });
        }
        let checkpoint = Checkpoint::new(&stored.origin, tree)?.sign(&open.signer)?.to_string();
        let tiles = open.frontier.take_changed();
        let (origin, from, size) = (stored.origin, stored.size, tree.size);
        let extension = LogExtension { origin, from, size, tiles, checkpoint };
        let extended = store.extend_log(&extension).await;
        if !matches!(extended, Ok(true)) {
            // What is in memory may not be what is stored.
            self.open = None;
        }
        Ok(match extended? {
            true => Extended { size, is_more },
            false => Extended { size: stored.size, is_more: true },
        })
    }

    /// The stored log, begun if necessary.
    async fn stored(&self, entropy: &mut impl Entropy) -> Result<StoredLog, LogError> {
        let store = self.issuer.store();
        if let Some(log) = store.log().await? {
            return Ok(log);
        }
        let path = path(store.as_ref()).await?;
        store.begin_log(&self.new_log(path, entropy)?).await?;
        let begun = store.log().await?;
        begun.ok_or_else(|| StoreError::Unavailable("the log was not begun".into()).into())
    }

    fn new_log(&self, path: String, entropy: &mut impl Entropy) -> Result<StoredLog, LogError> {
        let origin = origin(self.issuer.issuer(), &path);
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(seed.as_mut_slice())?;
        let signer = NoteSigner::from_seed(&origin, &seed)?;
        Ok(StoredLog {
            public_key: signer.verifier_key().public_key().to_vec(),
            sealed: self.issuer.vault().master.seal(&origin, seed.as_slice())?,
            path,
            origin,
            size: 0,
            checkpoint: String::new(),
        })
    }

    /// Opens the log as it is stored.
    async fn reopen(&self, stored: &StoredLog) -> Result<Open, LogError> {
        let seed = self.issuer.vault().master.open(&stored.origin, &stored.sealed)?;
        let seed = seed.as_slice().try_into().map_err(|_| SealError::WrongMasterKey)?;
        let signer = NoteSigner::from_seed(&stored.origin, seed)?;
        if stored.size == 0 {
            return Ok(Open { signer, frontier: Frontier::new() });
        }
        let tree = stored.head()?.tree();
        let edges = TileId::edges(tree.size).unwrap_or_default();
        let tiles = read_tiles(self.issuer.store().as_ref(), &edges).await?;
        Ok(Open { signer, frontier: Frontier::at(tree, &tiles)? })
    }
}

impl StoredLog {
    /// The key that verifies the checkpoints.
    ///
    /// # Errors
    ///
    /// [`KeyError`]: what is stored is no key.
    pub fn key(&self) -> Result<VerifierKey, KeyError> {
        let key = self.public_key.as_slice().try_into().map_err(|_| KeyError::Malformed)?;
        VerifierKey::new(&self.origin, SignatureKind::Note, key)
    }

    /// The newest checkpoint, verified.
    ///
    /// # Errors
    ///
    /// [`LogError::Key`], [`LogError::Checkpoint`].
    pub fn head(&self) -> Result<Checkpoint, LogError> {
        Ok(Checkpoint::open(self.checkpoint.as_bytes(), &self.key()?, &self.origin)?)
    }
}

/// Whether the stored log has fewer entries than this process has written to it.
fn is_behind(stored: &StoredLog, open: &Open) -> bool {
    open.frontier.size() > stored.size && open.signer.verifier_key().name() == stored.origin
}

/// Whether the stored log is the one that this process extended last.
fn is_at(open: &Open, stored: &StoredLog) -> bool {
    open.frontier.size() == stored.size && open.signer.verifier_key().name() == stored.origin
}

/// The path of the log that is begun if there is none.
pub(crate) async fn path(store: &impl LogStore) -> Result<String, StoreError> {
    Ok(match store.epoch().await? {
        None => PATH.to_owned(),
        Some(epoch) => format!("{PATH}/{epoch}"),
    })
}

/// The origin of the log of an issuer that is published at `path`: no scheme, and no character that the
/// name of a key may not have.
pub fn origin(issuer: &str, path: &str) -> String {
    let (_, rest) = issuer.split_once("://").unwrap_or(("", issuer));
    format!("{}/{path}", rest.trim_end_matches('/').replace('+', "%2B"))
}
