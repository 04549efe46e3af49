//! `prometheus.WriteRequest`: every series with its labels as text.

use super::{Decoded, Field, Fields, Malformed, MetricBatch, Reading, Series, kind, observation, sample};
use crate::model::MetricMeta;

pub(crate) fn decode(body: &[u8], reading: &mut Reading<'_>) -> Result<Decoded<MetricBatch>, Malformed> {
    let mut decoded = Decoded::<MetricBatch>::default();
    let mut one = Series::default();
    for field in Fields::new(body) {
        match field? {
            (1, field) => {
                series(field, &mut one)?;
                one.finish(reading, &mut decoded);
            }
            (3, field) => decoded.batch.metadata.push(metadata(field)?),
            _ => {}
        }
    }
    Ok(decoded)
}

fn series<'a>(field: Field<'a>, series: &mut Series<'a>) -> Result<(), Malformed> {
    series.clear();
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => {
                let (name, value) = label(field)?;
                series.label(name, value);
            }
            (2, field) => series.samples.push(sample(field)?),
            (3, field) => exemplar(field, series)?,
            (4, _) => series.histograms += 1,
            _ => {}
        }
    }
    Ok(())
}

fn exemplar(field: Field<'_>, series: &mut Series<'_>) -> Result<(), Malformed> {
    let mut labels = Vec::new();
    for part in Fields::new(field.bytes()?) {
        if let (1, part) = part? {
            let (name, value) = label(part)?;
            labels.push((String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        }
    }
    let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    series.exemplar(&labels, observation(field)?);
    Ok(())
}

fn label(field: Field<'_>) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => name = field.bytes()?,
            (2, field) => value = field.bytes()?,
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
