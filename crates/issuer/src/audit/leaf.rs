//! The form of an audit entry that the log holds: what is personal is kept apart, and the log holds a
//! salted hash of it. Once salt and personal values are erased, nothing can be learned from the hash,
//! and the log still verifies.

use edgepass_jose::base64url;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Act, AuditEntry};

/// Random octets that are hashed with the personal values of one entry.
pub type Salt = [u8; 16];

/// An audit entry as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Leaf {
    /// The time by which entries are selected, in milliseconds: that of the text.
    pub at_ms: u64,
    /// What the log holds: the entry as a JSON object without its personal values. The member
    /// `private` is the base64url of SHA-256 over the salt and [`Private::values`].
    pub text: String,
    /// What is personal. `None`: it was erased.
    pub private: Option<Private>,
}

/// The personal values of an entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Private {
    /// The salt of the hash in the log.
    pub salt: Salt,
    /// A JSON object.
    pub values: String,
}

/// The reason why a stored entry cannot be read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The text or the personal values are not those of an entry.
    #[error("an entry of the audit trail is not readable")]
    NotReadable(#[from] serde_json::Error),
    /// The personal values were changed: the hash in the log is of others.
    #[error("the personal values of an entry are not those that the log has the hash of")]
    Changed,
}

/// Members that may name or describe a person.
const PERSONAL: [&str; 4] = ["actor", "reason", "report", "subject"];
/// The member that is personal if it selects by subject.
const SELECTION: &str = "selection";
/// The member that holds the hash.
const PRIVATE: &str = "private";
/// What an erased value reads as.
const ERASED: &str = "erased";

impl Leaf {
    /// Sets apart what is personal.
    ///
    /// # Errors
    ///
    /// [`LeafError::NotReadable`]: the entry cannot be written as JSON.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_issuer::audit::{Act, AuditEntry, leaf::Leaf};
    ///
    /// let act = Act::TokenRevoked { jwt_id: "a1".to_owned(), reason: "leak".to_owned(), report: None };
    /// let entry = AuditEntry { at_ms: 7, actor: "cli:ada".to_owned(), policy: None, act };
    /// let leaf = Leaf::new(&entry, [1; 16]).unwrap();
    /// let values = r#"{"actor":"cli:ada","reason":"leak"}"#;
    /// assert_eq!(leaf.private.as_ref().unwrap().values, values);
    /// let text = r#"{"act":"token_revoked","at_ms":7,"jwt_id":"a1","private":"#;
    /// assert!(leaf.text.starts_with(text) && !leaf.text.contains("ada"));
    /// assert_eq!(leaf.entry().unwrap(), entry);
    /// ```
    pub fn new(entry: &AuditEntry, salt: Salt) -> Result<Self, LeafError> {
        match Issued::of(entry) {
            Some(issued) => issued.leaf(salt),
            None => Self::of_members(entry, salt),
        }
    }

    /// Sets apart what is personal in an entry of any kind.
    fn of_members(entry: &AuditEntry, salt: Salt) -> Result<Self, LeafError> {
        let mut members: Map<String, Value> = match serde_json::to_value(entry)? {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let mut values = Map::new();
        let selects_subject = members
            .get(SELECTION)
            .is_some_and(|selection| selection.pointer("/fitting/subject").is_some());
        for name in PERSONAL.into_iter().chain(selects_subject.then_some(SELECTION)) {
            if let Some(value) = members.remove(name) {
                values.insert(name.to_owned(), value);
            }
        }
        let private = Private { salt, values: Value::Object(values).to_string() };
        members.insert(PRIVATE.to_owned(), private.hash().into());
        let text = Value::Object(members).to_string();
        Ok(Self { at_ms: entry.at_ms, text, private: Some(private) })
    }

    /// The entry. Erased values read as `erased`.
    ///
    /// # Errors
    ///
    /// [`LeafError`].
    pub fn entry(&self) -> Result<AuditEntry, LeafError> {
        let mut members: Map<String, Value> = serde_json::from_str(&self.text)?;
        let hash = members.remove(PRIVATE);
        let values = match &self.private {
            Some(private) if hash.as_ref().and_then(Value::as_str) == Some(&*private.hash()) => {
                serde_json::from_str(&private.values)?
            }
            Some(_) => return Err(LeafError::Changed),
            None => erased(),
        };
        for (name, value) in values {
            members.entry(name).or_insert(value);
        }
        Ok(serde_json::from_value(Value::Object(members))?)
    }
}

/// The leaf of an issued token, written without a tree of its members: most entries are such. Its members
/// are in the order of their names, as those of other leaves.
#[derive(Serialize)]
struct Issued<'e> {
    act: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<&'e str>,
    at_ms: u64,
    audience: &'e str,
    client_id: &'e str,
    expiration: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'e str>,
    jwt_id: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<u64>,
    private: String,
    role: &'e str,
    scope: &'e str,
    #[serde(skip)]
    personal: IssuedPersonal<'e>,
}

