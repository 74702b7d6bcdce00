//! Status lists fetched before a token needs them: once, the first ones that the issuer names.

use std::mem;

use crate::policy::Policy;

/// The maximum number of prefetched lists.
const MAX_LISTS: usize = 6;

/// The progress of the prefetch of one issuer's lists.
#[derive(Debug, Default)]
pub(super) enum Prefetch {
    /// No accepted list has named the aggregation yet.
    #[default]
    Unknown,
    /// The URI of the aggregation, which is to be fetched.
    Aggregation(String),
    /// The lists that are to be fetched, the last first. Empty once they were.
    Lists(Vec<String>),
}

/// The next document to prefetch.
pub(super) enum NextFetch {
    /// The aggregation, which names the lists.
    Aggregation(String),
    /// A status list.
    List(String),
}

impl Prefetch {
    /// Learns the URI of the aggregation from a list. Accepts only a URI from which the policy
    /// allows lists.
    pub(super) fn learn(&mut self, uri: Option<&str>, policy: &Policy) {
        if let (Self::Unknown, Some(uri)) = (&self, uri)
            && policy.allows_status_uri(uri)
        {
            *self = Self::Aggregation(uri.to_owned());
        }
    }

    /// Whether there is a document to prefetch.
    pub(super) fn is_due(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Aggregation(_) => true,
            Self::Lists(uris) => !uris.is_empty(),
        }
    }

    /// Returns the next document to prefetch, each only once.
    pub(super) fn next(&mut self) -> Option<NextFetch> {
        if let Self::Lists(uris) = self {
            return uris.pop().map(NextFetch::List);
        }
        match mem::replace(self, Self::Lists(Vec::new())) {
            Self::Aggregation(uri) => Some(NextFetch::Aggregation(uri)),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Takes the lists that the aggregation names. Of the first [`MAX_LISTS`], keeps those that the
    /// policy allows and that are not held.
    pub(super) fn named(
        &mut self,
        uris: Vec<String>,
        is_held: impl Fn(&str) -> bool,
        policy: &Policy,
    ) {
        let first = uris.into_iter().take(MAX_LISTS);
        let mut wanted: Vec<String> =
            first.filter(|uri| policy.allows_status_uri(uri) && !is_held(uri)).collect();
        wanted.reverse();
        *self = Self::Lists(wanted);
    }
}
