//! What a run found: figures by case, and promises kept or missed.

use serde_json::{Map, Value, json};

/// Figures and promises, in the order in which they were measured.
#[derive(Clone, Debug, Default)]
pub struct Report {
    figures: Map<String, Value>,
    promises: Vec<Promise>,
}

/// A ratio or a limit that the node promises to keep.
#[derive(Clone, Debug)]
struct Promise {
    name: &'static str,
    what: &'static str,
    found: f64,
    bound: f64,
    is_lower: bool,
}

impl Promise {
    fn is_kept(&self) -> bool {
        if self.is_lower { self.found >= self.bound } else { self.found <= self.bound }
    }
}

impl Report {
    /// Adds the figures of a case.
    pub fn figure(&mut self, case: &str, figures: Value) {
        self.figures.insert(case.to_owned(), figures);
    }

    /// Adds a promise: `found` is at least `bound`.
    pub fn at_least(&mut self, name: &'static str, what: &'static str, found: f64, bound: f64) {
        self.promise(Promise { name, what, found, bound, is_lower: true });
    }

    /// Adds a promise: `found` is at most `bound`.
    pub fn at_most(&mut self, name: &'static str, what: &'static str, found: f64, bound: f64) {
        self.promise(Promise { name, what, found, bound, is_lower: false });
    }

    fn promise(&mut self, promise: Promise) {
        let verdict = if promise.is_kept() { "kept" } else { "MISSED" };
        let sign = if promise.is_lower { ">=" } else { "<=" };
        eprintln!("  {verdict:6} {}: {:.3} ({sign} {}; {})", promise.name, promise.found, promise.bound, promise.what);
        self.promises.push(promise);
    }

    /// The figures of a case, if it was measured.
    pub fn get(&self, case: &str) -> Option<&Value> {
        self.figures.get(case)
    }

    /// A sentence for each promise that was missed.
    pub fn missed(&self) -> Vec<String> {
        let missed = self.promises.iter().filter(|promise| !promise.is_kept());
        missed
            .map(|it| {
                let limit = if it.is_lower { "at least" } else { "at most" };
                format!("{}: {} is {:.3}, promised is {limit} {}", it.name, it.what, it.found, it.bound)
            })
            .collect()
    }

    /// Figures and promises as one JSON object, `about` first.
    pub fn json(&self, about: &Value) -> Value {
        let promises = self.promises.iter().map(|it| {
            let bound = if it.is_lower { "at_least" } else { "at_most" };
            json!({ "name": it.name, "what": it.what, "found": it.found, bound: it.bound, "kept": it.is_kept() })
        });
        json!({ "about": about, "figures": self.figures, "promises": promises.collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_promise_is_named_and_a_kept_one_is_not() {
        let mut report = Report::default();
        report.at_least("work", "attempts", 0.95, 0.9);
        report.at_most("latency", "milliseconds", 4.0, 3.0);
        let missed = report.missed();
        assert_eq!(missed, ["latency: milliseconds is 4.000, promised is at most 3"]);
        let json = report.json(&json!({}));
        assert_eq!(
            (json["promises"][0]["kept"].clone(), json["promises"][1]["kept"].clone()),
            (true.into(), false.into())
        );
    }
}
