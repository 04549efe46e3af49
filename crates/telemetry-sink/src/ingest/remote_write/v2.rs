//! `io.prometheus.write.v2.Request`: a table of symbols, and series that refer to it.

use super::{Decoded, Field, Fields, Malformed, MetricBatch, Reading, Series, kind, observation, sample};
use crate::model::{METRIC_NAME, MetricMeta};

pub(crate) fn decode(body: &[u8], reading: &mut Reading<'_>) -> Result<Decoded<MetricBatch>, Malformed> {
    let mut decoded = Decoded::<MetricBatch>::default();
    let symbols = symbols(body)?;
    let (mut one, mut references) = (Series::default(), Vec::new());
    for field in Fields::new(body) {
        if let (5, field) = field? {
            references.clear();
            let mut meta = series(field, &symbols, &mut references, &mut one)?;
            // Families are described with each of their series; all but one say the same.
            let name = one.pairs.iter().find(|(name, _)| *name == METRIC_NAME.as_bytes());
            meta.name =
                name.map_or_else(String::new, |(_, value)| String::from_utf8_lossy(value).into_owned());
            let described = decoded.batch.metadata.last().is_some_and(|last| last.name == meta.name);
            if !described && meta != (MetricMeta { name: meta.name.clone(), ..MetricMeta::default() }) {
                decoded.batch.metadata.push(meta);
            }
            one.finish(reading, &mut decoded);
        }
    }
    Ok(decoded)
}

fn symbols(body: &[u8]) -> Result<Vec<&str>, Malformed> {
    let mut symbols = Vec::new();
    for field in Fields::new(body) {
        if let (4, field) = field? {
            symbols.push(std::str::from_utf8(field.bytes()?).map_err(|_| Malformed)?);
        }
    }
    Ok(symbols)
}

fn symbol<'a>(symbols: &[&'a str], reference: u64) -> Result<&'a str, Malformed> {
    let index = usize::try_from(reference).map_err(|_| Malformed)?;
    symbols.get(index).copied().ok_or(Malformed)
}

fn series<'a>(
    field: Field<'_>,
    symbols: &[&'a str],
    references: &mut Vec<u64>,
    series: &mut Series<'a>,
) -> Result<MetricMeta, Malformed> {
    series.clear();
    let mut meta = MetricMeta::default();
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => field.append_varints(references)?,
            (2, field) => series.samples.push(sample(field)?),
            (3, _) => series.histograms += 1,
            (4, field) => exemplar(field, symbols, series)?,
            (5, field) => meta = metadata(field, symbols)?,
            _ => {}
        }
    }
    for [name, value] in pairs(references)? {
        series.label(symbol(symbols, *name)?.as_bytes(), symbol(symbols, *value)?.as_bytes());
    }
    Ok(meta)
}

fn pairs(references: &[u64]) -> Result<&[[u64; 2]], Malformed> {
    let (pairs, rest) = references.as_chunks::<2>();
    if rest.is_empty() { Ok(pairs) } else { Err(Malformed) }
}

fn exemplar(field: Field<'_>, symbols: &[&str], series: &mut Series<'_>) -> Result<(), Malformed> {
    let mut references = Vec::new();
    for part in Fields::new(field.bytes()?) {
        if let (1, part) = part? {
            part.append_varints(&mut references)?;
        }
    }
    let labels = pairs(&references)?
        .iter()
        .map(|[name, value]| Ok((symbol(symbols, *name)?, symbol(symbols, *value)?)))
        .collect::<Result<Vec<_>, Malformed>>()?;
    series.exemplar(&labels, observation(field)?);
    Ok(())
}

fn metadata(field: Field<'_>, symbols: &[&str]) -> Result<MetricMeta, Malformed> {
    let mut meta = MetricMeta::default();
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => meta.kind = kind(field.number()?),
            (3, field) => symbol(symbols, field.number()?)?.clone_into(&mut meta.help),
            (4, field) => symbol(symbols, field.number()?)?.clone_into(&mut meta.unit),
            _ => {}
        }
    }
    Ok(meta)
}
