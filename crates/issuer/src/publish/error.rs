//! What can go wrong when documents are published.

use super::edition::BadEdition;
use super::target::TargetError;
use crate::entropy::NoEntropy;
use crate::key_change::KeyChangeError;
use crate::keys::OpenError;
use crate::signing_key::SigningFailed;
use crate::storage::StoreError;

/// Why something was not published. What was published before stays.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The keys could not be read.
    #[error(transparent)]
    Keys(#[from] OpenError),
    /// A withdrawn key could not be replaced.
    #[error(transparent)]
    KeyChange(#[from] KeyChangeError),
    /// Signing failed.
    #[error(transparent)]
    Signing(#[from] SigningFailed),
    /// The edition does not say what the database says, or may not replace what is live.
    #[error("a new list edition failed its check before publication")]
    Check(#[from] BadEdition),
    /// A target did not take it.
    #[error("target {name}")]
    Target {
        /// Its name.
        name: String,
        /// Why.
        source: TargetError,
    },
}

impl PublishError {
    /// A target does not answer: asking for more is in vain.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Target { source: TargetError::Unavailable(_), .. })
    }
}
