//! `edgepass audit list`.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use anyhow::Context;
use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::storage::{AuditStore, Page};
use edgepass_server::admin::records::AuditQuery;
use serde_json::Value;

use crate::commands::listing::{PAGE, Window};
use crate::commands::open_store;
use crate::commands::source::Source;
use crate::exit::Exit;
use crate::{output, remote};

#[derive(clap::Args)]
pub(in crate::commands) struct Args {
    /// Only entries about tokens of this role, and acts on them.
    #[arg(long, allow_hyphen_values = true)]
    role: Option<String>,
    /// Only entries about tokens of this client, acts on them, and what the client did itself.
    #[arg(long, allow_hyphen_values = true)]
    client: Option<String>,
    /// Only entries about tokens of this subject, and acts on them.
    #[arg(long, allow_hyphen_values = true)]
    subject: Option<String>,
    /// Only entries that name the token with this `jti`.
    #[arg(long, allow_hyphen_values = true)]
    jti: Option<String>,
    #[command(flatten)]
    window: Window,
}

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let since_ms = args.window.since_ms()?;
    let tokens = RefCell::new(HashSet::new());
    let keep = |entry: &AuditEntry| args.keeps(entry, &tokens);
    let found = Cell::new(false);
    let print = |entries: Vec<AuditEntry>| {
        found.set(true);
        for entry in &entries {
            let text = if json { line_of_json(entry)? } else { text(entry)? };
            if !output::line_if_read(&text)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let last = Page::first(true, 1);
    if let Some(remote) = source.remote()? {
        let read = async |query: AuditQuery| {
            let page = remote.get("audit", &query).await?;
            let one = |(seq, entry)| Ok((seq, serde_json::from_value(entry)?));
            let records = remote::records(&page, "entry")?.into_iter().map(one);
            records
                .collect::<anyhow::Result<Vec<(u64, AuditEntry)>>>()
                .context("the server knows acts that this version does not; update it")
        };
        args.find_tokens(async |page| read(AuditQuery::of(0, page)).await, &tokens).await?;
        let page = async |page| read(AuditQuery::of(since_ms, page)).await;
        let newest = async || {
            let found = read(AuditQuery::of(0, last)).await?;
            anyhow::Ok(found.first().map_or(0, |(seq, _)| *seq))
        };
        args.window.list(false, page, newest, keep, print).await?;
    } else {
        let store = open_store(&source.load()?).await?;
        args.find_tokens(async |page| Ok(store.audit(0, page).await?), &tokens).await?;
        let read = async |page| Ok(store.audit(since_ms, page).await?);
        let newest = async || Ok(store.audit(0, last).await?.first().map_or(0, |(seq, _)| *seq));
        args.window.list(false, read, newest, keep, print).await?;
    }
    if !found.get() {
        output::remark("no entry fits");
    }
    Ok(Exit::Ok)
}

impl Args {
    /// Finds the tokens that the options name: an act on one of them names its `jti` alone.
    async fn find_tokens(
        &self,
        read: impl AsyncFn(Page) -> anyhow::Result<Vec<(u64, AuditEntry)>>,
        tokens: &RefCell<HashSet<String>>,
    ) -> anyhow::Result<()> {
        if [&self.role, &self.client, &self.subject].iter().all(|named| named.is_none()) {
            return Ok(());
        }
        let mut page = Page::first(false, PAGE);
        loop {
            let entries = read(page).await?;
            let Some((last, _)) = entries.last() else { return Ok(()) };
            page.after = *last;
            for (_, entry) in &entries {
                self.keeps(entry, tokens);
            }
            // Reading through a server is an entry, too: to the last one it would go on for ever.
            if entries.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    /// Whether the entry is about what all the given options name, or one of these `tokens`. Adds the token
    /// that it is about.
    fn keeps(&self, entry: &AuditEntry, tokens: &RefCell<HashSet<String>>) -> bool {
        let named = entry.act.names();
        let is_kept = self.fits(entry)
            || (self.jti.is_none()
                && named.jwt_id.is_some_and(|jwt_id| tokens.borrow().contains(jwt_id)));
        if let (true, Some(jwt_id)) = (is_kept, named.jwt_id) {
            tokens.borrow_mut().insert(jwt_id.to_owned());
        }
        is_kept
    }

    fn fits(&self, entry: &AuditEntry) -> bool {
        let is_it = |wanted: &Option<String>, name: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| name == Some(wanted))
        };
        let named = entry.act.names();
        let did_it = self.client.as_ref().is_some_and(|client| {
            entry.actor.strip_prefix("client:").is_some_and(|actor| actor == client)
        });
        is_it(&self.role, named.role)
            && (did_it || is_it(&self.client, named.client_id))
            && is_it(&self.subject, named.subject)
            && is_it(&self.jti, named.jwt_id)
    }
}

fn value(entry: &AuditEntry) -> anyhow::Result<Value> {
    serde_json::to_value(entry).context("an audit entry cannot be written as JSON")
}

fn line_of_json(entry: &AuditEntry) -> anyhow::Result<String> {
    Ok(value(entry)?.to_string())
}

fn text(entry: &AuditEntry) -> anyhow::Result<String> {
    let value = value(entry)?;
    let details = value.as_object().into_iter().flatten();
    let details: Vec<String> = details
        .filter(|(name, _)| !["at_ms", "actor", "act"].contains(&name.as_str()))
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text:?}"),
            other => format!("{name}={other}"),
        })
        .collect();
    let (at, act) = (output::date(entry.at_ms / 1000), entry.act.name());
    // Quoted if it could be taken for more than one word, or turns the writing direction.
    let is_plain =
        entry.actor.chars().all(|char| char.is_alphanumeric() || char.is_ascii_graphic());
    let actor = if is_plain { entry.actor.clone() } else { format!("{:?}", entry.actor) };
    Ok(format!("{at}  {actor}  {act}  {}", details.join(" ")))
}
