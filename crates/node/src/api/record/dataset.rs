//! Records of datasets as they are sent.

use qfzz_ledger_core::dataset::{DatasetError, DatasetRated, DatasetRegistered, DatasetVerified};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{ContentHash, Id, IdError, Label, Text};
use qfzz_ledger_core::limits::MAX_DATASET_TAGS;
use qfzz_ledger_core::score::Score;
use serde_json::value::RawValue;

use super::kinds::DATASET_REGISTERED;
use super::{FieldError, Fields, bad_id};
use crate::api::problem::{Code, quoted};
use crate::license::{self, LicenseError};

/// Licences that a refusal lists, at most.
const LISTED_LICENSES: usize = 20;

/// A registration and the user in whose name it comes, from the body of `POST /v1/datasets`: the fields of such a
/// record, its kind if they like, and `user_id`.
pub(in crate::api) fn parse_registration(
    text: &str,
    rules: &Rules,
) -> Result<(DatasetRegistered, Option<Id>), FieldError> {
    let (fields, kind) = (Fields::read(text)?, &DATASET_REGISTERED);
    fields.among(&[&["kind"], kind.required, kind.optional, &["user_id"]].concat())?;
    if fields.optional_text("kind")?.is_some_and(|given| given != kind.name) {
        let detail = format!("`kind` must be {} here: leave it out, or add the record by POST /v1/records", kind.name);
        return Err(FieldError::new("kind", Code::UnknownKind, detail));
    }
    Ok((fields.registration(rules)?, fields.optional_id("user_id")?))
}

/// What somebody found of `dataset`, who, and whether to publish it if it is another SHA-256 than the registered one.
pub(in crate::api) fn parse_finding(
    text: &str,
    dataset_id: Id,
) -> Result<(DatasetVerified, Option<Id>, bool), FieldError> {
    let fields = Fields::read(text)?;
    fields.among(&["sha256", "user_id", "publish"])?;
    let publish = match fields.0.get("publish").map(|value| value.get()) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(FieldError::new("publish", Code::WrongType, "`publish` must be true or false")),
    };
    let found = DatasetVerified { dataset_id, sha256: fields.sha256("sha256")? };
    Ok((found, fields.optional_id("user_id")?, publish))
}

/// How somebody rates `dataset`, and who.
pub(in crate::api) fn parse_rating(text: &str, dataset_id: Id) -> Result<(DatasetRated, Id), FieldError> {
    let fields = Fields::read(text)?;
    fields.among(&["rating", "user_id"])?;
    Ok((DatasetRated { dataset_id, rating: fields.needed("rating")? }, fields.id("user_id")?))
}

