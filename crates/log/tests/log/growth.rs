//! Trees that grow: roots, tiles and proofs against the plain implementation.

use std::collections::HashMap;

use edgepass_log::hash::MAX_SIZE;
use edgepass_log::proof::{
    ProofError, check_consistency, check_inclusion, consistency_tiles, inclusion_tiles,
    prove_consistency, prove_inclusion,
};
use edgepass_log::tile::TileError;
use edgepass_log::tree::FrontierError;
use edgepass_log::{Frontier, Hash, Tile, TileId, TreeHead};
use fastrand::Rng;

use crate::plain;

type Tiles = HashMap<TileId, Vec<u8>>;

/// More than two full tiles of leaves.
const SIZE: usize = 600;

fn keep(tiles: &mut Tiles, changed: Vec<Tile>) {
    for Tile { id, hashes } in changed {
        assert_eq!(hashes.len(), id.octets());
        // A tile with one place and width never changes.
        let before = tiles.insert(id, hashes.clone());
        assert!(before.is_none_or(|before| before == hashes), "{id}");
    }
}

/// All tiles of a tree, written at once.
fn tiles(leaves: &[Hash]) -> Tiles {
    let (mut tiles, mut frontier) = (Tiles::new(), Frontier::new());
    frontier.extend(leaves.iter().copied());
    keep(&mut tiles, frontier.take_changed());
    tiles
}

#[test]
fn the_root_is_that_of_the_plain_tree() {
    let leaves = plain::leaves(SIZE as u64);
    let mut frontier = Frontier::new();
    for size in 0..=SIZE {
        assert_eq!(frontier.tree(), plain::tree(&leaves[..size]));
        if let Some(leaf) = leaves.get(size) {
            assert_eq!(frontier.append(*leaf), Ok(size as u64));
        }
    }
}

#[test]
fn a_frontier_continues_from_its_edge_tiles_alone() {
    let leaves = plain::leaves(70_000);
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 600, 65_535, 65_536, 65_537, 69_990] {
        let tiles = tiles(&leaves[..size]);
        let tree = plain::tree(&leaves[..size]);
        let edges = TileId::edges(size as u64).unwrap();
        let edge: Tiles = edges.iter().map(|id| (*id, tiles[id].clone())).collect();
        let mut frontier = Frontier::at(tree, &edge).unwrap();
        assert_eq!(frontier.tree(), tree);
        assert_eq!(frontier.take_changed(), []);
        let more = (size + 300).min(leaves.len());
        frontier.extend(leaves[size..more].iter().copied());
        assert_eq!(frontier.tree(), plain::tree(&leaves[..more]));

        let other = TreeHead { root: [1; 32], ..tree };
        assert_eq!(Frontier::at(other, &edge).err(), Some(FrontierError::Root));
        for id in edges {
            let mut edge = edge.clone();
            edge.get_mut(&id).unwrap()[5] ^= 1;
            assert_eq!(Frontier::at(tree, &edge).err(), Some(FrontierError::Root));
            edge.remove(&id);
            let missing = FrontierError::Tile(TileError::Missing(id));
            assert_eq!(Frontier::at(tree, &edge).err(), Some(missing));
        }
    }
    let large = TreeHead { size: MAX_SIZE + 1, root: [0; 32] };
    assert_eq!(Frontier::at(large, &Tiles::new()).err(), Some(FrontierError::TooLarge));
}

#[test]
fn tiles_of_batches_are_those_of_one_batch() {
    let leaves = plain::leaves(70_000);
    let mut random = Rng::with_seed(1);
    for largest in [3, 300, 3000] {
        let count = if largest == 3 { 2000 } else { leaves.len() };
        let (mut kept, mut frontier, mut rest) = (Tiles::new(), Frontier::new(), &leaves[..count]);
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(random.usize(0..=largest).min(rest.len()));
            frontier.extend(batch.iter().copied());
            let changed = frontier.take_changed();
            assert_eq!(changed.is_empty(), batch.is_empty());
            keep(&mut kept, changed);
            assert_eq!(frontier.take_changed(), []);
            rest = others;
            // The tiles written so far are enough to continue, after a restart as well.
            if random.u8(..) < 20 {
                frontier = Frontier::at(frontier.tree(), &kept).unwrap();
            }
        }
        let at_once = tiles(&leaves[..count]);
        assert!(at_once.iter().all(|(id, hashes)| kept.get(id) == Some(hashes)));
        // The others are partial tiles of smaller sizes.
        assert!(kept.keys().all(|id| !id.is_full() || at_once.contains_key(id)));
    }
}

