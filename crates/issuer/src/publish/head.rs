//! The status head: what it names, and its signed editions.
//!
//! A head says which editions were current when it was signed. So the time is read before what it
//! names, and a list is named only once everybody can fetch it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use edgepass_jose::json::JsonObject;
use edgepass_jose::{CompactJws, base64url};
use edgepass_verify::UnixMillis;
use edgepass_verify::documents::status_head::Digest;
use serde_json::{Value, json};

use super::document::Document;
use super::edition::{self, BadEdition};
use super::error::PublishError;
use super::target_state::TargetState;
use super::{Publisher, lock};
use crate::paths::{JWK_SET, STATUS_HEAD};
use crate::storage::Store;

/// What heads name, and the last head.
#[derive(Default)]
pub(super) struct Heads {
    /// The edition of each served list, by path.
    named: BTreeMap<String, Named>,
    /// What everybody can fetch. `None`: nothing is published yet.
    content: Option<Content>,
    /// Greater with each other content.
    number: u64,
    /// The last head of the process that publishes, while this one follows it.
    followed: Option<(u64, Content)>,
    /// The last head that was signed, and when.
    signed: Option<(Arc<Document>, u64, UnixMillis)>,
}

/// The edition of a list, as a head names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Named {
    /// `number` of the first edition with these statuses, as far as this process knows.
    number: u64,
    /// The digest of `lst`.
    digest: Digest,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Content {
    jwk_set: Digest,
    lists: BTreeMap<String, Named>,
}

/// Time for which a signed head is served again. Then another one is signed, if somebody asks.
const SIGNED_FOR: Duration = Duration::from_millis(500);
/// The longest time for which a request for the head is held, in seconds.
pub const LONGEST_WAIT: u64 = 25;
/// Time after which a target gets another head, although nothing has changed.
pub const TARGET_INTERVAL: Duration = Duration::from_secs(2);

impl Named {
    /// The edition of a signed list.
    fn of(body: &[u8]) -> Option<Self> {
        let jws = CompactJws::parse(std::str::from_utf8(body).ok()?, usize::MAX).ok()?;
        let claims = jws.claims().ok()?;
        let lst = claims.get("status_list")?.get("lst")?.as_str()?;
        Some(Self { number: claims.get("number")?.as_u64()?, digest: Digest::of(lst.as_bytes()) })
    }
}

impl Heads {
    /// Records the edition that a path serves.
    pub(super) fn serves(&mut self, path: &str, body: &[u8]) {
        let Some(named) = Named::of(body) else { return };
        let known = self.named.entry(path.to_owned()).or_insert(named);
        // An edition that differs only in its dates keeps its name.
        if known.digest != named.digest {
            *known = named;
        }
    }

    /// Forgets the lists that are not served any more.
    pub(super) fn keep(&mut self, is_served: impl Fn(&str) -> bool) {
        self.named.retain(|path, _| is_served(path));
    }

    /// Forgets what was named: another process publishes from now on, or did so until now.
    pub(super) fn clear(&mut self) {
        let number = self.number;
        *self = Self { number, ..Self::default() };
    }

    /// Takes the head of the process that publishes.
    pub(super) fn follows(&mut self, body: &str) {
        self.followed = followed(body);
    }
}

/// Number and content of a head from the database, which needs no check.
fn followed(body: &str) -> Option<(u64, Content)> {
    let claims = CompactJws::parse(body, usize::MAX).ok()?.claims().ok()?;
    let digest =
        |value: &Value| Some(Digest::from_octets(base64url::decode_array(value.as_str()?)?));
    let members = claims.members();
    let mut lists = BTreeMap::new();
    for (path, named) in members.get("lists")?.as_object()? {
        let named = Named { number: named.get(0)?.as_u64()?, digest: digest(named.get(1)?)? };
        lists.insert(path.clone(), named);
    }
    let content = Content { jwk_set: digest(members.get("jwk_set")?)?, lists };
    Some((members.get("number")?.as_u64()?, content))
}

impl<S: Store> Publisher<S> {
    /// Looks what everybody can fetch by now, for the next heads. To be called before anybody is told
    /// that a change is published.
    pub(super) fn renew_head(&self, now: UnixMillis) {
        let public = |path: &str| {
            let own = self.document(path)?;
            self.public_document(path).filter(|public| public.etag == own.etag)
        };
        let mut heads = lock(&self.heads);
        let set = public(JWK_SET).map(|set| Digest::of(&set.body));
        let before = heads.content.take();
        // While others cannot fetch the new edition, the one before is current.
        let jwk_set = set.or_else(|| before.as_ref().map(|before| before.jwk_set));
        let Some(jwk_set) = jwk_set else { return };
        let list = |(path, named): (&String, &Named)| {
            let before = || before.as_ref().and_then(|before| before.lists.get(path)).copied();
            let named = if public(path).is_some() { Some(*named) } else { before() };
            named.map(|named| (path.clone(), named))
        };
        let mut content = Content { jwk_set, lists: heads.named.iter().filter_map(list).collect() };
        if let Some((_, followed)) = &heads.followed
            && content.says_the_same(followed)
        {
            // It may know editions from before those that this process has seen, or later ones with the
            // same statuses.
            for (path, named) in &mut content.lists {
                if let Some(other) = followed.lists.get(path) {
                    named.number = named.number.min(other.number);
                }
            }
        }
        if before.as_ref() != Some(&content) {
            let next = heads.number.saturating_add(1);
            heads.number = match &heads.followed {
                Some((number, followed)) if content.says_the_same(followed) => *number,
                Some((number, _)) => next.max(number.saturating_add(1)),
                // Greater than those of a process that led before.
                None => next.max(now.0),
            };
        }
        heads.content = Some(content);
    }