impl Fields<'_> {
    fn optional_id(&self, field: &str) -> Result<Option<Id>, FieldError> {
        self.optional_text(field)?.map(|text| Id::new(text).map_err(|error| bad_id(field, &error))).transpose()
    }

    /// A registration that keeps the federation's rules; its licence as SPDX writes it.
    pub(super) fn registration(&self, rules: &Rules) -> Result<DatasetRegistered, FieldError> {
        let dataset = DatasetRegistered {
            dataset_id: self.id("dataset_id")?,
            name: self.id("name")?,
            license: self.license("license")?,
            quality: self.needed("quality")?,
            sha256: self.sha256("sha256")?,
            size: self.whole("size")?.unwrap_or(0),
            description: self.may_be_empty("description", Text::new)?,
            source: self.may_be_empty("source", Text::new)?,
            creator: self.may_be_empty("creator", Label::new)?,
            genre: self.may_be_empty("genre", Label::new)?,
            tags: self.tags("tags")?,
        };
        rules.parameters().datasets.check(&dataset).map_err(|error| refused(&error, rules))?;
        Ok(dataset)
    }

    /// What somebody found.
    pub(super) fn verification(&self) -> Result<DatasetVerified, FieldError> {
        Ok(DatasetVerified { dataset_id: self.id("dataset_id")?, sha256: self.sha256("sha256")? })
    }

    /// A rating.
    pub(super) fn rating(&self) -> Result<DatasetRated, FieldError> {
        Ok(DatasetRated { dataset_id: self.id("dataset_id")?, rating: self.needed("rating")? })
    }

    fn needed(&self, field: &str) -> Result<Score, FieldError> {
        self.decimal(field)?
            .ok_or_else(|| FieldError::new(field, Code::MissingField, format!("`{field}` is missing: add it")))
    }

    fn license(&self, field: &str) -> Result<Id, FieldError> {
        let text = self.text(field)?;
        license::parse(&text).map_err(|error: LicenseError| {
            FieldError::new(field, Code::BadLicense, format!("`{field}` {} {error}", quoted(&text)))
        })
    }

    /// A SHA-256 in hex.
    fn sha256(&self, field: &str) -> Result<ContentHash, FieldError> {
        self.text(field)?.parse().map_err(|_: IdError| {
            let detail = format!("`{field}` is no SHA-256: give its 64 hex digits, as `sha256sum` prints them");
            FieldError::new(field, Code::BadHash, detail)
        })
    }

    fn whole(&self, field: &str) -> Result<Option<u64>, FieldError> {
        let Some(value) = self.0.get(field) else { return Ok(None) };
        let digits = value.get().bytes().all(|byte| byte.is_ascii_digit());
        value.get().parse().ok().filter(|_| digits).map(Some).ok_or_else(|| {
            let detail = format!("`{field}` must be a whole number from 0, without quotes");
            FieldError::new(field, Code::NotANumber, detail)
        })
    }

    fn may_be_empty<T>(&self, field: &str, make: impl Fn(String) -> Result<T, IdError>) -> Result<T, FieldError> {
        make(self.optional_text(field)?.unwrap_or_default()).map_err(|error| bad_id(field, &error))
    }

    /// Words, as given.
    fn tags(&self, field: &str) -> Result<Vec<Id>, FieldError> {
        let Some(value) = self.0.get(field) else { return Ok(Vec::new()) };
        let wrong = || {
            FieldError::new(field, Code::WrongType, format!("`{field}` must be a list of texts, such as [\"live\"]"))
        };
        let texts: Vec<String> = parse_list(value).ok_or_else(wrong)?;
        if texts.len() > MAX_DATASET_TAGS {
            return Err(too_many_tags(texts.len()));
        }
        texts.iter().map(|tag| Id::new(tag).map_err(|error| bad_id(field, &error))).collect()
    }
}

fn parse_list(value: &RawValue) -> Option<Vec<String>> {
    serde_json::from_str(value.get()).ok()
}

fn too_many_tags(count: usize) -> FieldError {
    let detail = format!("`tags` has {count} words: give at most {MAX_DATASET_TAGS}");
    FieldError::new("tags", Code::TooManyTags, detail)
}

/// What a rule of genesis says of a registration: the rule's name and value, and the remedy.
fn refused(error: &DatasetError, rules: &Rules) -> FieldError {
    let datasets = &rules.parameters().datasets;
    match error {
        DatasetError::License { license, .. } => {
            let listed: Vec<_> = datasets.licenses.iter().take(LISTED_LICENSES).map(Id::as_str).collect();
            let more = if datasets.licenses.len() > LISTED_LICENSES { ", ..." } else { "" };
            let detail = format!(
                "`license` {} breaks the federation's rule `datasets.licenses`: only these are accepted: {}{more}",
                quoted(license.as_str()),
                listed.join(", ")
            );
            FieldError::new("license", Code::LicenseNotAllowed, detail)
        }
        DatasetError::Quality { quality, least } => {
            let detail = format!(
                "`quality` {quality} breaks the federation's rule `datasets.min_quality`: it is {least}, so improve the dataset first"
            );
            FieldError::new("quality", Code::QualityTooLow, detail)
        }
        DatasetError::Tags { count } => too_many_tags(*count),
    }
}
