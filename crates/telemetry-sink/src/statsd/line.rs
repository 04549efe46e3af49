//! One line: `name:value[:value…]|type[|@rate][|#tag:value,…][|c:container][|Ttime]`.

/// What a value means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Counter,
    /// A value with a sign is added to the gauge.
    Gauge,
    /// In milliseconds.
    Timer,
    Histogram,
    Set,
}

/// A line's parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) values: &'a str,
    pub(crate) kind: Kind,
    /// The share of events that was sent, above 0 and at most 1.
    pub(crate) rate: f64,
    pub(crate) tags: &'a str,
}

impl<'a> Line<'a> {
    pub(crate) fn tags(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let tags = self.tags.split(',').filter(|tag| !tag.is_empty());
        // A tag without a value is a flag.
        tags.map(|tag| tag.split_once(':').unwrap_or((tag, "true")))
    }
}

/// Reads a line; none where it has another form. Events (`_e`) and service checks (`_sc`) are none of ours.
pub(crate) fn parse(line: &str) -> Option<Line<'_>> {
    let (name, rest) = line.split_once(':')?;
    let mut parts = rest.split('|');
    let values = parts.next()?;
    let kind = match parts.next()?.trim() {
        "c" | "m" => Kind::Counter,
        "g" => Kind::Gauge,
        "ms" => Kind::Timer,
        "h" | "d" => Kind::Histogram,
        "s" => Kind::Set,
        _ => return None,
    };
    let mut parsed = Line { name, values, kind, rate: 1.0, tags: "" };
    for part in parts {
        if let Some(rate) = part.strip_prefix('@') {
            parsed.rate = rate.trim().parse().ok().filter(|rate| *rate > 0.0 && *rate <= 1.0)?;
        } else if let Some(tags) = part.strip_prefix('#') {
            parsed.tags = tags;
        }
    }
    (!name.is_empty() && !values.is_empty()).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_have_their_parts() {
        let line = parse("page.views:1:2|c|@0.5|#env:prod,debug,a:b:c|c:abc|T1").unwrap();
        assert_eq!((line.name, line.values, line.kind), ("page.views", "1:2", Kind::Counter));
        assert!((line.rate - 0.5).abs() < f64::EPSILON);
        assert_eq!(line.tags().collect::<Vec<_>>(), [("env", "prod"), ("debug", "true"), ("a", "b:c")]);
        for wrong in ["", "a", "a:1", "a:1|x", ":1|c", "a:|c", "a:1|c|@0", "a:1|c|@2", "_sc|name|0"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[a-z:|@#0-9.,+-]{0,40}") {
            if let Some(line) = parse(&text) {
                let _ = line.tags().count();
            }
        }
    }
}
