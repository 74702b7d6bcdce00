//! A report with what proves it to somebody who has nothing else: the entry of the audit trail that holds its digest,
//! the entries that it names, and a proof of each.

use std::collections::{BTreeMap, BTreeSet};

use edgepass_jose::base64url;
use edgepass_jose::json::parse_object;
use edgepass_log::proof::{check_consistency, consistency_tiles, prove_consistency};
use edgepass_log::{Checkpoint, Hash, LogProof, Note, TreeHead, VerifierKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::facts::act_fact;
use super::report::Report;
use super::trail;
use crate::audit::AuditEntry;
use crate::audit::leaf::{self, Leaf};
use crate::log::prove::{ProveError, prove, read_tiles};
use crate::log::stored::StoredLog;
use crate::policy::version::{hexadecimal, sha256};
use crate::storage::LogStore;

/// The form of an export, for programs.
pub const FORM: &str = "edgepass-breach-export-1";

/// An export.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// [`FORM`].
    pub form: String,
    /// The report: [`Report`] as JSON.
    pub report: Value,
    /// SHA-256, in hexadecimal, of the report as RFC 8785 writes it.
    pub digest: String,
    /// The key of the log, as a C2SP note has it.
    pub key: String,
    /// Where the log is published.
    pub url: String,
    /// The entry that holds the digest.
    pub binding: Evidence,
    /// The entries that the report names.
    pub evidence: Vec<Evidence>,
    /// Proofs that the log continues older checkpoints.
    pub consistency: Vec<Consistency>,
}

/// An entry of the audit trail with its proof.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Its position, from 1.
    pub position: u64,
    /// The proof (C2SP tlog-proof). Its extra data is the entry.
    pub proof: String,
    /// Who did it, and why. `None`: not asked for, or erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<Private>,
}

/// The personal values of an entry.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Private {
    /// The salt, in base64url.
    pub salt: String,
    /// A JSON object.
    pub values: String,
}

/// A proof that a log continues an older one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    /// The size of the older one.
    pub size: u64,
    /// The hashes, in base64url.
    pub hashes: Vec<String>,
}

/// The digest of a report: SHA-256, in hexadecimal, of its JSON as RFC 8785 writes it.
pub fn digest(report: &Value) -> String {
    // Names are in order, there is no white space, and all numbers are whole.
    sha256(&report.to_string())
}

/// The positions that a report names.
fn named(report: &Report) -> impl Iterator<Item = u64> {
    let acts = report.facts.acts.iter().map(|act| act.position);
    let tokens = report.facts.tokens.iter().map(|token| token.entry);
    acts.chain(tokens)
}

/// Personal values that are given out if they are asked for: who did something to tokens, and why. Not those that
/// name a subject.
fn are_given_out(values: &str) -> bool {
    let values: Value = serde_json::from_str(values).unwrap_or_default();
    let names = ["subject", "selection"];
    values.is_object() && names.into_iter().all(|name| values.get(name).is_none())
}

/// What an export is made of.
pub struct Parts<'p> {
    /// The log, with a checkpoint that covers the binding entry.
    pub log: &'p StoredLog,
    /// Where it is published.
    pub url: String,
    /// The report.
    pub report: &'p Report,
    /// The position of the entry that holds its digest.
    pub binding: u64,
    /// Whether the personal values of entries are wanted.
    pub private: bool,
    /// Sizes of older checkpoints that others hold.
    pub older: Vec<u64>,
}

/// Makes an export.
///
/// # Errors
///
/// [`ProveError`].
pub async fn make(store: &impl LogStore, parts: Parts<'_>) -> Result<Export, ProveError> {
    let Parts { log, url, report, binding, private, older } = parts;
    let mut positions: Vec<u64> = named(report).collect();
    positions.sort_unstable();
    positions.dedup();
    let mut evidence = Vec::with_capacity(positions.len());
    for position in positions {
        evidence.push(proven(store, log, position, private).await?);
    }
    let tree = log.head()?.tree();
    let mut consistency = Vec::new();
    for size in older {
        let Ok(tiles) = consistency_tiles(size, tree.size) else { continue };
        let tiles = read_tiles(store, &tiles).await?;
        let Ok(hashes) = prove_consistency(size, tree, &tiles) else { continue };
        let hashes = hashes.iter().map(|hash| base64url::encode(hash)).collect();
        consistency.push(Consistency { size, hashes });
    }
    // A structure of texts and numbers can be written.
    let report = serde_json::to_value(report).unwrap_or_default();
    Ok(Export {
        form: FORM.to_owned(),
        digest: digest(&report),
        report,
        key: log.key().map_err(crate::log::LogError::from)?.to_string(),
        url,
        binding: proven(store, log, binding, private).await?,
        evidence,
        consistency,
    })
}

