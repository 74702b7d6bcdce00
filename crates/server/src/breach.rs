//! Opening, changing and exporting incidents.

use std::sync::Arc;

use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::breach::export::{Export, Parts, digest, make};
use edgepass_issuer::breach::facts::collect;
use edgepass_issuer::breach::report::{Report, utc};
use edgepass_issuer::breach::{
    BreachError, Concerns, Incident, IncidentChange, MAX_NAMED, Noting, Opening, Phase,
};
use edgepass_issuer::entropy::{Entropy, NoEntropy};
use edgepass_issuer::log::prove::ProveError;
use edgepass_issuer::log::stored::StoredLog;
use edgepass_issuer::log::{LogError, Sequencer};
use edgepass_issuer::storage::{Page, StoreError};
use edgepass_issuer::{Config, Issuer, Store};
use edgepass_jose::base64url;
use edgepass_verify::UnixMillis;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// Reports that are made at once.
static ONE: Semaphore = Semaphore::const_new(1);
const SECOND_MS: u64 = 1000;
/// Attempts to change an incident that others change at the same time.
const ATTEMPTS: usize = 20;
/// Entries that are searched at once for the one of an export.
const NEWEST: u32 = 1000;
/// The most sizes of older checkpoints.
const MAX_OLDER: usize = 100;

/// Who works on incidents, and where.
pub struct Desk<'d, S> {
    /// The issuer.
    pub issuer: &'d Arc<Issuer<S>>,
    /// Its configuration.
    pub config: &'d Config,
    /// Who, as the audit trail has it.
    pub actor: &'d str,
    /// When.
    pub now: UnixMillis,
}

/// How to export a report.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportRequest {
    /// Sizes of older checkpoints that others hold: the export proves that the log continues them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub older: Vec<u64>,
    /// Whether the personal values of entries are wanted: who did something, and why.
    pub private: bool,
}