/// Sizes around the bounds of tiles, and some others.
fn sizes() -> impl Iterator<Item = usize> {
    (1..=40).chain([63, 64, 65, 127, 128, 255, 256, 257, 300, 511, 512, 513, 599, 600])
}

#[test]
fn inclusion_proofs_are_those_of_the_plain_tree() {
    let all = plain::leaves(SIZE as u64 + 1);
    let mut random = Rng::with_seed(2);
    for size in sizes() {
        let leaves = &all[..size];
        let (tiles, tree) = (tiles(leaves), plain::tree(leaves));
        let step = if size > 70 { random.usize(5..20) } else { 1 };
        for index in (0..size).step_by(step).chain([size - 1]) {
            let named = inclusion_tiles(index as u64, tree.size).unwrap();
            let fetched: Tiles = named.iter().map(|id| (*id, tiles[id].clone())).collect();
            let proof = prove_inclusion(index as u64, tree, &fetched).unwrap();
            assert_eq!(proof, plain::inclusion(index, leaves));
            let check = |proof: &[Hash], index: usize, tree: TreeHead| {
                check_inclusion(proof, index as u64, &leaves[index % size], tree)
            };
            assert_eq!(check(&proof, index, tree), Ok(()));
            refuses_other_proofs(&proof, &mut random, |proof| check(proof, index, tree));
            let other = TreeHead { root: [0; 32], ..tree };
            assert_eq!(check(&proof, index, other), Err(ProofError::Invalid));
            // The same proof for a tree of another size.
            for other in [size - 1, size + 1].into_iter().filter(|other| *other > index) {
                let other = plain::tree(&all[..other]);
                assert_eq!(check(&proof, index, other), Err(ProofError::Invalid));
            }
            for other in (0..size).step_by(step).filter(|other| *other != index) {
                let leaf = &leaves[index];
                let moved = check_inclusion(&proof, other as u64, leaf, tree);
                assert_eq!(moved, Err(ProofError::Invalid));
            }
            let beyond = check_inclusion(&proof, tree.size, &leaves[index], tree);
            assert_eq!(beyond, Err(ProofError::Index));
        }
    }
}

#[test]
fn consistency_proofs_are_those_of_the_plain_tree() {
    let all = plain::leaves(SIZE as u64 + 1);
    let mut random = Rng::with_seed(3);
    for size in sizes() {
        let leaves = &all[..size];
        let (tiles, tree) = (tiles(leaves), plain::tree(leaves));
        let step = if size > 70 { random.usize(5..20) } else { 1 };
        for old_size in (1..=size).step_by(step).chain([size]) {
            let old = plain::tree(&leaves[..old_size]);
            let named = consistency_tiles(old.size, tree.size).unwrap();
            let fetched: Tiles = named.iter().map(|id| (*id, tiles[id].clone())).collect();
            let proof = prove_consistency(old.size, tree, &fetched).unwrap();
            assert_eq!(proof, plain::consistency(old_size, leaves));
            assert_eq!(check_consistency(&proof, old, tree), Ok(()));
            refuses_other_proofs(&proof, &mut random, |proof| check_consistency(proof, old, tree));
            for bit in [0, 7, 255] {
                let changed = TreeHead { root: flip(old.root, bit), ..old };
                assert_eq!(check_consistency(&proof, changed, tree), Err(ProofError::Invalid));
                let changed = TreeHead { root: flip(tree.root, bit), ..tree };
                assert_eq!(check_consistency(&proof, old, changed), Err(ProofError::Invalid));
            }
            // The same proof from or to a tree of another size.
            for other in [old_size - 1, old_size + 1] {
                let verdict = check_consistency(&proof, plain::tree(&all[..other]), tree);
                assert!(verdict.is_err());
            }
            for other in [size - 1, size + 1] {
                let verdict = check_consistency(&proof, old, plain::tree(&all[..other]));
                assert!(verdict.is_err());
            }
            let shrunk = check_consistency(&proof, TreeHead { size: tree.size + 1, ..old }, tree);
            assert_eq!(shrunk, Err(ProofError::Shrunk));
        }
        assert_eq!(check_consistency(&[], TreeHead::EMPTY, tree), Err(ProofError::EmptyTree));
        assert_eq!(prove_consistency(0, tree, &tiles), Err(ProofError::EmptyTree));
        assert_eq!(consistency_tiles(0, tree.size), Err(ProofError::EmptyTree));
    }
}

