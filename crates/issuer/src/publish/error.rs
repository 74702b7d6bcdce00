//! Errors of publication.

use super::edition::BadEdition;
use super::target::TargetError;
use crate::entropy::NoEntropy;
use crate::key_change::KeyChangeError;
use crate::keys::OpenError;
use crate::log::LogError;
use crate::signing_key::SigningFailed;
use crate::status_act::ActError;
use crate::storage::StoreError;

/// The reason why publication failed. Documents served before stay, unless a target holds documents
/// of another database ([`BadEdition::OtherDatabase`]).
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Storage failed.
    #[error("the lists or keys could not be read or recorded")]
    Store(#[from] StoreError),
    /// The host provides no randomness for a new list.
    #[error("no list could be opened")]
    Entropy(#[from] NoEntropy),
    /// The stored keys cannot be used.
    #[error("the signing keys could not be opened")]
    Keys(#[from] OpenError),
    /// A due rotation or withdrawal of keys failed.
    #[error("a due change of keys failed")]
    KeyChange(#[from] KeyChangeError),
    /// A replaced token could not be revoked.
    #[error("a replaced token could not be revoked")]
    Replacement(#[from] ActError),
    /// A list could not be signed.
    #[error("a list could not be signed")]
    Signing(#[from] SigningFailed),
    /// A document failed its check: it differs from the database, may not replace the published
    /// one, or a target holds documents of another database.
    #[error("a document failed its check")]
    Check(#[from] BadEdition),
    /// The audit log could not be read.
    #[error("the audit log could not be published")]
    Log(#[from] LogError),
    /// A request to a target failed.
    #[error("target {name}")]
    Target {
        /// The target's name.
        name: String,
        /// The reason.
        source: TargetError,
    },
}

impl PublishError {
    /// Whether a target is not available. Further requests to it would fail too.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Target { source: TargetError::Unavailable(_), .. })
    }
}