async fn proven(
    store: &impl LogStore,
    log: &StoredLog,
    position: u64,
    with_private: bool,
) -> Result<Evidence, ProveError> {
    let (Leaf { private, .. }, proof) = prove(store, log, position).await?;
    let private = private
        .filter(|private| with_private && are_given_out(&private.values))
        .map(|private| Private { salt: base64url::encode(&private.salt), values: private.values });
    Ok(Evidence { position, proof: proof.to_string(), private })
}

/// What a check of an export found.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The incident.
    pub incident: String,
    /// When the report was exported, in milliseconds, as the entry says.
    pub exported_ms: u64,
    /// The position of the entry that holds the digest.
    pub binding: u64,
    /// The number of other entries that were proven.
    pub entries: u64,
    /// The number of fields that were open.
    pub open: u64,
    /// The log that they are in.
    pub tree: TreeHead,
}

/// The reason why an export is refused.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// It is no export, or of another form.
    #[error("the file is no export of a breach report")]
    Form,
    /// The key in it is none.
    #[error("the export has no usable key of a log")]
    Key,
    /// The report was changed.
    #[error("the report was changed: its digest is another")]
    Digest,
    /// A proof does not hold.
    #[error("entry {0}: the proof does not hold")]
    Proof(u64),
    /// The proofs are not all of one state of the log.
    #[error("entry {0}: its proof is of another state of the log")]
    Trees(u64),
    /// The entry that is to hold the digest holds none, or another.
    #[error("entry {0} does not hold the digest of the report")]
    Binding(u64),
    /// The report says something of an entry that the entry does not say.
    #[error("entry {0} is not what the report says of it")]
    Other(u64),
    /// The report does not name an entry that is proven.
    #[error("entry {0} is proven, and the report does not name it")]
    Unnamed(u64),
    /// The report names another set of tokens than it counts.
    #[error("the report's digest of its tokens is another")]
    Tokens,
    /// The log is another one.
    #[error("the report is of the log {0}, and the key is that of another one")]
    Log(String),
    /// The report names an entry that is not proven.
    #[error("the report names entry {0}, which is not proven")]
    Missing(u64),
    /// Personal values are not those that the entry has the hash of.
    #[error("entry {0}: its personal values were changed")]
    Private(u64),
}

impl Export {
    /// Reads an export.
    ///
    /// # Errors
    ///
    /// [`Refused::Form`].
    pub fn parse(text: &str) -> Result<Self, Refused> {
        // Of a repeated member, readers may take the one or the other.
        let members = parse_object(text.as_bytes()).map_err(|_| Refused::Form)?;
        let export: Self =
            serde_json::from_value(Value::Object(members)).map_err(|_| Refused::Form)?;
        if export.form == FORM { Ok(export) } else { Err(Refused::Form) }
    }

    /// The key that the export names.
    ///
    /// # Errors
    ///
    /// [`Refused::Key`].
    pub fn key(&self) -> Result<VerifierKey, Refused> {
        self.key.parse().map_err(|_| Refused::Key)
    }

    /// Checks that everything in the export is proven by the log with this key.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn verify(&self, key: &VerifierKey) -> Result<Verified, Refused> {
        let own = self.key()?;
        if own != *key {
            return Err(Refused::Log(own.name().to_owned()));
        }
        if digest(&self.report) != self.digest {
            return Err(Refused::Digest);
        }
        let report: Report =
            serde_json::from_value(self.report.clone()).map_err(|_| Refused::Form)?;
        let (entry, tree) = self.binding.verify(key)?;
        let binding = self.binding.position;
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let is_bound = text("act") == "incident_changed"
            && text("change") == "exported"
            && text("digest") == self.digest
            && text("incident") == report.incident;
        let exported_ms = entry.get("at_ms").and_then(Value::as_u64);
        let exported_ms = exported_ms.filter(|_| is_bound).ok_or(Refused::Binding(binding))?;
        let mut entries: BTreeMap<u64, Value> = BTreeMap::new();
        for one in &self.evidence {
            let (entry, own) = one.verify(key)?;
            if own != tree {
                return Err(Refused::Trees(one.position));
            }
            entries.insert(one.position, entry);
        }
        check_report(&report, &entries)?;
        Ok(Verified {
            open: u64::try_from(report.open().count()).unwrap_or(u64::MAX),
            incident: report.incident,
            exported_ms,
            binding,
            entries: u64::try_from(entries.len()).unwrap_or(u64::MAX),
            tree,
        })
    }

    /// Whether the log of the export, whose state is `tree`, begins with all entries of an older one.
    pub fn continues(&self, tree: TreeHead, older: TreeHead) -> bool {
        if older == tree {
            return true;
        }
        let of_size = self.consistency.iter().filter(|one| one.size == older.size);
        let mut proofs = of_size.filter_map(|one| {
            let hash = |text: &String| -> Option<Hash> {
                base64url::decode(text)?.as_slice().try_into().ok()
            };
            one.hashes.iter().map(hash).collect::<Option<Vec<Hash>>>()
        });
        proofs.any(|proof| check_consistency(&proof, older, tree).is_ok())
    }
}

