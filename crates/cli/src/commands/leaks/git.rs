//! The history of a git repository: every version of every file that a ref leads to, and the other objects.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Context;
use edgepass_leaks::{Candidate, Scanner};
use gix::ObjectId;
use gix::objs::Kind;
use sha2::{Digest, Sha256};

use super::found::Place;
use super::sources::Sink;

/// The largest object that is held, in octets.
const MAX_OBJECT: u64 = 512 << 20;
/// Most folders within folders.
const MAX_DEPTH: u32 = 512;

/// Scans a repository. With `since`, in seconds, only what later commits brought. Returns the number of octets.
pub(super) fn scan(
    path: &Path,
    since: Option<u64>,
    missed: &mut Vec<String>,
    scanner: &mut Scanner,
    sink: Sink<'_>,
) -> anyhow::Result<u64> {
    let shown = path.display();
    // As git does: the repository may begin above the folder.
    let repository =
        gix::discover(path).with_context(|| format!("{shown} is in no git repository"))?;
    if repository.is_shallow()? {
        missed.push(format!("{shown} is a shallow clone: its older history is not there"));
    }
    let mut history = History {
        repository: &repository,
        seen: HashSet::new(),
        read: 0,
        is_scanned: true,
        missed,
    };
    let mut commits = history.commits().with_context(|| format!("{shown}: its history"))?;
    // The oldest first: the commit that brought a text is named.
    commits.sort_unstable();
    for (time, id) in commits {
        history.is_scanned = since.is_none_or(|since| time >= since);
        if let Err(error) = history.commit(id, scanner, sink) {
            history.missed.push(format!("commit {id}: {error}"));
        }
    }
    if since.is_none() {
        history.others(scanner, sink)?;
    }
    Ok(history.read)
}

struct History<'r> {
    repository: &'r gix::Repository,
    /// What could not be scanned.
    missed: &'r mut Vec<String>,
    /// Trees and blobs that were looked at.
    seen: HashSet<ObjectId>,
    read: u64,
    /// Whether what is looked at is scanned: not what older commits brought.
    is_scanned: bool,
}

impl History<'_> {
    /// All commits that a ref leads to, each with its time in seconds.
    fn commits(&mut self) -> anyhow::Result<Vec<(u64, ObjectId)>> {
        let mut waiting: Vec<ObjectId> = Vec::new();
        for reference in self.repository.references()?.all()? {
            // A ref may point to an object that is missing: the rest is scanned.
            if let Ok(mut reference) = reference
                && let Ok(id) = reference.peel_to_id()
            {
                waiting.push(id.detach());
            }
        }
        if let Ok(head) = self.repository.head_id() {
            waiting.push(head.detach());
        }
        let (mut known, mut commits) = (HashSet::new(), Vec::new());
        while let Some(id) = waiting.pop() {
            if !known.insert(id) {
                continue;
            }
            let Ok(object) = self.repository.find_object(id) else {
                self.missed.push(format!("commit {id} is missing"));
                continue;
            };
            let Ok(commit) = object.try_into_commit() else { continue };
            let time = commit.time().map_or(0, |time| time.seconds);
            waiting.extend(commit.parent_ids().map(gix::Id::detach));
            commits.push((u64::try_from(time).unwrap_or_default(), id));
        }
        Ok(commits)
    }

    /// Scans what a commit has that no earlier one had. Its message as well.
    fn commit(
        &mut self,
        id: ObjectId,
        scanner: &mut Scanner,
        sink: Sink<'_>,
    ) -> anyhow::Result<()> {
        self.seen.insert(id);
        let commit = self.repository.find_object(id)?.try_into_commit()?;
        let author = commit.author().ok().map(|author| {
            let digest = Sha256::digest(author.email.to_ascii_lowercase());
            digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
        });
        let place = Place { commit: Some(id.to_string()), author, ..Place::default() };
        let message = Place { file: "(message of the commit)".to_owned(), ..place.clone() };
        let text = commit.message_raw()?.to_vec();
        self.text(&text, &message, scanner, sink);
        let tree = commit.tree_id()?;
        self.tree(tree.detach(), "", &place, MAX_DEPTH, scanner, sink);
        Ok(())
    }

    fn tree(
        &mut self,
        id: ObjectId,
        folder: &str,
        place: &Place,
        depth: u32,
        scanner: &mut Scanner,
        sink: Sink<'_>,
    ) {
        let Some(depth) = depth.checked_sub(1) else {
            self.missed.push(format!("tree {id} is {MAX_DEPTH} folders deep"));
            return;
        };
        if !self.seen.insert(id) {
            return;
        }
        let tree = self.repository.find_object(id).ok().and_then(|tree| tree.try_into_tree().ok());
        let Some(tree) = tree else {
            self.missed.push(format!("tree {id} cannot be read"));
            return;
        };
        for entry in tree.iter() {
            let Ok(entry) = entry else {
                self.missed.push(format!("tree {id} cannot be read to its end"));
                return;
            };
            let name = entry.filename().to_string();
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let (mode, id) = (entry.mode(), entry.object_id());
            if mode.is_tree() {
                self.tree(id, &path, place, depth, scanner, sink);
            } else if mode.is_blob() && self.seen.insert(id) && self.is_scanned {
                if !self.fits(id) {
                    continue;
                }
                let Ok(blob) = self.repository.find_object(id) else {
                    self.missed.push(format!("object {id} cannot be read"));
                    continue;
                };
                let named = Place::new(&path, place.commit.clone());
                let place = Place { author: place.author.clone(), ..named };
                self.text(&blob.data, &place, scanner, sink);
            }
        }
    }

    /// Scans the blobs that no commit of a ref has.
    fn others(&mut self, scanner: &mut Scanner, sink: Sink<'_>) -> anyhow::Result<()> {
        for id in self.repository.objects.iter()? {
            let Ok(id) = id else {
                self.missed.push("an object that no ref leads to cannot be listed".to_owned());
                continue;
            };
            if self.seen.contains(&id) || !self.fits(id) {
                continue;
            }
            let Ok(object) = self.repository.find_object(id) else {
                self.missed.push(format!("object {id} cannot be read"));
                continue;
            };
            // The messages of tags, and of commits that no ref leads to, as well.
            if object.kind != Kind::Tree {
                let place = Place::new(&format!("(object {id})"), None);
                self.text(&object.data, &place, scanner, sink);
            }
        }
        Ok(())
    }

    /// Whether an object is small enough to be held.
    fn fits(&mut self, id: ObjectId) -> bool {
        let size = self.repository.find_header(id).map_or(0, |header| header.size());
        let fits = size <= MAX_OBJECT;
        if !fits {
            self.missed.push(format!("object {id} has {} MB and was left out", size / 1_000_000));
        }
        fits
    }

    fn text(&mut self, text: &[u8], place: &Place, scanner: &mut Scanner, sink: Sink<'_>) {
        if !self.is_scanned {
            return;
        }
        self.read = self.read.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        let mut give = |found: Candidate| {
            let line = found.line;
            sink(found, Place { line, ..place.clone() });
        };
        scanner.part(text, &mut give);
        scanner.end(&mut give);
    }
}
