//! RFC 6962 §2.1 as written: recursive, over all leaves.

use edgepass_log::hash::{EMPTY_ROOT, node_hash};
use edgepass_log::{Hash, TreeHead, leaf_hash};

/// The hashes of `count` different leaves.
pub(crate) fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

/// The root hash of the tree over these leaves.
pub(crate) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = split(leaves);
            node_hash(&root(left), &root(right))
        }
    }
}

/// The head of the tree over these leaves.
pub(crate) fn tree(leaves: &[Hash]) -> TreeHead {
    TreeHead { size: leaves.len() as u64, root: root(leaves) }
}

/// The proof that `leaves[index]` is in the tree.
pub(crate) fn inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = split(leaves);
    let (mut proof, other) = if index < left.len() {
        (inclusion(index, left), right)
    } else {
        (inclusion(index - left.len(), right), left)
    };
    proof.push(root(other));
    proof
}

/// The proof that the tree begins with its first `old` leaves.
pub(crate) fn consistency(old: usize, leaves: &[Hash]) -> Vec<Hash> {
    subproof(old, leaves, true)
}

fn subproof(old: usize, leaves: &[Hash], is_known: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if is_known { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = split(leaves);
    let (mut proof, other) = if old <= left.len() {
        (subproof(old, left, is_known), right)
    } else {
        (subproof(old - left.len(), right, false), left)
    };
    proof.push(root(other));
    proof
}

/// Splits at the largest power of two below the number of leaves.
fn split(leaves: &[Hash]) -> (&[Hash], &[Hash]) {
    leaves.split_at(leaves.len().next_power_of_two() / 2)
}
