//! What is scanned: files and folders, streams, archives, reports of other scanners.

use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use edgepass_leaks::{Candidate, Scanner};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::found::Place;

/// Octets that are read at once.
const PART: usize = 1 << 20;
/// Archives within archives that are opened.
const MAX_DEPTH: u32 = 3;
/// Most octets that one archive within an archive may have, since it is held.
const MAX_HELD: u64 = 256 << 20;
/// Most octets that all entries of an archive may have.
const MAX_INFLATED: u64 = 16 << 30;

/// Takes a candidate and its place.
pub(super) type Sink<'s> = &'s mut dyn FnMut(Candidate, Place);

/// Scans a stream.
pub(super) fn stream(
    mut from: impl Read,
    place: &Place,
    scanner: &mut Scanner,
    sink: Sink<'_>,
) -> anyhow::Result<u64> {
    let mut part = vec![0; PART];
    let mut read = 0_u64;
    let mut give = |found: Candidate| {
        let line = found.line;
        sink(found, Place { line, ..place.clone() });
    };
    loop {
        let count =
            from.read(&mut part).with_context(|| format!("{} cannot be read", place.file))?;
        read = read.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        match part.get(..count) {
            None | Some([]) => break,
            Some(octets) => scanner.part(octets, &mut give),
        }
    }
    scanner.end(&mut give);
    Ok(read)
}

