//! `prometheus.WriteRequest`: every series with its labels as text.

use super::{Decoded, Field, Fields, Malformed, MetricBatch, Series, kind, observation, sample};
use crate::model::MetricMeta;

pub(crate) fn decode(body: &[u8]) -> Result<Decoded<MetricBatch>, Malformed> {
    let mut decoded = Decoded::<MetricBatch>::default();
    for field in Fields::new(body) {
        match field? {
            (1, field) => series(field)?.finish(&mut decoded),
            (3, field) => decoded.batch.metadata.push(metadata(field)?),
            _ => {}
        }
    }
    Ok(decoded)
}

fn series(field: Field<'_>) -> Result<Series, Malformed> {
    let mut series = Series::default();
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => {
                let (name, value) = label(field)?;
                series.label(&name, &value);
            }
            (2, field) => series.samples.push(sample(field)?),
            (3, field) => exemplar(field, &mut series)?,
            (4, _) => series.histograms += 1,
            _ => {}
        }
    }
    Ok(series)
}

fn exemplar(field: Field<'_>, series: &mut Series) -> Result<(), Malformed> {
    let mut labels = Vec::new();
    for part in Fields::new(field.bytes()?) {
        if let (1, part) = part? {
            labels.push(label(part)?);
        }
    }
    let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    series.exemplar(&labels, observation(field)?);
    Ok(())
}

fn label(field: Field<'_>) -> Result<(String, String), Malformed> {
    let (mut name, mut value) = (String::new(), String::new());
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => name = field.text()?,
            (2, field) => value = field.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn metadata(field: Field<'_>) -> Result<MetricMeta, Malformed> {
    let mut meta = MetricMeta::default();
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => meta.kind = kind(field.number()?),
            (2, field) => meta.name = field.text()?,
            (4, field) => meta.help = field.text()?,
            (5, field) => meta.unit = field.text()?,
            _ => {}
        }
    }
    Ok(meta)
}
