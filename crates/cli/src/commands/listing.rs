//! What `edgepass tokens` and `edgepass audit` share: which records, how many, and the newest as they
//! come.

use std::time::Duration;

use anyhow::{Context, bail};
use chrono::DateTime;
use edgepass_issuer::storage::Page;
use edgepass_verify::policy::duration::DurationText;

use crate::exit::Failure;
use crate::host;

#[derive(clap::Args)]
pub(super) struct Window {
    /// Only what happened since this time, such as 2026-11-22T10:00:00Z, or in this time until now,
    /// such as 1h or 7d.
    #[arg(long, value_name = "TIME|DURATION")]
    since: Option<String>,
    /// Only the newest records, at most this many.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print the newest 10 records, or as many as --limit says, oldest first; then each new one as it
    /// is recorded, until interrupted.
    #[arg(long)]
    pub(super) follow: bool,
}

/// Number of records that one query reads.
pub(super) const PAGE: u32 = 1000;
/// Time between two looks for new records.
const EVERY: Duration = Duration::from_millis(250);

fn is_away(error: &anyhow::Error) -> bool {
    error.root_cause().downcast_ref::<Failure>() == Some(&Failure::Unavailable)
}

impl Window {
    /// The time of `--since` in milliseconds since the epoch; 0 without it.
    pub(super) fn since_ms(&self) -> anyhow::Result<u64> {
        let Some(since) = &self.since else { return Ok(0) };
        if let Ok(time) = DateTime::parse_from_rfc3339(since) {
            let millis = u64::try_from(time.timestamp_millis());
            return millis.context("--since must be 1970 or later");
        }
        let Ok(DurationText(ago)) = DurationText::parse(since) else {
            bail!(
                "--since {since:?}: write a time such as 2026-11-22T10:00:00Z, or a duration such as 1h"
            );
        };
        Ok(host::now().minus(ago).0)
    }

    /// Calls `print` with the wanted records, some at a time, until it returns `false`. `read` reads
    /// a page of records with their positions, and `keep` says which of them count. `newest` is the
    /// position of the newest record, fitting or not: what comes next is read from there, so that
    /// nothing is searched twice.
    pub(super) async fn list<T>(
        &self,
        newest_first: bool,
        read: impl AsyncFn(Page) -> anyhow::Result<Vec<(u64, T)>>,
        newest: impl AsyncFn() -> anyhow::Result<u64>,
        keep: impl Fn(&T) -> bool,
        mut print: impl FnMut(Vec<T>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let limit = self.limit.or_else(|| self.follow.then_some(10));
        // The newest are found from the end, in whatever order they are printed.
        let backwards = newest_first || limit.is_some();
        let turned = backwards && (self.follow || !newest_first);
        let mut page = Page::first(backwards, PAGE);
        let mut last = newest().await?;
        let mut kept = Vec::new();
        let mut left = limit.unwrap_or(u64::MAX);
        while left > 0 {
            let records = read(page).await?;
            let read = records.len();
            for (seq, record) in records {
                last = last.max(seq);
                if backwards {
                    page.before = seq
                } else {
                    page.after = seq
                }
                if left > 0 && keep(&record) {
                    left = left.saturating_sub(1);
                    kept.push(record);
                }
            }
            if !turned && !kept.is_empty() && !print(std::mem::take(&mut kept))? {
                return Ok(());
            }
            if read < PAGE as usize {
                break;
            }
        }
        kept.reverse();
        if !kept.is_empty() && !print(kept)? {
            return Ok(());
        }
        if !self.follow {
            return Ok(());
        }
        loop {
            tokio::time::sleep(EVERY).await;
            let newest = match newest().await {
                // A server that restarts is back soon.
                Err(error) if is_away(&error) => continue,
                newest => newest?,
            };
            if newest <= last {
                continue;
            }
            let records = read(Page { after: last, ..Page::first(false, PAGE) }).await?;
            let is_all = records.len() < PAGE as usize;
            let read_to = records.last().map_or(last, |(seq, _)| *seq);
            last = if is_all { newest.max(read_to) } else { read_to };
            let new: Vec<T> = records.into_iter().map(|(_, record)| record).filter(&keep).collect();
            if !new.is_empty() && !print(new)? {
                return Ok(());
            }
        }
    }
}