/// The reason why nothing is done with an incident.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// There is no such incident.
    #[error("there is no such incident; `edgepass breach list` lists them")]
    None,
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] BreachError),
    /// Others change it at the same time.
    #[error("the incident is being changed; try again")]
    Busy,
    /// There is no randomness for a name.
    #[error("no incident can be made now")]
    Entropy,
    /// The log cannot be extended, so that nothing can be proven.
    #[error("the audit log cannot be extended")]
    Log(#[from] LogError),
    /// An entry cannot be proven.
    #[error("an entry cannot be proven")]
    Proof(#[from] ProveError),
    /// Storage failed.
    #[error("incidents cannot be looked up")]
    Store(#[from] StoreError),
}

impl From<NoEntropy> for Failed {
    fn from(_: NoEntropy) -> Self {
        Self::Entropy
    }
}

impl<S: Store> Desk<'_, S> {
    /// Opens an incident, and makes the first draft of its report.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    pub async fn open(
        &self,
        opening: Opening,
        entropy: &mut (impl Entropy + Send),
    ) -> Result<Report, Failed> {
        let id = format!("in_{}", base64url::encode(&entropy.bytes::<16>()?));
        let reason = opening.reason.clone();
        let incident = Incident::open(id, opening, self.now)?;
        let draft = self.draft(&incident).await?;
        let policy = self.issuer.policy();
        let is_known = match &incident.concerns {
            Concerns::Tokens(_) => false,
            Concerns::Client(name) => policy.client(name).is_some(),
            Concerns::Role(name) => policy.role(name).is_ok(),
        };
        if draft.facts.count == 0 && !is_known {
            return Err(BreachError::NoToken.into());
        }
        if let Concerns::Tokens(ids) = &incident.concerns {
            let found = &draft.facts.tokens;
            let is_found = |id: &String| found.iter().any(|token| token.jwt_id == *id);
            // With very many exchanged ones, not all are told one by one.
            if found.len() < MAX_NAMED && !ids.iter().all(is_found) {
                return Err(BreachError::NoToken.into());
            }
            let first = found.iter().map(|token| token.issued_ms).min();
            if let (Some(leaked), Some(first)) = (incident.leaked_ms, first)
                && leaked.saturating_add(SECOND_MS) <= first
            {
                return Err(BreachError::NotIssued(utc(first)).into());
            }
        }
        let by = (self.actor, policy.number());
        let entry = incident.entry(IncidentChange::Opened, &reason, by, self.now);
        self.issuer.store().add_incident(&incident, &entry).await?;
        Ok(draft)
    }

    /// The report about an incident as it is now.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    pub async fn report(&self, id: &str) -> Result<Report, Failed> {
        let incident = self.issuer.store().incident(id).await?.ok_or(Failed::None)?;
        self.draft(&incident).await
    }

    async fn draft(&self, incident: &Incident) -> Result<Report, Failed> {
        // A report may read the whole trail: one at a time, so that issuing goes on.
        let _one = ONE.acquire().await;
        let policy = self.issuer.policy();
        let store = self.issuer.store().as_ref();
        let facts = collect(store, incident, (self.config, &policy), self.now).await?;
        Ok(Report::new(incident, facts, (self.config, &policy), self.now))
    }

    /// Takes what people answer and note.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    pub async fn note(&self, id: &str, noting: Noting) -> Result<Incident, Failed> {
        let fields: Vec<&str> = noting.answers.keys().map(String::as_str).collect();
        let reason = fields.join(", ");
        let note = |incident: &mut Incident| incident.note(noting.clone(), self.now);
        self.change(id, IncidentChange::Noted, &reason, note).await
    }

    /// Closes an incident.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    pub async fn close(&self, id: &str, reason: &str) -> Result<Incident, Failed> {
        let close = |incident: &mut Incident| incident.close(reason, self.now);
        self.change(id, IncidentChange::Closed, reason, close).await
    }

    async fn change(
        &self,
        id: &str,
        what: IncidentChange,
        reason: &str,
        change: impl Fn(&mut Incident) -> Result<(), BreachError> + Send + Sync,
    ) -> Result<Incident, Failed> {
        for _ in 0..ATTEMPTS {
            let mut incident = self.issuer.store().incident(id).await?.ok_or(Failed::None)?;
            let seen = incident.version;
            change(&mut incident)?;
            let by = (self.actor, self.issuer.policy().number());
            let entry = incident.entry(what, reason, by, self.now);
            if self.issuer.store().change_incident(seen, &incident, &entry).await? {
                return Ok(incident);
            }
        }
        Err(Failed::Busy)
    }

    /// Exports the report about an incident, with proofs.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    pub async fn export(
        &self,
        id: &str,
        request: ExportRequest,
        entropy: &mut (impl Entropy + Send),
    ) -> Result<Export, Failed> {
        let (report, digest) = self.record_export(id).await?;
        let binding = self.find(&digest).await?;
        let log = self.logged(binding, entropy).await?;
        let url = format!("{}/{}", self.config.status.base_uri, log.path);
        let older = request.older.into_iter().take(MAX_OLDER).collect();
        let parts =
            Parts { log: &log, url, report: &report, binding, private: request.private, older };
        Ok(make(self.issuer.store().as_ref(), parts).await?)
    }

    /// Makes a report, and records that it is exported. If the incident is changed meanwhile, it is made again.
    async fn record_export(&self, id: &str) -> Result<(Report, String), Failed> {
        let store = self.issuer.store();
        for _ in 0..ATTEMPTS {
            let mut incident = store.incident(id).await?.ok_or(Failed::None)?;
            let report = self.draft(&incident).await?;
            let open = u64::try_from(report.open().count()).unwrap_or(u64::MAX);
            // A structure of texts and numbers can be written.
            let digest = digest(&serde_json::to_value(&report).unwrap_or_default());
            let seen = incident.version;
            incident.exported(Phase { at_ms: self.now.0, digest: digest.clone(), open })?;
            let by = (self.actor, self.issuer.policy().number());
            let entry = incident.entry(IncidentChange::Exported, "", by, self.now);
            if store.change_incident(seen, &incident, &entry).await? {
                return Ok((report, digest));
            }
        }
        Err(Failed::Busy)
    }

    /// The position of the entry that holds the digest, which was recorded just now.
    async fn find(&self, digest: &str) -> Result<u64, Failed> {
        let is_it = |entry: &AuditEntry| matches!(&entry.act, Act::IncidentChanged { digest: Some(own), .. } if own == digest);
        let mut page = Page::first(true, NEWEST);
        loop {
            let entries = self.issuer.store().audit(0, page).await?;
            if let Some((position, _)) = entries.iter().find(|(_, entry)| is_it(entry)) {
                return Ok(*position);
            }
            let Some((last, _)) = entries.last() else { return Err(ProveError::NotLogged.into()) };
            page.before = *last;
        }
    }

    /// The log, once it has the entry at a position.
    async fn logged(
        &self,
        position: u64,
        entropy: &mut (impl Entropy + Send),
    ) -> Result<StoredLog, Failed> {
        let mut sequencer = Sequencer::new(Arc::clone(self.issuer));
        loop {
            let extended = sequencer.extend(entropy).await?;
            match self.issuer.store().log().await? {
                Some(log) if log.size >= position => return Ok(log),
                // Another process may have extended it at the same time.
                _ if extended.size < position || extended.is_more => {}
                _ => return Err(ProveError::NotLogged.into()),
            }
        }
    }
}
