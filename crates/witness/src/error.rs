//! Why a witness did not cosign.

use std::error::Error;
use std::fmt::Display;

/// The reason why nothing was cosigned.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// An argument or a file of the witness cannot be used. Holds the text for its operator.
    #[error("{0}")]
    Usage(String),
    /// The log is not available now.
    #[error("{url}: {what}")]
    Unavailable {
        /// What was fetched.
        url: String,
        /// What happened.
        what: String,
    },
    /// The published checkpoint is not one of the log.
    #[error("the checkpoint was not cosigned")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// The log has fewer entries than before.
    #[error("the log has {now} entries and had {before}; nothing was cosigned")]
    Shrunk {
        /// Number of entries at the look before.
        before: u64,
        /// Number of entries now.
        now: u64,
    },
    /// The log does not begin with the entries that it had before. Holds their number.
    #[error("the log does not continue its checkpoint of {0} entries; nothing was cosigned")]
    NotContinued(u64),
}

impl WitnessError {
    pub(crate) fn refused(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Refused(Box::new(error))
    }

    pub(crate) fn usage(what: &str, error: &dyn Display) -> Self {
        Self::Usage(format!("{what}: {error}"))
    }

    /// Whether the log signed something that a witness does not cosign.
    pub(crate) fn is_evidence(&self) -> bool {
        matches!(self, Self::Shrunk { .. } | Self::NotContinued(_))
    }

    /// Whether a witness that goes on looks again, after `failed` looks in a row that failed.
    pub(crate) fn may_pass(&self, failed: u32) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused(_) | Self::Shrunk { .. } | Self::NotContinued(_) => {
                failed < crate::PATIENCE
            }
            Self::Usage(_) => false,
        }
    }

    /// The exit code of a program that ends with this error: 1 refused, 2 usage, 3 not available.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Shrunk { .. } | Self::NotContinued(_) => 1,
            Self::Usage(_) => 2,
            Self::Unavailable { .. } => 3,
        }
    }

    /// The text of the error with its cause.
    pub fn chain(&self) -> String {
        match self.source() {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}
