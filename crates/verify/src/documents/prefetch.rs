//! The prefetch of status lists: the first ones that the issuer's aggregation names are fetched
//! once, before a token needs them.

use std::mem;

use crate::policy::Policy;

/// The maximum number of prefetched lists of one issuer.
const MAX_LISTS: usize = 6;

/// The progress of the prefetch of one issuer's lists.
#[derive(Debug, Default)]
pub(super) enum Prefetch {
    /// No accepted list has named an allowed aggregation yet.
    #[default]
    Unknown,
    /// The aggregation is to be fetched from this URI.
    Aggregation(String),
    /// The URIs of lists that are to be fetched, the last first. Empty at the end, and while the
    /// aggregation is fetched.
    Lists(Vec<String>),
}

/// The next document to prefetch.
pub(super) enum NextFetch {
    /// The aggregation at this URI.
    Aggregation(String),
    /// The status list at this URI.
    List(String),
}

impl Prefetch {
    /// Takes the URI of the aggregation from the first list with one that the policy allows.
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

    /// Takes the URIs that the aggregation names. Of the first [`MAX_LISTS`], keeps those that the
    /// policy allows and whose lists are not held.
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