/// The files of a path, in order, without those of `.git` and without following links.
pub(super) fn files(path: &Path, missed: &mut Vec<String>) -> anyhow::Result<Vec<PathBuf>> {
    let about = std::fs::symlink_metadata(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    if about.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut files, mut folders) = (Vec::new(), vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                missed.push(format!("{} cannot be read: {error}", folder.display()));
                continue;
            }
        };
        for entry in entries {
            let found = entry.and_then(|entry| Ok((entry.file_type()?, entry)));
            let (kind, entry) = match found {
                Ok(found) => found,
                Err(error) => {
                    missed.push(format!("an entry of {}: {error}", folder.display()));
                    continue;
                }
            };
            if kind.is_file() {
                files.push(entry.path());
            } else if kind.is_dir() && entry.file_name() != ".git" {
                folders.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What a file is, by its first octets.
enum Form {
    Gzip,
    Zip,
    Tar,
    Other,
}

fn form(start: &[u8]) -> Form {
    match start {
        [0x1f, 0x8b, ..] => Form::Gzip,
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Form::Zip,
        _ if start.get(257..262) == Some(b"ustar") => Form::Tar,
        _ => Form::Other,
    }
}

/// What a stream is, and the whole of it.
fn looked_at(mut from: impl Read) -> std::io::Result<(Form, impl Read)> {
    let mut start = Vec::new();
    (&mut from).take(512).read_to_end(&mut start)?;
    Ok((form(&start), Cursor::new(start).chain(from)))
}

/// Scans a file; an archive with what is in it.
pub(super) fn file(
    path: &Path,
    place: &Place,
    scanner: &mut Scanner,
    sink: Sink<'_>,
) -> anyhow::Result<u64> {
    let mut from =
        File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let (form, _) = looked_at(&mut from)?;
    from.rewind()?;
    let mut left = MAX_INFLATED;
    if let Form::Other = form {
        return stream(from, place, scanner, sink);
    }
    let read = archive(from, place, MAX_DEPTH, &mut left, scanner, sink);
    if read.is_err() {
        scanner.end(|_| {});
        // What is not compressed is found in the octets of the archive.
        let whole = File::open(path)?;
        stream(whole, place, scanner, sink)?;
    }
    read.with_context(|| format!("{}: the archive cannot be read to its end", path.display()))
}

/// Scans an archive, or anything else.
fn archive<R: Read + Seek>(
    mut from: R,
    place: &Place,
    depth: u32,
    left: &mut u64,
    scanner: &mut Scanner,
    sink: Sink<'_>,
) -> anyhow::Result<u64> {
    if depth == 0 {
        return stream(from, place, scanner, sink);
    }
    let (form, _) = looked_at(&mut from)?;
    from.rewind()?;
    match form {
        Form::Other => stream(from, place, scanner, sink),
        Form::Gzip => {
            let unzipped = MultiGzDecoder::new(std::io::BufReader::new(from)).take(*left);
            let (form, whole) = looked_at(unzipped)?;
            match form {
                Form::Tar => tar(whole, place, depth, left, scanner, sink),
                _ => stream(whole, place, scanner, sink),
            }
        }
        Form::Tar => tar(from, place, depth, left, scanner, sink),
        Form::Zip => {
            let mut zip = zip::ZipArchive::new(from)?;
            let (mut read, mut failed) = (0_u64, None);
            for at in 0..zip.len() {
                let entry = zip.by_index(at).map_err(anyhow::Error::from).and_then(|entry| {
                    let name = entry.name().map(|name| name.into_owned()).unwrap_or_default();
                    held(entry, &within(place, &name), depth, left, scanner, sink)
                });
                match entry {
                    Ok(octets) => read = read.saturating_add(octets),
                    // An entry with a password, for example: the others are scanned.
                    Err(error) => {
                        scanner.end(|_| {});
                        failed = failed.or(Some(error));
                    }
                }
            }
            failed.map_or(Ok(read), Err)
        }
    }
}

fn tar(
    from: impl Read,
    place: &Place,
    depth: u32,
    left: &mut u64,
    scanner: &mut Scanner,
    sink: Sink<'_>,
) -> anyhow::Result<u64> {
    let mut read = 0_u64;
    for entry in tar::Archive::new(from).entries()? {
        let entry = entry?;
        let inner = within(place, &entry.path()?.to_string_lossy());
        read = read.saturating_add(held(entry, &inner, depth, left, scanner, sink)?);
    }
    Ok(read)
}

/// Scans an entry of an archive, which may be an archive itself.
fn held(
    entry: impl Read,
    place: &Place,
    depth: u32,
    left: &mut u64,
    scanner: &mut Scanner,
    sink: Sink<'_>,
) -> anyhow::Result<u64> {
    let (form, rest) = looked_at(entry)?;
    let read = match form {
        Form::Other => stream(rest.take(*left), place, scanner, sink)?,
        _ => {
            let mut whole = Vec::new();
            rest.take(MAX_HELD.min(*left)).read_to_end(&mut whole)?;
            archive(Cursor::new(whole), place, depth.saturating_sub(1), left, scanner, sink)?
        }
    };
    *left = left.saturating_sub(read);
    anyhow::ensure!(*left > 0, "it has more than {} GiB", MAX_INFLATED >> 30);
    Ok(read)
}

fn within(place: &Place, name: &str) -> Place {
    Place {
        author: place.author.clone(),
        ..Place::new(&format!("{}!{name}", place.file), place.commit.clone())
    }
}

/// Scans the texts of a report by gitleaks, TruffleHog or kingfisher, in JSON: one value, or one a line.
pub(super) fn report(
    text: &str,
    name: &str,
    scanner: &mut Scanner,
    sink: Sink<'_>,
) -> anyhow::Result<()> {
    let text = text.trim_start_matches('\u{feff}');
    // A scanner that found nothing writes an empty array; one that crashed, an empty file.
    if text.trim().is_empty() {
        bail!("{name} is empty: the scanner has written no report");
    }
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    for value in values {
        let value = value.with_context(|| format!("{name} is no report in JSON"))?;
        texts(&value, &Place { file: name.to_owned(), ..Place::default() }, scanner, sink);
    }
    Ok(())
}

/// Scans every text of a value. The members of an object around it say where it was found.
fn texts(value: &Value, place: &Place, scanner: &mut Scanner, sink: Sink<'_>) {
    match value {
        Value::String(text) => {
            let mut give = |found: Candidate| sink(found, place.clone());
            scanner.part(text.as_bytes(), &mut give);
            scanner.end(&mut give);
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, place, scanner, sink)),
        Value::Object(members) => {
            let place = described(value, place);
            members.values().for_each(|member| texts(member, &place, scanner, sink));
        }
        _ => {}
    }
}

/// The place that an object tells, at any depth: reports have it beside what was found.
fn described(value: &Value, outer: &Place) -> Place {
    let text = |names: &[&str]| {
        let found = names.iter().find_map(|name| sought(value, name, 4));
        found.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let line = ["StartLine", "line", "line_start"].iter().find_map(|name| sought(value, name, 4));
    let file = text(&["File", "file", "path"]).unwrap_or_else(|| outer.file.clone());
    let commit = text(&["Commit", "commit"]).or_else(|| outer.commit.clone());
    let line = line.and_then(|line| line.as_u64().or_else(|| line.as_str()?.parse().ok()));
    Place {
        line: line.unwrap_or(outer.line),
        author: outer.author.clone(),
        ..Place::new(&file, commit)
    }
}

fn sought<'v>(value: &'v Value, name: &str, depth: u32) -> Option<&'v Value> {
    let members = value.as_object()?;
    if let Some(found) = members.get(name).filter(|found| !found.is_object() && !found.is_array()) {
        return Some(found);
    }
    let depth = depth.checked_sub(1)?;
    members.values().find_map(|member| sought(member, name, depth))
}
