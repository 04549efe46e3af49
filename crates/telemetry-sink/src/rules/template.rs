//! The templates of labels and annotations: the part of Go's text/template that Prometheus' rules use.
//!
//! Known are text, `{{ }}` with trim marks and comments, fields and variables with chains (`$labels.job`, `.Value`,
//! `$v.Labels.x`), texts, numbers, `true`, `false`, `nil`, pipelines, parentheses, `:=` and `=`, `if`/`else if`/`else`,
//! `with`, `range` with one or two variables, `end`, and the functions of [`functions`]. Named templates (`define`,
//! `template`, `block`), `break` and `continue` are refused when the file is read.
//!
//! Invariants: a template that cannot work is refused where it is read as far as its form shows; expanding one never
//! panics and is bounded in output, in turns of its loops, in queries, in the size of each value and of a function's
//! arguments together, in depth, and in how much it copies in all.

mod functions;
mod lexer;
mod number;
mod parser;
mod value;

use std::cell::Cell;
use std::collections::BTreeMap;

use self::parser::{Command, Node, Operand, Pipeline};
pub(crate) use self::value::Value;
use crate::limited::Limited;
use crate::model::Labels;

const MAX_OUTPUT: usize = 64 * 1024;
const MAX_TURNS: usize = 10_000;
const MAX_QUERIES: usize = 20;
/// Bytes of a query's answer, and of the arguments of one function.
const MAX_HELD: usize = 8 * 1024 * 1024;
/// Bytes of all values that an expansion looks at.
const MAX_WORK: usize = 128 * 1024 * 1024;

/// A series and its value now.
pub(crate) type Found = (Labels, f64);

/// What a template may ask for besides its values.
pub(crate) trait Surroundings {
    /// The answer of a PromQL query at the time of the expansion.
    fn query(&self, text: &str) -> Result<Vec<Found>, String>;
    /// Where this server's pages are seen from outside.
    fn external_url(&self) -> &str;
}

/// A template that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    text: String,
    nodes: Vec<Node>,
}

impl Template {
    /// Understands a text; `variables` are those that it may use besides its own.
    pub(crate) fn parse(text: &str, variables: &[&str]) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), nodes: parser::parse(text, variables)? })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text with everything filled in.
    pub(crate) fn expand(
        &self,
        dot: &Value,
        variables: &[(&str, Value)],
        around: &dyn Surroundings,
    ) -> Result<String, String> {
        let mut expansion = Expansion {
            around,
            variables: variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            output: Limited::new(MAX_OUTPUT),
            turns: 0,
            queries: Cell::new(0),
            work: Cell::new(0),
        };
        expansion.all(&self.nodes, dot)?;
        Ok(expansion.output.finish())
    }
}

struct Expansion<'a> {
    around: &'a dyn Surroundings,
    variables: Vec<(String, Value)>,
    output: Limited,
    turns: usize,
    queries: Cell<usize>,
    work: Cell<usize>,
}

