//! Datasets as the API shows them.

use qfzz_ledger_core::dataset::{DatasetRegistered, QualityBand};
use qfzz_ledger_core::ids::{ContentHash, Id, RecordId, StationId};
use qfzz_ledger_core::score::{Band, Score};
use qfzz_ledger_core::state::DatasetEvidence;
use qfzz_ledger_core::time::Timestamp;
use serde::Serialize;
use serde::ser::Serializer;
use utoipa::ToSchema;

use super::{Receipt, ShownReceipt, Trust, number, number_or_null, text};
use crate::api::schema;

/// A registered dataset, with what was found about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Its registration.
    pub registered: DatasetRegistered,
    /// Where that stands.
    pub record_id: RecordId,
    /// Whether that waits for a block.
    pub is_pending: bool,
    /// What was found, pending records included.
    pub evidence: DatasetEvidence,
    /// When the batch of the registration was signed.
    pub created_at: Timestamp,
    /// When the batch that last changed it was signed.
    pub updated_at: Timestamp,
}

/// Some datasets of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetPage {
    /// Those that were asked for, in order of registration, pending ones last.
    pub datasets: Vec<Dataset>,
    /// Where the list goes on; `None` at its end.
    pub next: Option<u64>,
}

/// A dataset, and the records that an order of the API added about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetChange {
    /// The dataset, with those records.
    pub dataset: Dataset,
    /// One for each record.
    pub receipts: Vec<Receipt>,
}

/// The fields of a registration, the same names as when it is sent.
#[derive(Serialize, ToSchema)]
#[schema(as = DatasetRegistration)]
pub(in crate::api) struct ShownRegistration<'a> {
    /// The dataset.
    #[schema(value_type = schema::Id)]
    dataset_id: &'a str,
    /// What people call it.
    #[schema(value_type = schema::Id)]
    name: &'a str,
    /// An SPDX expression.
    #[schema(value_type = schema::License)]
    license: &'a str,
    /// How good it is, as the station says that registered it.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    quality: Score,
    /// The SHA-256 of its bytes.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    sha256: ContentHash,
    /// Its length in bytes, as that station says.
    #[schema(value_type = schema::Whole)]
    size: u64,
    /// What is in it.
    #[schema(value_type = schema::Text)]
    description: &'a str,
    /// Where it comes from.
    #[schema(value_type = schema::Text)]
    source: &'a str,
    /// Who made it.
    #[schema(value_type = schema::Target)]
    creator: &'a str,
    /// What kind of music it holds.
    #[schema(value_type = schema::Target)]
    genre: &'a str,
    /// Words about it.
    #[schema(value_type = schema::Tags)]
    tags: Vec<&'a str>,
}

impl<'a> ShownRegistration<'a> {
    pub(in crate::api) fn new(dataset: &'a DatasetRegistered) -> Self {
        Self {
            dataset_id: dataset.dataset_id.as_str(),
            name: dataset.name.as_str(),
            license: dataset.license.as_str(),
            quality: dataset.quality,
            sha256: dataset.sha256,
            size: dataset.size,
            description: dataset.description.as_str(),
            source: dataset.source.as_str(),
            creator: dataset.creator.as_str(),
            genre: dataset.genre.as_str(),
            tags: dataset.tags.iter().map(Id::as_str).collect(),
        }
    }
}

/// A registered dataset, with what was found about it, pending records included.
#[derive(Serialize, ToSchema)]
#[schema(as = Dataset)]
pub(in crate::api) struct ShownDataset<'a> {
    /// Its registration.
    #[serde(flatten)]
    registration: ShownRegistration<'a>,
    /// The range that `quality` is in.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::QualityBand)]
    quality_band: QualityBand,
    /// Whether anybody found the registered SHA-256.
    verified: bool,
    /// How often the registered SHA-256 was found.
    verifications: u64,
    /// How often another one was found.
    mismatches: u64,
    /// The mean of the ratings; null of none.
    #[serde(serialize_with = "number_or_null")]
    #[schema(value_type = Option<schema::Score>)]
    rating: Option<Score>,
    /// How many ratings there are.
    ratings: u64,
    /// How far it is trusted: by its verifications and ratings.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    score: Score,
    /// The range that `score` is in.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Band)]
    band: Band,
    /// `pending` or `confirmed`: whether its registration is on the chain.
    status: &'static str,
    /// The place of its registration.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::RecordId)]
    record_id: RecordId,
    /// Who registered it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    station_id: StationId,
    /// When it was registered.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Time)]
    created_at: Timestamp,
    /// When something about it was last found.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Time)]
    updated_at: Timestamp,
}

impl<'a> From<&'a Dataset> for ShownDataset<'a> {
    fn from(dataset: &'a Dataset) -> Self {
        let Dataset { registered, record_id, is_pending, evidence, created_at, updated_at } = dataset;
        let score = evidence.score();
        Self {
            registration: ShownRegistration::new(registered),
            quality_band: QualityBand::of(registered.quality),
            verified: evidence.verifications > 0,
            verifications: evidence.verifications,
            mismatches: evidence.mismatches,
            rating: evidence.rating(),
            ratings: evidence.ratings,
            score,
            band: score.band(),
            status: if *is_pending { "pending" } else { "confirmed" },
            record_id: *record_id,
            station_id: record_id.station,
            created_at: *created_at,
            updated_at: *updated_at,
        }
    }
}

impl Serialize for Dataset {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        ShownDataset::from(self).serialize(to)
    }
}

/// A dataset, and the records that were added about it.
#[derive(Serialize, ToSchema)]
#[schema(as = DatasetChange)]
pub(in crate::api) struct ShownChange<'a> {
    /// The dataset, with those records.
    #[serde(flatten)]
    dataset: ShownDataset<'a>,
    /// The records, in order: about the dataset, then of `system`, then of the user.
    #[schema(value_type = Vec<ShownReceipt>)]
    records: &'a [Receipt],
}

impl Serialize for DatasetChange {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        ShownChange { dataset: (&self.dataset).into(), records: &self.receipts }.serialize(to)
    }
}

/// How far a dataset is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DatasetTrust {
    /// The dataset.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Id)]
    pub dataset_id: Id,
    /// The score, and what it rests on.
    #[serde(flatten)]
    #[schema(value_type = super::trust::ShownTrust)]
    pub trust: Trust,
    /// How often the registered SHA-256 was found, as counted in `score`.
    pub verifications: u64,
    /// How often another one was found, as counted in `score`.
    pub mismatches: u64,
    /// The mean of the ratings; null of none.
    #[serde(serialize_with = "number_or_null")]
    #[schema(value_type = Option<schema::Score>)]
    pub rating: Option<Score>,
    /// How many ratings there are, as counted in `score`.
    pub ratings: u64,
}
