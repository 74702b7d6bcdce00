//! The vectors of other projects; see `tests/third-party` for their source.

use std::fs;
use std::path::{Path, PathBuf};

use edgepass_log::hash::EMPTY_ROOT;
use edgepass_log::proof::{check_consistency, check_inclusion};
use edgepass_log::{Frontier, Hash, Note, TileId, TreeHead, VerifierKey, leaf_hash};
use serde_json::Value;

use crate::plain;

/// Why a row is judged differently.
const LENGTH: &str = "the equal root hashes have 12 octets; a hash of this crate has 32";
const EMPTY: &str = "a subtree without leaves; this crate proves nothing about such a tree";

/// Rows that are judged differently. All of them are refused, although their label accepts them.
const DEVIATIONS: [(&str, &str); 8] = [
    ("consistency/additional/sizes-are-equal-one-and-proof-is-empty", LENGTH),
    ("subtreeconsistency/additional/sizes-are-equal-one-and-proof-is-empty", LENGTH),
    (
        "subtreeconsistency/additional/\
         subtree-is-empty-sizes-are-equal-one-subtree-root-valid-proof-is-empty",
        EMPTY,
    ),
    (
        "subtreeconsistency/additional/\
         subtree-is-empty-sizes-are-equal-one-subtree-root-valid-tree-root-random-proof-is-empty",
        EMPTY,
    ),
    (
        "subtreeconsistency/additional/\
         subtree-is-empty-sizes-are-equal-zero-subtree-root-valid-proof-is-empty",
        EMPTY,
    ),
    (
        "subtreeconsistency/additional/\
         subtree-is-empty-sizes-are-equal-zero-subtree-root-valid-tree-root-random-proof-is-empty",
        EMPTY,
    ),
    ("subtreeconsistency/additional/subtree-is-empty-subtree-root-valid-proof-is-empty", EMPTY),
    (
        "subtreeconsistency/additional/\
         subtree-is-empty-subtree-root-valid-tree-root-random-proof-is-empty",
        EMPTY,
    ),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/third-party/tlog")
}

/// All files below a folder, in no order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Decodes base64. The vectors contain no non-canonical text.
fn octets(text: &Value) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap()
}

/// A hash. `None`: it has another length, which the types of this crate cannot hold.
fn hash(text: &Value) -> Option<Hash> {
    octets(text).try_into().ok()
}

fn proof(row: &Value) -> Option<Vec<Hash>> {
    row["proof"].as_array().map_or(Some(Vec::new()), |list| list.iter().map(hash).collect())
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap()
}

/// Whether a row is accepted.
fn judge(kind: &str, row: &Value) -> Option<bool> {
    match kind {
        "inclusion" => {
            let tree = TreeHead { size: number(row, "treeSize"), root: hash(&row["root"])? };
            let leaf = hash(&row["leafHash"])?;
            Some(check_inclusion(&proof(row)?, number(row, "leafIdx"), &leaf, tree).is_ok())
        }
        "consistency" => {
            let old = TreeHead { size: number(row, "size1"), root: hash(&row["root1"])? };
            let new = TreeHead { size: number(row, "size2"), root: hash(&row["root2"])? };
            Some(check_consistency(&proof(row)?, old, new).is_ok())
        }
        // A subtree is a tree of its own.
        "subtreeinclusion" => {
            let (start, end) = (number(row, "start"), number(row, "end"));
            let index = number(row, "leafIdx");
            if height(start, end).is_none() || index < start {
                return Some(false);
            }
            let tree = TreeHead { size: end - start, root: hash(&row["root"])? };
            let leaf = hash(&row["leafHash"])?;
            Some(check_inclusion(&proof(row)?, index - start, &leaf, tree).is_ok())
        }
        "subtreeconsistency" => {
            let (start, end) = (number(row, "start"), number(row, "end"));
            let size = number(row, "size");
            let Some(height) = height(start, end).filter(|_| end <= size) else {
                return Some(false);
            };
            let (root, proof) = (hash(&row["root1"])?, proof(row)?);
            let tree = TreeHead { size, root: hash(&row["root2"])? };
            if start == 0 {
                let old = TreeHead { size: end, root };
                return Some(check_consistency(&proof, old, tree).is_ok());
            }
            // The subtree is a node, and so a leaf of the tree over the nodes of its height.
            assert!((end - start).is_power_of_two() || end == size, "no node: {row}");
            let nodes = TreeHead { size: size.div_ceil(1 << height), ..tree };
            Some(check_inclusion(&proof, start >> height, &root, nodes).is_ok())
        }
        _ => panic!("unknown kind {kind}"),
    }
}

