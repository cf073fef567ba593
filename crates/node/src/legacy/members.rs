//! The members of a block or record, taken by name.

use std::collections::BTreeMap;

use super::fault::{Reason, Within};
use super::text::{dumps, dumps_object};
use super::value::{Number, Text, Value};

/// The members of one object.
pub(super) struct Members {
    members: BTreeMap<Text, Value>,
    within: Within,
}

impl Members {
    pub(super) const fn of(members: BTreeMap<Text, Value>, within: Within) -> Self {
        Self { members, within }
    }

    /// The text of the object that those make which were not taken.
    pub(super) fn dumps(&self) -> String {
        dumps_object(&self.members)
    }

    /// That there are none but `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Reason> {
        let unknown = self.members.keys().find(|key| !key.as_str().is_some_and(|key| known.contains(&key)));
        match unknown {
            Some(key) => Err(Reason::Unknown { member: dumps(&Value::Text(key.clone())) }),
            None => Ok(()),
        }
    }

    pub(super) fn take(&mut self, member: &'static str) -> Result<Value, Reason> {
        self.members.remove(&Text::from(member)).ok_or(Reason::Missing { within: self.within, member })
    }

    fn wrong(&self, member: &'static str, found: &Value, expected: &'static str) -> Reason {
        Reason::WrongKind { within: self.within, member, found: found.kind(), expected }
    }

    pub(super) fn take_text(&mut self, member: &'static str) -> Result<String, Reason> {
        let value = self.take(member)?;
        match &value {
            Value::Text(text) => text.as_str().map(str::to_owned).ok_or(Reason::NotUnicode { member }),
            other => Err(self.wrong(member, other, "a string")),
        }
    }

    pub(super) fn take_number(&mut self, member: &'static str) -> Result<Number, Reason> {
        match self.take(member)? {
            Value::Number(number) => Ok(number),
            other => Err(self.wrong(member, &other, "a number")),
        }
    }

    pub(super) fn take_count(&mut self, member: &'static str) -> Result<u64, Reason> {
        let value = self.take(member)?;
        let count = value.as_number().and_then(Number::as_u64);
        count.ok_or_else(|| self.wrong(member, &value, "a whole number from 0"))
    }

    pub(super) fn take_object(&mut self, member: &'static str) -> Result<BTreeMap<Text, Value>, Reason> {
        match self.take(member)? {
            Value::Object(object) => Ok(object),
            other => Err(self.wrong(member, &other, "an object")),
        }
    }

    pub(super) fn take_array(&mut self, member: &'static str) -> Result<Vec<Value>, Reason> {
        match self.take(member)? {
            Value::Array(array) => Ok(array),
            other => Err(self.wrong(member, &other, "an array")),
        }
    }
}

/// What a block says of itself, and what it holds beside its hash.
pub(super) struct Claims {
    /// Its hash.
    pub(super) hash: Value,
    /// The hash of the block before.
    pub(super) previous: Value,
    /// Its index.
    pub(super) index: Value,
}

impl Claims {
    /// Compares them with the block's place, the block before, and the hash of what it holds; returns that hash.
    pub(super) fn check(&self, place: u64, previous: &str, computed: String) -> Result<String, Reason> {
        if self.index.as_number().and_then(Number::as_u64) != Some(place) {
            return Err(Reason::Index { found: dumps(&self.index) });
        }
        if self.previous.as_str() != Some(previous) {
            return Err(Reason::Link { found: dumps(&self.previous), expected: previous.to_owned() });
        }
        if self.hash.as_str() != Some(computed.as_str()) {
            return Err(Reason::Hash { found: dumps(&self.hash), computed });
        }
        Ok(computed)
    }
}