impl Expansion<'_> {
    fn all(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        let known = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(known);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), String> {
        match node {
            Node::Text(text) => self.output.push(text)?,
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.output.push(&value.to_text())?;
            }
            Node::Declare(name, pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.variables.push((name.clone(), value));
            }
            Node::Assign(name, pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
                known.ok_or_else(|| format!("undefined variable ${name}"))?.1 = value;
            }
            Node::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if self.pipeline(condition, dot)?.is_true() {
                        return self.all(body, dot);
                    }
                }
                self.all(otherwise, dot)?;
            }
            Node::With { pipeline, body, otherwise } => {
                let value = self.pipeline(pipeline, dot)?;
                if value.is_true() {
                    self.all(body, &value)?;
                } else {
                    self.all(otherwise, dot)?;
                }
            }
            Node::Range { key, item, pipeline, body, otherwise } => {
                let value = self.pipeline(pipeline, dot)?;
                let items = value.items()?;
                if items.is_empty() {
                    return self.all(otherwise, dot);
                }
                for (index, one) in items {
                    self.turns += 1;
                    if self.turns > MAX_TURNS {
                        return Err(format!("the loops turn more than {MAX_TURNS} times"));
                    }
                    let known = self.variables.len();
                    if let Some(key) = key {
                        self.variables.push((key.clone(), index));
                    }
                    if let Some(item) = item {
                        self.variables.push((item.clone(), one.clone()));
                    }
                    self.all(body, &one)?;
                    self.variables.truncate(known);
                }
            }
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in pipeline {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(&self, command: &Command, dot: &Value, piped: Option<Value>) -> Result<Value, String> {
        let Some((first, rest)) = command.split_first() else { return Ok(Value::Nil) };
        let Operand::Function(name) = first else {
            return if rest.is_empty() && piped.is_none() {
                self.operand(first, dot)
            } else {
                Err("something that is no function is given arguments".to_owned())
            };
        };
        // `and` and `or` stop at the first argument that decides.
        if matches!(name.as_str(), "and" | "or") && piped.is_none() {
            let mut last = Value::Nil;
            for operand in rest {
                last = self.operand(operand, dot)?;
                if last.is_true() == (name == "or") {
                    break;
                }
            }
            return Ok(last);
        }
        let mut held = piped.as_ref().map_or(0, Value::bytes);
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            let argument = self.operand(operand, dot)?;
            held += argument.bytes();
            if held > MAX_HELD {
                return Err(format!("the arguments of {name} are larger than {MAX_HELD} bytes"));
            }
            arguments.push(argument);
        }
        arguments.extend(piped);
        functions::call(name, arguments, self)
    }

    /// Accounts for what is copied or computed.
    fn spend(&self, bytes: usize) -> Result<(), String> {
        self.work.set(self.work.get().saturating_add(bytes));
        if self.work.get() > MAX_WORK {
            return Err(format!("the template works on more than {MAX_WORK} bytes"));
        }
        Ok(())
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Dot(chain) => self.copied(dot, chain),
            Operand::Variable(name, chain) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = found.ok_or_else(|| format!("undefined variable ${name}"))?;
                self.copied(value, chain)
            }
            Operand::Value(value) => self.copied(value, &[]),
            Operand::Function(name) => functions::call(name, Vec::new(), self),
            Operand::Pipeline(pipeline, chain) => {
                let value = self.pipeline(pipeline, dot)?;
                chain.iter().try_fold(value, |value, field| value.field(field))
            }
        }
    }

    /// A copy of what a chain of fields leads to.
    fn copied(&self, value: &Value, chain: &[String]) -> Result<Value, String> {
        let found = match chain.split_first() {
            None => value.clone(),
            Some((first, rest)) => {
                rest.iter().try_fold(value.field(first)?, |value, field| value.field(field))?
            }
        };
        self.spend(found.bytes())?;
        Ok(found)
    }

    fn query(&self, text: &str) -> Result<Value, String> {
        self.queries.set(self.queries.get() + 1);
        if self.queries.get() > MAX_QUERIES {
            return Err(format!("the template makes more than {MAX_QUERIES} queries"));
        }
        let found = self.around.query(text)?;
        let mut held = 0;
        let mut items = Vec::with_capacity(found.len());
        for (labels, value) in found {
            let item = Value::sample(&labels, value);
            held += item.bytes();
            if held > MAX_HELD {
                return Err(format!("the answer of {text:?} is larger than {MAX_HELD} bytes; aggregate it"));
            }
            items.push(item);
        }
        self.spend(held)?;
        Ok(Value::List(items))
    }
}

/// The values of an alert's templates: `$labels`, `$value` and the like.
pub(crate) fn alert_values(
    labels: &Labels,
    value: f64,
    external: &BTreeMap<String, String>,
    external_url: &str,
) -> (Value, Vec<(&'static str, Value)>) {
    let external = Value::texts(external.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let labels = Value::texts(labels.iter());
    let url = Value::Text(external_url.to_owned());
    let number = Value::Float(value);
    let dot = Value::map([
        ("Labels", labels.clone()),
        ("ExternalLabels", external.clone()),
        ("ExternalURL", url.clone()),
        ("Value", number.clone()),
    ]);
    (dot, vec![("labels", labels), ("externalLabels", external), ("externalURL", url), ("value", number)])
}

/// The variables that an alert's templates have.
pub(crate) const ALERT_VARIABLES: [&str; 4] = ["labels", "externalLabels", "externalURL", "value"];

#[cfg(test)]
mod tests;