/// The height of the node above the leaves from `start` to `end`, without `end`. `None`: they are no
/// subtree.
fn height(start: u64, end: u64) -> Option<u32> {
    let width = end.checked_sub(start).filter(|count| *count > 0)?.checked_next_power_of_two()?;
    start.is_multiple_of(width).then(|| width.trailing_zeros())
}

#[test]
fn proofs_are_judged_as_labelled() {
    let folder = folder().join("rfc6962_proofs");
    let (mut accepted, mut refused, mut deviating) = (0, 0, Vec::new());
    for file in files(&folder) {
        let row: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let name = file.strip_prefix(&folder).unwrap().with_extension("");
        let name = name.to_str().unwrap().to_owned();
        let verdict = judge(name.split('/').next().unwrap(), &row).unwrap_or(false);
        if verdict == row["wantErr"].as_bool().unwrap() {
            deviating.push(name);
        }
        *(if verdict { &mut accepted } else { &mut refused }) += 1;
    }
    deviating.sort();
    assert_eq!(deviating, DEVIATIONS.map(|(name, _)| name));
    assert_eq!((accepted, refused), (28, 490));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The vectors that are not proofs.
fn others() -> Value {
    let file = fs::read(folder().join("notes_and_hashes.json")).unwrap();
    serde_json::from_slice(&file).unwrap()
}

#[test]
fn notes_are_verified_as_labelled() {
    let others = others();
    let notes = others["signed_notes"].as_array().unwrap();
    for row in notes {
        let key: VerifierKey = text(&row["vkey"]).parse().unwrap();
        assert_eq!(key.to_string(), text(&row["vkey"]));
        let note = format!("{}\n{}\n", text(&row["text"]), text(&row["signature_line"]));
        let read = Note::parse(note.as_bytes()).unwrap();
        assert_eq!(read.verified_by(&key).is_ok(), row["verified"].as_bool().unwrap());
        assert_eq!(read.to_string(), note);
    }
    assert_eq!(notes.len(), 2);
}

#[test]
fn hashes_are_those_of_the_vectors() {
    let others = others();
    let rows = others["rfc6962_hashes"]["vectors"].as_array().unwrap();
    // The fourth is of a node whose children have four octets. No tree has such a node.
    assert_eq!(rows.len(), 4);
    for (row, hash) in rows.iter().zip([EMPTY_ROOT, leaf_hash(b""), leaf_hash(b"L123456")]) {
        let digits: String = hash.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(digits, text(&row["hex"]), "{row}");
    }
}

#[test]
fn tiles_are_those_of_the_vectors() {
    let others = others();
    for row in others["tile_paths"]["vectors"].as_array().unwrap() {
        let tile = TileId::new(0, number(row, "index"), 256).unwrap();
        assert_eq!(tile.to_string(), format!("tile/0/{}", text(&row["path"])));
    }
    for (name, size) in [("tree_size_70000", 70_000), ("tree_size_256", 256)] {
        let expected = others["tile_paths"][name].as_object().unwrap();
        let mut frontier = Frontier::new();
        frontier.extend(plain::leaves(size));
        let tiles: Vec<_> = frontier.take_changed().iter().map(|tile| tile.id).collect();
        for (name, count) in expected {
            let level = name.bytes().find(u8::is_ascii_digit).unwrap() - b'0';
            let mut of_level = tiles.iter().filter(|id| id.level() == level);
            let own = if name.starts_with("full_") {
                of_level.filter(|id| id.is_full()).count() as u64
            } else {
                of_level.find(|id| !id.is_full()).unwrap().width().into()
            };
            assert_eq!(Some(own), count.as_u64(), "{name} of {size}");
        }
    }
}