#[derive(Serialize)]
struct IssuedPersonal<'e> {
    actor: &'e str,
    subject: &'e str,
}

impl<'e> Issued<'e> {
    /// `None`: the entry is about something else.
    fn of(entry: &'e AuditEntry) -> Option<Self> {
        let Act::TokenIssued {
            jwt_id,
            role,
            client_id,
            subject,
            audience,
            scope,
            expiration,
            agreement,
            grant,
            parent,
        } = &entry.act
        else {
            return None;
        };
        Some(Self {
            act: entry.act.name(),
            agreement: agreement.as_deref(),
            at_ms: entry.at_ms,
            audience,
            client_id,
            expiration: *expiration,
            grant: grant.as_deref(),
            jwt_id,
            parent: parent.as_deref(),
            policy: entry.policy,
            private: String::new(),
            role,
            scope,
            personal: IssuedPersonal { actor: &entry.actor, subject },
        })
    }

    fn leaf(mut self, salt: Salt) -> Result<Leaf, LeafError> {
        let private = Private { salt, values: serde_json::to_string(&self.personal)? };
        self.private = private.hash();
        let text = serde_json::to_string(&self)?;
        Ok(Leaf { at_ms: self.at_ms, text, private: Some(private) })
    }
}

impl Private {
    /// The hash in the log.
    pub(crate) fn hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        hash.update(&self.values);
        base64url::encode(&hash.finalize())
    }
}

/// What stands for erased values, wherever an entry needs them.
fn erased() -> Map<String, Value> {
    let names = ["actor", "reason", "subject", SELECTION].into_iter();
    names.map(|name| (name.to_owned(), ERASED.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::SelectionEntry;
    use crate::selection::{Filter, StatusChange};

    fn entry(act: Act) -> AuditEntry {
        AuditEntry { at_ms: 1, actor: "cli:ada".to_owned(), policy: Some(2), act }
    }

    #[test]
    fn what_is_personal_is_not_in_the_log() {
        let filter = Filter { subject: Some("ada".to_owned()), ..Filter::default() };
        let act = Act::StatusesChanged {
            change: StatusChange::Revoke,
            selection: SelectionEntry::Fitting(filter),
            reason: "ada left".to_owned(),
            count: 3,
            digest: "d".to_owned(),
        };
        let mut leaf = Leaf::new(&entry(act.clone()), [3; 16]).unwrap();
        assert!(!leaf.text.contains("ada"), "{}", leaf.text);
        assert_eq!(leaf.entry().unwrap(), entry(act));
        let other = Leaf::new(&leaf.entry().unwrap(), [4; 16]).unwrap();
        assert_ne!(leaf.text, other.text, "the salt is part of the hash");
        leaf.private = None;
        let Act::StatusesChanged { selection, reason, count, .. } = leaf.entry().unwrap().act
        else {
            panic!("another act");
        };
        assert_eq!((selection, &*reason, count), (SelectionEntry::Erased, ERASED, 3));
    }

    #[test]
    fn the_leaf_of_an_issued_token_is_written_as_that_of_any_entry() {
        for more in [None, Some("m\"ü".to_owned())] {
            let act = Act::TokenIssued {
                grant: None,
                jwt_id: "j".to_owned(),
                role: "r".to_owned(),
                client_id: "c".to_owned(),
                subject: "ada \u{1}".to_owned(),
                audience: "a".to_owned(),
                scope: "s".to_owned(),
                expiration: 9,
                agreement: more.clone(),
                parent: more.clone(),
            };
            let mut entry = entry(act);
            entry.policy = more.map(|_| 3);
            let leaf = Leaf::new(&entry, [6; 16]).unwrap();
            assert_eq!(leaf, Leaf::of_members(&entry, [6; 16]).unwrap());
            assert_eq!(leaf.entry().unwrap(), entry);
        }
    }

    #[test]
    fn changed_personal_values_are_noticed() {
        let act = Act::KeysCreated { key_ids: vec!["k".to_owned()] };
        let leaf = Leaf::new(&entry(act), [5; 16]).unwrap();
        let changes: [fn(&mut Private); 2] =
            [|private| private.salt[0] ^= 1, |private| private.values = "{}".to_owned()];
        for change in changes {
            let mut leaf = leaf.clone();
            change(leaf.private.as_mut().unwrap());
            assert!(matches!(leaf.entry(), Err(LeafError::Changed)));
        }
    }
}
