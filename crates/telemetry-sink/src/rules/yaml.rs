//! YAML as a tree whose every node knows its line, so that a mistake in a rule file can be pointed at.
//!
//! Values stay text: what a scalar means is decided by the key it stands under, as in Prometheus, where `for: 5m` and
//! `limit: 10` are read by their fields' types. Merge keys (`<<`) are not known.
//!
//! Invariants: a document's bytes, nodes and depth are bounded, aliases included; a key that is not known, or stands twice,
//! is a mistake and never ignored.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};
use thiserror::Error;

use crate::promql::parse_duration;

const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Aliases count with all that they stand for: nine of them nested ten times would be a billion nodes.
const MAX_NODES: usize = 200_000;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {message}")]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Mistake {
    pub(crate) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// A part of a document.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) line: usize,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, usize, Node)>),
}

/// Reads a text with at most one document; none where it holds nothing.
pub(crate) fn load(text: &str) -> Result<Option<Node>, Mistake> {
    if text.len() > MAX_BYTES {
        return Err(Mistake::new(1, format!("the file is larger than {MAX_BYTES} bytes")));
    }
    let mut loader = Loader::default();
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| Mistake::new(error.marker().line(), error.info()))?;
        loader.take(event, span.start.line())?;
    }
    Ok(loader.root)
}

#[derive(Default)]
struct Loader {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

struct Open {
    node: Node,
    anchor: usize,
    key: Option<(String, usize)>,
    /// How many nodes there were before it.
    before: usize,
}

impl Loader {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Mistake> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(Mistake::new(line, "only one YAML document per file is read"))
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Mistake::new(line, "an alias inside of what it stands for"));
                };
                self.count(size, line)?;
                self.put(node, line)
            }
            Event::Scalar(text, style, anchor, _) => {
                self.count(1, line)?;
                let content = match text.as_ref() {
                    "" | "~" | "null" | "Null" | "NULL" if style == ScalarStyle::Plain => Content::Null,
                    text => Content::Text(text.to_owned()),
                };
                let node = Node { line, content };
                self.remember(anchor, &node, 1);
                // A key is a scalar, whatever it looks like.
                self.put_scalar(node, &text, line)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Content::List(Vec::new()), anchor, line),
            Event::MappingStart(_, anchor, _) => self.begin(Content::Map(Vec::new()), anchor, line),
            Event::SequenceEnd | Event::MappingEnd => self.finish(line),
            _ => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), Mistake> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(Mistake::new(line, format!("the file has more than {MAX_NODES} values")));
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: &Node, size: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    fn begin(&mut self, content: Content, anchor: usize, line: usize) -> Result<(), Mistake> {
        let before = self.nodes;
        self.count(1, line)?;
        self.open.push(Open { node: Node { line, content }, anchor, key: None, before });
        Ok(())
    }

    fn finish(&mut self, line: usize) -> Result<(), Mistake> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        self.remember(open.anchor, &open.node, self.nodes - open.before);
        self.put(open.node, line)
    }

    fn put_scalar(&mut self, node: Node, text: &str, line: usize) -> Result<(), Mistake> {
        if let Some(Open { node: Node { content: Content::Map(_), .. }, key: key @ None, .. }) =
            self.open.last_mut()
        {
            *key = Some((text.to_owned(), line));
            return Ok(());
        }
        self.put(node, line)
    }

    fn put(&mut self, node: Node, line: usize) -> Result<(), Mistake> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.content {
            Content::Map(entries) => match open.key.take() {
                Some((key, at)) if entries.iter().any(|(known, ..)| *known == key) => {
                    Err(Mistake::new(at, format!("the key `{key}` stands twice; keep one")))
                }
                Some((key, at)) => {
                    entries.push((key, at, node));
                    Ok(())
                }
                None => Err(Mistake::new(line, "a key must be text")),
            },
            Content::List(items) => {
                items.push(node);
                Ok(())
            }
            Content::Null | Content::Text(_) => Ok(()),
        }
    }
}