impl Evidence {
    /// The entry, and the state of the log that it is proven to be in.
    fn verify(&self, key: &VerifierKey) -> Result<(Value, TreeHead), Refused> {
        let position = self.position;
        let refused = Refused::Proof(position);
        let proof = LogProof::parse(self.proof.as_bytes()).map_err(|_| refused.clone())?;
        if proof.index().checked_add(1) != Some(position) {
            return Err(refused);
        }
        let checkpoint =
            proof.verify(proof.extra(), key, key.name()).map_err(|_| refused.clone())?;
        let entry: Value = serde_json::from_slice(proof.extra()).map_err(|_| refused.clone())?;
        if let Some(private) = &self.private {
            let salt = base64url::decode(&private.salt).and_then(|salt| salt.try_into().ok());
            let values = private.values.clone();
            let hash = leaf::Private { salt: salt.ok_or(refused)?, values }.hash();
            if entry.get("private").and_then(Value::as_str) != Some(&hash) {
                return Err(Refused::Private(position));
            }
        }
        Ok((entry, checkpoint.tree()))
    }
}

/// Compares what a report says of entries with the entries.
fn check_report(report: &Report, entries: &BTreeMap<u64, Value>) -> Result<(), Refused> {
    let entry = |position: u64| -> Result<AuditEntry, Refused> {
        let found = entries.get(&position).ok_or(Refused::Missing(position))?;
        let leaf = Leaf { at_ms: 0, text: found.to_string(), private: None };
        leaf.entry().map_err(|_| Refused::Other(position))
    };
    for act in &report.facts.acts {
        if act_fact(act.position, &entry(act.position)?) != *act {
            return Err(Refused::Other(act.position));
        }
    }
    let mut jwt_ids = Sha256::new();
    for token in &report.facts.tokens {
        let other = Refused::Other(token.entry);
        let issued = entry(token.entry)?;
        let at_ms = issued.at_ms;
        let own = trail::facts(issued).ok_or_else(|| other.clone())?;
        let is_it = own.jwt_id == token.jwt_id
            && own.role == token.role
            && own.client_id == token.client_id
            && own.audience == token.audience
            && own.scope == token.scope
            && own.agreement == token.agreement
            && own.grant == token.grant
            && own.parent == token.parent
            && own.policy == token.policy
            && own.expiration.saturating_mul(1000) == token.expires_ms
            && at_ms == token.issued_ms;
        if !is_it {
            return Err(other);
        }
        jwt_ids.update(&token.jwt_id);
        jwt_ids.update("\n");
    }
    let is_whole = u64::try_from(report.facts.tokens.len()) == Ok(report.facts.count);
    if is_whole && hexadecimal(&jwt_ids.finalize()) != report.facts.digest {
        return Err(Refused::Tokens);
    }
    let named: BTreeSet<u64> = named(report).collect();
    match entries.keys().find(|position| !named.contains(position)) {
        Some(position) => Err(Refused::Unnamed(*position)),
        None => Ok(()),
    }
}

/// The state of the log in a checkpoint that somebody holds.
///
/// # Errors
///
/// [`Refused::Key`]: the key did not sign it.
pub fn held(note: &Note, key: &VerifierKey) -> Result<TreeHead, Refused> {
    let checkpoint = Checkpoint::of_note(note, key, key.name()).map_err(|_| Refused::Key)?;
    Ok(checkpoint.tree())
}