/// Checks that a proof with any other bit, hash or number of hashes is refused.
fn refuses_other_proofs(
    proof: &[Hash],
    random: &mut Rng,
    check: impl Fn(&[Hash]) -> Result<(), ProofError>,
) {
    for at in 0..proof.len() {
        for bit in [0, 255, random.usize(0..256)] {
            let mut changed = proof.to_vec();
            changed[at] = flip(changed[at], bit);
            assert_eq!(check(&changed), Err(ProofError::Invalid));
        }
        assert_eq!(check(&proof[..at]), Err(ProofError::Invalid));
        assert_eq!(check(&proof[at + 1..]), Err(ProofError::Invalid));
    }
    let mut longer = proof.to_vec();
    longer.push([0; 32]);
    assert_eq!(check(&longer), Err(ProofError::Invalid));
    longer.resize(10_000, [0; 32]);
    assert_eq!(check(&longer), Err(ProofError::Invalid));
}

fn flip(mut hash: Hash, bit: usize) -> Hash {
    hash[bit / 8] ^= 1 << (bit % 8);
    hash
}

#[test]
fn false_and_missing_tiles_are_found() {
    let leaves = plain::leaves(70_000);
    let (tiles, tree) = (tiles(&leaves), plain::tree(&leaves));
    let mut random = Rng::with_seed(4);
    for _ in 0..20 {
        let index = random.u64(0..tree.size);
        let named = inclusion_tiles(index, tree.size).unwrap();
        compare_false_tiles(&tiles, &named, &mut random, |tiles| {
            prove_inclusion(index, tree, tiles)
        });
        let old_size = random.u64(1..tree.size);
        let named = consistency_tiles(old_size, tree.size).unwrap();
        compare_false_tiles(&tiles, &named, &mut random, |tiles| {
            prove_consistency(old_size, tree, tiles)
        });
    }
}

/// Changes and removes each named tile. The proof is then refused, or the same as from the true
/// tiles, where it does not use the hash that changed.
fn compare_false_tiles(
    tiles: &Tiles,
    named: &[TileId],
    random: &mut Rng,
    prove: impl Fn(&Tiles) -> Result<Vec<Hash>, ProofError>,
) {
    let mut tiles: Tiles = named.iter().map(|id| (*id, tiles[id].clone())).collect();
    let proof = prove(&tiles);
    assert!(proof.is_ok());
    let mut refused = 0;
    for id in named {
        let hashes = tiles[id].clone();
        for _ in 0..10 {
            let at = random.usize(0..id.octets());
            tiles.get_mut(id).unwrap()[at] ^= 1 << random.u8(0..8);
            let by_false = prove(&tiles);
            refused += usize::from(by_false == Err(ProofError::TilesDiffer));
            assert!(by_false == Err(ProofError::TilesDiffer) || by_false == proof, "{id}");
            tiles.insert(*id, hashes.clone());
        }
        tiles.get_mut(id).unwrap().pop();
        assert_eq!(prove(&tiles), Err(ProofError::Tile(TileError::Length(*id))));
        tiles.remove(id);
        assert_eq!(prove(&tiles), Err(ProofError::Tile(TileError::Missing(*id))));
        tiles.insert(*id, hashes);
    }
    assert!(refused >= named.len(), "{refused} of {} false tiles", named.len());
}

#[test]
fn the_largest_sizes_have_bounds() {
    for size in [1 << 40, MAX_SIZE - 1, MAX_SIZE] {
        for index in [0, 1, 255, 256, size / 2, size - 2, size - 1] {
            let tiles = inclusion_tiles(index, size).unwrap();
            assert!(tiles.len() <= 14, "{}", tiles.len());
            let tree = TreeHead { size, root: [0; 32] };
            for hashes in [0, 1, 55, 56, 57, 64, 65] {
                let proof = vec![[0; 32]; hashes];
                let refused = check_inclusion(&proof, index, &[0; 32], tree);
                assert_eq!(refused, Err(ProofError::Invalid));
                let old = TreeHead { size: index + 1, root: [1; 32] };
                let refused = check_consistency(&proof, old, tree);
                assert_eq!(refused, Err(ProofError::Invalid));
            }
            assert!(consistency_tiles(index + 1, size).unwrap().len() <= 21);
        }
    }
    for size in [MAX_SIZE + 1, u64::MAX] {
        let tree = TreeHead { size, root: [0; 32] };
        assert_eq!(inclusion_tiles(0, size), Err(ProofError::TooLarge));
        assert_eq!(consistency_tiles(1, size), Err(ProofError::TooLarge));
        assert_eq!(check_inclusion(&[], 0, &[0; 32], tree), Err(ProofError::TooLarge));
        assert_eq!(check_consistency(&[], tree, tree), Err(ProofError::TooLarge));
    }
}
