//! Merkle trees in the shape of RFC 6962, with inclusion proofs.
//!
//! Leaves are record hashes or batch ids as they are; inner nodes are tagged (`qfzz/node/1`), so a node can never pass
//! for a leaf. An empty tree has root 32 zeros; one leaf is its own root.

use std::sync::LazyLock;

use crate::codec::{Decode, Encode};
use crate::crypto::{Tag, TaggedHash};
use crate::ids::FederationId;

/// The most nodes that a proof can need: no tree here has more than 2^32 leaves.
const MAX_PATH: usize = 32;

/// The hash function of inner nodes.
static NODE: LazyLock<TaggedHash> = LazyLock::new(|| TaggedHash::new(Tag::Node, &FederationId::ZERO, &[]));

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    NODE.midstate().hash_pair(left, right)
}

/// Where a tree of `leaves` splits: the largest power of two below their number (RFC 6962, section 2.1).
fn split(leaves: usize) -> usize {
    debug_assert!(leaves > 1);
    1 << (leaves - 1).ilog2()
}

/// The root over `leaves`, in their order.
pub fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        let count = level.len();
        for at in 0..count / 2 {
            level[at] = node(&level[2 * at], &level[2 * at + 1]);
        }
        // An odd one out rises as it is: so a level's pairs are those of the largest power of two on the left.
        if count % 2 == 1 {
            level[count / 2] = level[count - 1];
        }
        level.truncate(count.div_ceil(2));
    }
    level.first().copied().unwrap_or_default()
}

/// Shows that a leaf stands at an index of a tree of a known size.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct InclusionProof {
    /// The leaf's index, from 0.
    pub index: u64,
    /// The number of leaves.
    pub leaves: u64,
    /// The sibling of each node on the way from the leaf to the root, lowest first.
    pub path: Vec<[u8; 32]>,
}

impl InclusionProof {
    /// The proof for the leaf at `index`; `None` where there is no such leaf.
    pub fn new(leaves: &[[u8; 32]], index: usize) -> Option<Self> {
        if index >= leaves.len() {
            return None;
        }
        let mut path = Vec::new();
        let (mut rest, mut at) = (leaves, index);
        while rest.len() > 1 {
            let (left, right) = rest.split_at(split(rest.len()));
            if at < left.len() {
                path.push(root(right));
                rest = left;
            } else {
                at -= left.len();
                path.push(root(left));
                rest = right;
            }
        }
        path.reverse();
        Some(Self { index: index as u64, leaves: leaves.len() as u64, path })
    }

    /// Whether `leaf` stands at this proof's index of the tree with this `root`.
    pub fn proves(&self, leaf: &[u8; 32], root: &[u8; 32]) -> bool {
        self.root_from(leaf).is_some_and(|computed| computed == *root)
    }

    /// The root that follows from `leaf`; `None` where the path does not fit the index and size.
    fn root_from(&self, leaf: &[u8; 32]) -> Option<[u8; 32]> {
        if self.index >= self.leaves || self.path.len() > MAX_PATH {
            return None;
        }
        // From the root down: on which side the leaf lies at each split; the path runs the other way.
        let mut sides = Vec::new();
        let (mut leaves, mut at) = (usize::try_from(self.leaves).ok()?, usize::try_from(self.index).ok()?);
        while leaves > 1 {
            let left = split(leaves);
            sides.push(at >= left);
            (leaves, at) = if at < left { (left, at) } else { (leaves - left, at - left) };
        }
        if sides.len() != self.path.len() {
            return None;
        }
        let steps = sides.iter().rev().zip(&self.path);
        Some(steps.fold(
            *leaf,
            |hash, (is_right, sibling)| {
                if *is_right { node(sibling, &hash) } else { node(&hash, sibling) }
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u8) -> Vec<[u8; 32]> {
        (0..count).map(|number| [number; 32]).collect()
    }

    #[test]
    fn the_tree_has_the_shape_of_rfc_6962() {
        let tagged = TaggedHash::new(Tag::Node, &FederationId::ZERO, &[]);
        let of = |left: &[u8; 32], right: &[u8; 32]| tagged.hash(&[left, right]);
        let l = leaves(5);
        assert_eq!(root(&[]), [0; 32]);
        assert_eq!(root(&l[..1]), l[0]);
        assert_eq!(root(&l[..3]), of(&of(&l[0], &l[1]), &l[2]));
        let four = of(&of(&l[0], &l[1]), &of(&l[2], &l[3]));
        assert_eq!(root(&l), of(&four, &l[4]));
        // As RFC 6962 writes it: the left subtree is the largest full one that leaves something on the right.
        fn direct(tagged: &TaggedHash, leaves: &[[u8; 32]]) -> [u8; 32] {
            match leaves {
                [leaf] => *leaf,
                _ => {
                    let (left, right) = leaves.split_at(split(leaves.len()));
                    tagged.hash(&[&direct(tagged, left), &direct(tagged, right)])
                }
            }
        }
        let l = leaves(255);
        for count in 1..=l.len() {
            assert_eq!(root(&l[..count]), direct(&tagged, &l[..count]), "{count}");
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_has_a_proof_that_fits_it_alone() {
        for count in 1..=33 {
            let leaves = leaves(count);
            let root = root(&leaves);
            for index in 0..leaves.len() {
                let proof = InclusionProof::new(&leaves, index).expect("the leaf exists");
                assert!(proof.proves(&leaves[index], &root));
                assert!(!proof.proves(&[99; 32], &root));
                let elsewhere = InclusionProof { index: (proof.index + 1) % u64::from(count), ..proof.clone() };
                assert_eq!(elsewhere.proves(&leaves[index], &root), count == 1, "{count} {index}");
                let longer = InclusionProof { path: [proof.path.clone(), vec![[0; 32]]].concat(), ..proof };
                assert!(!longer.proves(&leaves[index], &root));
            }
            assert_eq!(InclusionProof::new(&leaves, leaves.len()), None);
        }
    }
}
