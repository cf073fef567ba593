//! What no honest station sends: frames, messages, batches and blocks, each with a number that makes it another one.

use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::block::{Announcement, SealedHeader};
use qfzz_ledger_core::codec::{Encode, encode};
use qfzz_ledger_core::crypto::{Signature, StationKey};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::header::{BLOCK_VERSION, BlockHeader};
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, Sequence};
use qfzz_ledger_core::ledger::Template;
use qfzz_ledger_core::limits::MAX_BATCH_RECORDS;
use qfzz_ledger_core::testing::{interaction, rules, solve};
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::message::Request;

use crate::stranger::{select, varint};

/// The federation that is attacked, and the names by which it speaks.
pub(crate) struct Federation {
    pub(crate) rules: Rules,
    pub(crate) sync: String,
    batches: String,
    blocks: String,
    now: Timestamp,
}

fn number_of(bytes: &mut [u8], n: u32) {
    bytes[..4].copy_from_slice(&n.to_le_bytes());
}

fn hash(n: u32) -> [u8; 32] {
    let mut bytes = [0xa5; 32];
    number_of(&mut bytes, n);
    bytes
}

fn key(n: u32) -> StationKey {
    StationKey::from_seed(hash(n))
}

/// `n`-dependent bytes that mean nothing.
pub(crate) fn noise(n: u32, count: usize) -> Vec<u8> {
    let mut state = u64::from(n) | 1 << 40;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn field(number: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    bytes.extend(varint(data.len() as u64));
    bytes.extend(data);
    bytes
}

fn framed(rpc: &[u8]) -> Vec<u8> {
    let mut bytes = varint(rpc.len() as u64);
    bytes.extend(rpc);
    bytes
}

impl Federation {
    pub(crate) fn new(rules: Rules, now: Timestamp) -> Self {
        let full = rules.federation().to_string();
        let short = &full[..16];
        Self {
            sync: format!("/qfzz/{short}/sync/1"),
            batches: format!("qfzz/{short}/batches/1"),
            blocks: format!("qfzz/{short}/blocks/1"),
            rules,
            now,
        }
    }

    /// A request on a stream of its own: the length that it says, then bytes.
    fn request_of(&self, length: usize, bytes: &[u8]) -> Vec<u8> {
        let mut all = select(&self.sync);
        all.extend((length as u32).to_le_bytes());
        all.extend(bytes);
        all
    }

    pub(crate) fn request(&self, bytes: &[u8]) -> Vec<u8> {
        self.request_of(bytes.len(), bytes)
    }

    pub(crate) fn oversized_length(&self, n: u32) -> Vec<u8> {
        self.request_of(0x7fff_0000 + n as usize % 1_000, &noise(n, 64))
    }

    pub(crate) fn empty_request(&self, _: u32) -> Vec<u8> {
        self.request(&[])
    }

    pub(crate) fn cut_request(&self, n: u32) -> Vec<u8> {
        self.request_of(1_000, &noise(n, 1 + n as usize % 900))
    }

    pub(crate) fn request_of_noise(&self, n: u32) -> Vec<u8> {
        let mut bytes = noise(n, 200);
        // A tag that is known: an unknown one would be a newer version's.
        bytes[..4].copy_from_slice(&1_u32.to_le_bytes());
        self.request(&bytes)
    }

    pub(crate) fn request_with_trailing_bytes(&self, n: u32) -> Vec<u8> {
        let mut bytes = encode(&Request::Status { alive: None });
        bytes.extend(noise(n, 1 + n as usize % 100));
        self.request(&bytes)
    }

    pub(crate) fn request_of_a_wrong_tag(&self, n: u32) -> Vec<u8> {
        self.request(&(1_000 + n).to_le_bytes())
    }

    pub(crate) fn request_of_too_many(&self, n: u32) -> Vec<u8> {
        let hashes = (0..2_000).map(|i| BlockHash::from_bytes(hash(n.wrapping_mul(2_000) + i))).collect();
        self.request(&encode(&Request::Blocks { hashes }))
    }

    /// A million hashes, of which the first are really sent.
    pub(crate) fn request_of_a_million(&self, n: u32) -> Vec<u8> {
        let hashes = (0..1_000).map(|i| BlockHash::from_bytes(hash(n.wrapping_mul(1_000) + i))).collect();
        let mut bytes = encode(&Request::Blocks { hashes });
        bytes[4..12].copy_from_slice(&1_000_000_u64.to_le_bytes());
        self.request_of(12 + 32_000_000, &bytes)
    }

    /// What subscribes to both topics.
    pub(crate) fn subscriptions(&self) -> Vec<u8> {
        let subscribe = |topic: &str| {
            let mut bytes = vec![1 << 3, 1];
            bytes.extend(field(2, topic.as_bytes()));
            field(1, &bytes)
        };
        framed(&[subscribe(&self.batches), subscribe(&self.blocks)].concat())
    }

    fn gossip(topic: &str, data: &[u8]) -> Vec<u8> {
        framed(&field(2, &[field(2, data), field(4, topic.as_bytes())].concat()))
    }

    fn batch_gossip(&self, batch: &SignedBatch) -> Vec<u8> {
        Self::gossip(&self.batches, &encode(batch))
    }

    fn block_gossip(&self, block: &impl Encode) -> Vec<u8> {
        Self::gossip(&self.blocks, &encode(block))
    }

    pub(crate) fn broken_protobuf(&self, n: u32) -> Vec<u8> {
        let mut rpc = field(2, &noise(n, 100));
        // A field that says that it is longer than the frame.
        rpc[1] = 0xff;
        framed(&rpc)
    }

    pub(crate) fn oversized_gossip(&self, n: u32) -> Vec<u8> {
        let mut bytes = varint(10_000_000);
        bytes.extend(noise(n, 1_000));
        bytes
    }

    pub(crate) fn gossip_over_the_limit(&self, n: u32) -> Vec<u8> {
        Self::gossip(&self.batches, &noise(n, 66_000))
    }

    pub(crate) fn foreign_topic(&self, n: u32) -> Vec<u8> {
        Self::gossip("qfzz/0000000000000000/batches/1", &noise(n, 300))
    }

    pub(crate) fn gossip_with_an_author(&self, n: u32) -> Vec<u8> {
        let author = [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..], &hash(n)].concat();
        let message =
            [field(1, &author), field(2, &noise(n, 300)), field(3, &[0; 8]), field(4, self.batches.as_bytes())];
        framed(&field(2, &message.concat()))
    }

    pub(crate) fn batch_of_noise(&self, n: u32) -> Vec<u8> {
        Self::gossip(&self.batches, &noise(n, 300))
    }

    /// A batch of station `author` at `sequence`, valid by itself.
    fn batch(&self, rules: &Rules, author: u32, sequence: u64, records: usize) -> SignedBatch {
        let records = (0..records).map(|n| interaction(&format!("user {n}"))).collect();
        let place = (Sequence::new(sequence), BatchId::from_bytes(hash(author)));
        let seen = rules.genesis_hash();
        SignedBatch::sign(rules, &key(author), place, seen, self.now, None, records).signed().clone()
    }

    pub(crate) fn batch_with_a_bad_signature(&self, n: u32) -> Vec<u8> {
        let mut batch = self.batch(&self.rules, n, 1, 1);
        batch.header.seen = BlockHash::from_bytes(hash(n));
        self.batch_gossip(&batch)
    }

    pub(crate) fn batch_of_another_federation(&self, n: u32) -> Vec<u8> {
        self.batch_gossip(&self.batch(&rules(), n, 1, 1))
    }

    pub(crate) fn batch_of_too_many(&self, n: u32) -> Vec<u8> {
        self.batch_gossip(&self.batch(&self.rules, n, 1, usize::from(MAX_BATCH_RECORDS) + 1))
    }

    pub(crate) fn batch_too_far_ahead(&self, n: u32) -> Vec<u8> {
        self.batch_gossip(&self.batch(&self.rules, n, 5_000 + u64::from(n), 1))
    }

    /// Valid, but its log lacks what is before it.
    pub(crate) fn batch_with_a_gap(&self, n: u32) -> Vec<u8> {
        self.batch_gossip(&self.batch(&self.rules, n, 1 + u64::from(n % 1_000), 1))
    }

    /// A header that follows genesis, of a station that exists nowhere else.
    fn header(&self, n: u32) -> BlockHeader {
        BlockHeader {
            version: BLOCK_VERSION,
            difficulty: self.rules.parameters().difficulty,
            index: Height::new(1),
            previous: self.rules.genesis_hash(),
            merkle_root: hash(n),
            batch_count: 1,
            body_bytes: 300,
            timestamp: self.now,
            producer: key(1).station(),
            reveal: hash(n),
            nonce: 0,
        }
    }

    fn worked(&self, header: BlockHeader) -> BlockHeader {
        solve(&self.rules, &Template { header, batches: Vec::new() })
    }

    fn announced(&self, sealed: SealedHeader, ids: u32) -> Vec<u8> {
        let batch_ids = (0..ids).map(|n| BatchId::from_bytes(hash(n))).collect();
        self.block_gossip(&Announcement { sealed, introduction: None, batch_ids })
    }

    /// A header with work but somebody else's seal.
    pub(crate) fn forged_seal(&self, n: u32) -> SealedHeader {
        let sealed = SealedHeader::seal(&self.rules, &key(2), self.worked(self.header(n)));
        if n.is_multiple_of(2) { sealed } else { SealedHeader { seal: Signature::none(), ..sealed } }
    }

    /// A header that is sealed but cost no work.
    pub(crate) fn forged_work(&self, n: u32) -> SealedHeader {
        let difficulty = self.rules.parameters().difficulty;
        let mut header = self.header(n);
        while difficulty.is_met_by(&self.rules.block_hash(&header)) {
            header.nonce += 1;
        }
        SealedHeader::seal(&self.rules, &key(1), header)
    }

    pub(crate) fn announcement_without_a_seal(&self, n: u32) -> Vec<u8> {
        self.announced(self.forged_seal(n), 1)
    }

    pub(crate) fn announcement_without_work(&self, n: u32) -> Vec<u8> {
        self.announced(self.forged_work(n), 1)
    }

    pub(crate) fn announcement_of_too_many(&self, n: u32) -> Vec<u8> {
        let header = BlockHeader { batch_count: 1_900, ..self.header(n) };
        self.announced(SealedHeader::seal(&self.rules, &key(1), self.worked(header)), 1_900)
    }

    /// Work and seal are good; what it follows does not exist.
    pub(crate) fn orphan(&self, n: u32) -> Vec<u8> {
        let header = BlockHeader { index: Height::new(7), previous: BlockHash::from_bytes(hash(n)), ..self.header(n) };
        self.announced(SealedHeader::seal(&self.rules, &key(1), self.worked(header)), 1)
    }
}
