//! One family of metrics a line, each written as it is read.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::telemetry::histogram::Distribution;

/// Where families are written to.
pub(super) struct Lines<'a>(pub(super) DescriptorEncoder<'a>);

/// A value of a label, which is a word of this program.
pub(super) type Word = &'static str;

impl Lines<'_> {
    /// What only rises. `_total` is added to the name.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// As [`Self::counter`], in seconds.
    pub(super) fn seconds_counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// As [`Self::counter`], one for each set of labels.
    pub(super) fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, Word); N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// What rises and falls.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// As [`Self::gauge`], in seconds.
    pub(super) fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// As [`Self::gauge`], one for each set of labels.
    pub(super) fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, Word); N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Which one of several words it is: 1 for it, 0 for the others.
    pub(super) fn state(&mut self, name: &str, help: &str, words: &[Word], now: &str) -> fmt::Result {
        self.gauges(name, help, words.iter().map(|word| ([("state", *word)], u64::from(*word == now))))
    }

    /// How long things took.
    pub(super) fn histogram(&mut self, name: &str, help: &str, took: &Distribution) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(took.sum_seconds, took.count(), &took.buckets, None)
    }

    /// Words that belong to the process.
    pub(super) fn info(&mut self, name: &str, help: &str, words: &[(&str, &str)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        metric.encode_info(&words.to_vec())
    }
}