    /// The number of the current head.
    pub fn head_number(&self) -> u64 {
        lock(&self.heads).number
    }

    /// Whether lists name a head.
    pub fn has_head(&self) -> bool {
        self.issuer.list_schedule().head
    }

    /// The head for what everybody can fetch at `as_of`: when the database was last seen, and at the
    /// latest now. `None`: nothing is published, or there are no heads.
    ///
    /// # Errors
    ///
    /// [`PublishError`]: the head cannot be signed, or verifiers would refuse it.
    pub fn head(&self, as_of: UnixMillis) -> Result<Option<Arc<Document>>, PublishError> {
        if self.is_stopped() || !self.has_head() {
            return Ok(None);
        }
        let (content, number) = {
            let heads = lock(&self.heads);
            if let Some((document, number, at)) = &heads.signed
                && *number == heads.number
                && as_of.since(*at).is_some_and(|age| age < SIGNED_FOR)
            {
                return Ok(Some(Arc::clone(document)));
            }
            let Some(content) = &heads.content else { return Ok(None) };
            (content.clone(), heads.number)
        };
        // Not under the lock: a key in a device may take long.
        let document = Arc::new(self.sign_head(&content, number, Some(LONGEST_WAIT), as_of)?);
        let mut heads = lock(&self.heads);
        let is_later = heads.signed.as_ref().is_none_or(|(_, _, at)| *at <= as_of);
        if heads.number == number && is_later {
            heads.signed = Some((Arc::clone(&document), number, as_of));
        }
        Ok(Some(document))
    }

    /// The head for what a target holds. `None`: it needs none now.
    pub(super) fn head_for(
        &self,
        target: &TargetState,
        now: UnixMillis,
    ) -> Result<Option<Document>, PublishError> {
        if !self.has_head() {
            return Ok(None);
        }
        let holds = |path: &str| self.document(path).filter(|own| target.held_lately(own));
        let (content, number) = {
            let heads = lock(&self.heads);
            let Some(set) = holds(JWK_SET) else { return Ok(None) };
            let lists = heads.named.iter().filter(|(path, _)| holds(path).is_some());
            let lists = lists.map(|(path, named)| (path.clone(), *named)).collect();
            (Content { jwk_set: Digest::of(&set.body), lists }, heads.number)
        };
        // The processes that follow sign heads themselves; they need to know what has changed.
        let interval = if target.is_shared() { Duration::MAX } else { TARGET_INTERVAL };
        let name = format!("{number}:{}", content.digest().encoded());
        if !target.wants_head(&name, interval, now) {
            return Ok(None);
        }
        let document = self.sign_head(&content, number, None, now)?;
        target.has_head(name, now);
        Ok(Some(document))
    }

    fn sign_head(
        &self,
        content: &Content,
        number: u64,
        wait: Option<u64>,
        as_of: UnixMillis,
    ) -> Result<Document, PublishError> {
        let lists: JsonObject = content
            .lists
            .iter()
            .map(|(path, named)| (path.clone(), json!([named.number, named.digest.encoded()])))
            .collect();
        let uri = self.issuer.public_uri(STATUS_HEAD);
        let mut claims = JsonObject::new();
        claims.insert("sub".to_owned(), uri.as_str().into());
        // Exact: there are fewer milliseconds since 1970 than 2^53.
        claims.insert("iat".to_owned(), json!(as_of.0 as f64 / 1000.0));
        claims.insert("number".to_owned(), number.into());
        claims.extend(wait.map(|wait| ("wait".to_owned(), wait.into())));
        claims.insert("jwk_set".to_owned(), content.jwk_set.encoded().into());
        claims.insert("lists".to_owned(), lists.into());
        let keys = self.issuer.keys();
        let body = keys.sign_head(&claims)?;
        // Read as a verifier reads it, as every list is.
        let head = edition::read_head(body.as_bytes(), &uri, keys.own())?;
        if (head.issued_at, head.number) != (as_of, number) {
            return Err(BadEdition::OtherEdition.into());
        }
        Ok(Document::new(STATUS_HEAD, "application/statushead+jwt", body))
    }
}

impl Content {
    /// Whether the other one names the same keys and statuses.
    fn says_the_same(&self, other: &Self) -> bool {
        let digests = |content: &Self| {
            content
                .lists
                .iter()
                .map(|(path, named)| (path.clone(), named.digest))
                .collect::<Vec<_>>()
        };
        self.jwk_set == other.jwk_set && digests(self) == digests(other)
    }

    fn digest(&self) -> Digest {
        Digest::of(format!("{self:?}").as_bytes())
    }
}
