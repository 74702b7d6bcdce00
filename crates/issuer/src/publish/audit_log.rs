//! Writes the log of the audit trail to a target: tiles first, then the checkpoint that covers them.

use edgepass_log::{Checkpoint, Note, TileId};
use edgepass_verify::UnixMillis;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::document::Document;
use super::edition::BadEdition;
use super::error::PublishError;
use super::target_state::TargetState;
use super::{AT_ONCE, Publisher};
use crate::log::prove::continues;
use crate::log::stored::StoredLog;
use crate::log::{CHECKPOINT, LogError, sequencer};
use crate::storage::Store;

impl<S: Store> Publisher<S> {
    /// Writes what a target, counted from 0, lacks of the log. Call it from one task only for each
    /// target. A [shared](super::target::Target::is_shared) target gets nothing: the processes that
    /// share it read the log from the database.
    ///
    /// # Errors
    ///
    /// [`PublishError`]. The next call goes on.
    pub async fn update_log(&self, target: usize, now: UnixMillis) -> Result<(), PublishError> {
        let target = self.targets.get(target).filter(|target| !target.is_shared());
        let Some(target) = target else { return Ok(()) };
        self.check_target(target, now).await?;
        let Some(log) = self.store().log().await?.filter(|log| log.size > 0) else { return Ok(()) };
        let updated = self.write_log(target, &log, now).await;
        if let Err(PublishError::Check(bad)) = &updated {
            self.stop(target, bad);
        }
        updated
    }

    async fn write_log(
        &self,
        target: &TargetState,
        log: &StoredLog,
        now: UnixMillis,
    ) -> Result<(), PublishError> {
        let held = match target.log_size(&log.origin, now) {
            Some(size) => size,
            None => self.held_size(target, log, now).await?,
        };
        if held >= log.size {
            return Ok(());
        }
        let tiles = grown_tiles(held, log.size);
        for some in tiles.chunks(TILES) {
            let tiles = self.store().log_tiles(some).await?;
            let documents = tiles.into_iter().map(|tile| {
                let path = format!("{}/{}", log.path, tile.id);
                Document::of_octets(path, "application/octet-stream", tile.hashes.into()).lasting()
            });
            let put = |document: Document| async move { target.put_new(&document).await };
            stream::iter(documents).map(put).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
        let path = format!("{}/{CHECKPOINT}", log.path);
        let checkpoint = Document::new(path, "text/plain; charset=utf-8", log.checkpoint.clone());
        target.put(&checkpoint, |_| Ok(())).await?;
        let partial = TileId::edges(log.size).unwrap_or_default();
        for tile in target.has_log(&log.origin, log.size, partial) {
            target.remove(&format!("{}/{tile}", log.path)).await?;
        }
        Ok(())
    }

    /// Checks that the log of this database continues the one that the target holds.
    pub(super) async fn check_log(
        &self,
        target: &TargetState,
        now: UnixMillis,
    ) -> Result<(), PublishError> {
        if target.is_shared() {
            return Ok(());
        }
        if let Some(log) = self.store().log().await? {
            return self.held_size(target, &log, now).await.map(drop);
        }
        // A log that was begun is lost only with what else this database held.
        let path = sequencer::path(self.store()).await?;
        match target.read(&format!("{path}/{CHECKPOINT}")).await? {
            Some(_) => Err(BadEdition::OtherLog.into()),
            None => Ok(()),
        }
    }

    /// The size of the log that the target holds, after a check that this database's log continues it.
    async fn held_size(
        &self,
        target: &TargetState,
        log: &StoredLog,
        now: UnixMillis,
    ) -> Result<u64, PublishError> {
        let held = target.read(&format!("{}/{CHECKPOINT}", log.path)).await?;
        let size = match held.and_then(|held| Note::parse(&held).ok()) {
            // What is no signed note at all is written over.
            None => 0,
            Some(held) => {
                let key = log.key().map_err(LogError::from)?;
                let held = Checkpoint::of_note(&held, &key, &log.origin);
                // Signed by another key: the log of this database was made anew.
                let held = held.map_err(|_| BadEdition::OtherLog)?;
                if !continues(self.store(), log, held.tree()).await? {
                    return Err(BadEdition::OtherLog.into());
                }
                held.tree().size
            }
        };
        target.saw_log(&log.origin, size, now);
        Ok(size)
    }
}

/// Tiles that are read at once: 2 MiB.
const TILES: usize = 256;

/// The tiles of a log of `size` entries that one of `held` entries lacks, in the widths that they have.
fn grown_tiles(held: u64, size: u64) -> Vec<TileId> {
    let mut tiles = Vec::new();
    let (mut before, mut now) = (held, size);
    for level in 0_u8.. {
        if now == 0 {
            break;
        }
        let full = (before / 256..now / 256).filter_map(|number| TileId::new(level, number, 256));
        tiles.extend(full);
        if now > before {
            let width = u16::try_from(now % 256).unwrap_or_default();
            tiles.extend(TileId::new(level, now / 256, width));
        }
        (before, now) = (before / 256, now / 256);
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_gets_the_tiles_that_it_lacks() {
        let names = |held, size| -> Vec<String> {
            grown_tiles(held, size).iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(0, 1), ["tile/0/000.p/1"]);
        assert_eq!(names(1, 3), ["tile/0/000.p/3"]);
        assert_eq!(names(255, 256), ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(names(256, 257), ["tile/0/001.p/1"]);
        let grown = ["tile/0/000", "tile/0/001", "tile/0/002.p/1", "tile/1/000.p/2"];
        assert_eq!(names(3, 513), grown);
        assert!(names(513, 513).is_empty());
    }
}