impl Node {
    /// The node as a map of which only these keys are known.
    pub(crate) fn fields<'a>(&'a self, what: &str, known: &[&str]) -> Result<Fields<'a>, Mistake> {
        let entries = self.entries(what)?;
        for (key, line, _) in entries {
            if !known.contains(&key.as_str()) {
                let known = known.join("`, `");
                let message = format!("{what} has no key `{key}`; it has `{known}`");
                return Err(Mistake::new(*line, message));
            }
        }
        Ok(Fields { line: self.line, entries })
    }

    /// The node as a map of any keys.
    pub(crate) fn entries(&self, what: &str) -> Result<&[(String, usize, Self)], Mistake> {
        match &self.content {
            Content::Map(entries) => Ok(entries),
            Content::Null => Ok(&[]),
            _ => Err(Mistake::new(self.line, format!("{what} must be a map of keys and values"))),
        }
    }

    pub(crate) fn items(&self, what: &str) -> Result<&[Self], Mistake> {
        match &self.content {
            Content::List(items) => Ok(items),
            Content::Null => Ok(&[]),
            _ => Err(Mistake::new(self.line, format!("{what} must be a list (lines that begin with `- `)"))),
        }
    }

    pub(crate) fn text(&self, what: &str) -> Result<&str, Mistake> {
        match &self.content {
            Content::Text(text) => Ok(text),
            Content::Null => Ok(""),
            _ => Err(Mistake::new(self.line, format!("{what} must be text"))),
        }
    }

    fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }
}

/// A map whose keys are all known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) line: usize,
    entries: &'a [(String, usize, Node)],
}

impl<'a> Fields<'a> {
    /// The value of a key, unless it is null.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries
            .iter()
            .find(|(known, ..)| known == key)
            .map(|(.., node)| node)
            .filter(|node| !node.is_null())
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, Mistake> {
        self.get(key).map(|node| node.text(&format!("`{key}`"))).transpose()
    }

    pub(crate) fn required(&self, key: &str, what: &str) -> Result<&'a str, Mistake> {
        match self.text(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(Mistake::new(self.line, format!("{what} needs the key `{key}`"))),
        }
    }

    /// Milliseconds.
    pub(crate) fn duration(&self, key: &str) -> Result<Option<i64>, Mistake> {
        let Some(node) = self.get(key) else { return Ok(None) };
        let text = node.text(&format!("`{key}`"))?;
        if text == "0" {
            return Ok(Some(0));
        }
        let wrong =
            || Mistake::new(node.line, format!("`{key}` must be a duration such as 30s or 5m, not {text:?}"));
        parse_duration(text).filter(|millis| *millis >= 0).map(Some).ok_or_else(wrong)
    }

    pub(crate) fn count(&self, key: &str) -> Result<Option<usize>, Mistake> {
        let Some(node) = self.get(key) else { return Ok(None) };
        let text = node.text(&format!("`{key}`"))?;
        let wrong = |_| Mistake::new(node.line, format!("`{key}` must be a whole number, not {text:?}"));
        text.parse().map(Some).map_err(wrong)
    }

    /// A map of names and texts, each with its line.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<(&'a str, &'a str, usize)>, Mistake> {
        let Some(node) = self.get(key) else { return Ok(Vec::new()) };
        let entries = node.entries(&format!("`{key}`"))?;
        entries
            .iter()
            .map(|(name, line, value)| Ok((name.as_str(), value.text(&format!("`{key}.{name}`"))?, *line)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line_and_unknown_keys_are_named() {
        let node = load("a: 1\nb:\n  - x: |\n      two\n      lines\n    y: ~\n").unwrap().unwrap();
        let fields = node.fields("it", &["a", "b"]).unwrap();
        assert_eq!(fields.count("a").unwrap(), Some(1));
        let item = &fields.get("b").unwrap().items("b").unwrap()[0];
        let inner = item.fields("an item", &["x", "y"]).unwrap();
        assert_eq!((inner.text("x").unwrap(), inner.get("y").is_none()), (Some("two\nlines\n"), true));
        let error = item.fields("an item", &["x"]).unwrap_err();
        assert_eq!(error.to_string(), "line 6: an item has no key `y`; it has `x`");
    }

    #[test]
    fn repeated_keys_second_documents_and_broken_texts_are_mistakes() {
        for (text, line) in
            [("a: 1\na: 2\n", 2), ("a: 1\n---\nb: 1\n", 2), ("a: [1\nb: 2\n", 2), ("a: *b\n", 1)]
        {
            let error = load(text).unwrap_err();
            assert!(error.line >= line, "{text:?}: {error}");
        }
        assert!(load("# nothing\n").unwrap().is_none());
    }

    #[test]
    fn aliases_are_expanded_and_bounded() {
        let node = load("a: &x {k: v}\nb: *x\n").unwrap().unwrap();
        let fields = node.fields("it", &["a", "b"]).unwrap();
        assert_eq!(fields.texts("b").unwrap(), [("k", "v", 1)]);
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let of = format!("*a{}", level - 1);
            bomb = [bomb, format!("a{level}: &a{level} [{}]\n", vec![of; 10].join(","))].concat();
        }
        assert!(load(&bomb).unwrap_err().message.contains("more than"));
    }
}
