//! From the pieces of a template to its tree. Variables and functions must be known here already, as in Go.

use super::functions;
use super::lexer::{Piece, Word, pieces};
use super::value::Value;

/// Deeper nesting would overflow the stack of the parser and of the expansion.
const MAX_DEPTH: usize = 32;

/// Commands, each given what the one before it yields.
pub(super) type Pipeline = Vec<Command>;
/// A function and its arguments, or a value alone.
pub(super) type Command = Vec<Operand>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    Declare(String, Pipeline),
    Assign(String, Pipeline),
    If {
        branches: Vec<(Pipeline, Vec<Self>)>,
        otherwise: Vec<Self>,
    },
    With {
        pipeline: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
    Range {
        key: Option<String>,
        item: Option<String>,
        pipeline: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Dot(Vec<String>),
    Variable(String, Vec<String>),
    Value(Value),
    Function(String),
    Pipeline(Pipeline, Vec<String>),
}

pub(super) fn parse(text: &str, variables: &[&str]) -> Result<Vec<Node>, String> {
    let mut parser = Parser {
        pieces: pieces(text)?.into_iter(),
        variables: variables.iter().map(|name| (*name).to_owned()).collect(),
        depth: 0,
    };
    match parser.list()? {
        (nodes, End::Text) => Ok(nodes),
        (_, End::Closed) => Err("{{ end }} ends nothing".to_owned()),
        (_, End::Otherwise(_)) => Err("{{ else }} belongs to nothing".to_owned()),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    variables: Vec<String>,
    depth: usize,
}

/// What ended a list of nodes.
enum End {
    Text,
    Closed,
    /// With what follows the word, as of `else if`.
    Otherwise(Vec<Word>),
}

impl Parser {
    fn list(&mut self) -> Result<(Vec<Node>, End), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the template is nested too deeply".to_owned());
        }
        let known = self.variables.len();
        let mut nodes = Vec::new();
        let end = loop {
            let Some(piece) = self.pieces.next() else { break End::Text };
            let words = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(words) => words,
            };
            match words.split_first() {
                Some((Word::Name(name), [])) if name == "end" => break End::Closed,
                Some((Word::Name(name), rest)) if name == "else" => break End::Otherwise(rest.to_vec()),
                Some((Word::Name(name), rest)) if matches!(name.as_str(), "if" | "with" | "range") => {
                    nodes.push(self.block(name, rest)?);
                }
                Some((Word::Name(name), _))
                    if matches!(name.as_str(), "define" | "template" | "block" | "break" | "continue") =>
                {
                    return Err(format!("{{{{ {name} }}}} is not supported"));
                }
                Some(_) => nodes.push(self.statement(&words)?),
                None => return Err("an action is empty".to_owned()),
            }
        };
        self.variables.truncate(known);
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn statement(&mut self, words: &[Word]) -> Result<Node, String> {
        match words {
            [Word::Variable(name, fields), Word::Declare, rest @ ..] if fields.is_empty() => {
                let pipeline = self.whole(rest)?;
                self.variables.push(name.clone());
                Ok(Node::Declare(name.clone(), pipeline))
            }
            [Word::Variable(name, fields), Word::Assign, rest @ ..] if fields.is_empty() => {
                self.known(name)?;
                Ok(Node::Assign(name.clone(), self.whole(rest)?))
            }
            _ => Ok(Node::Print(self.whole(words)?)),
        }
    }

    fn known(&self, name: &str) -> Result<(), String> {
        // `$` alone is the dot of the whole template, of which no rule has need.
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(format!("undefined variable ${name}"))
    }

    fn block(&mut self, name: &str, words: &[Word]) -> Result<Node, String> {
        let known = self.variables.len();
        let node = match name {
            "if" => self.condition(words)?,
            "with" => {
                let (pipeline, declared) = self.declaring(words)?;
                let (mut body, end) = self.list()?;
                if let Some((name, pipeline)) = declared {
                    body.insert(0, Node::Declare(name, pipeline));
                }
                let otherwise = self.otherwise(end)?;
                Node::With { pipeline, body, otherwise }
            }
            _ => self.range(words)?,
        };
        self.variables.truncate(known);
        Ok(node)
    }

    /// The pipeline of `with`, and the variable that it declares, if it does.
    fn declaring(&mut self, words: &[Word]) -> Result<(Pipeline, Option<(String, Pipeline)>), String> {
        if let [Word::Variable(name, fields), Word::Declare, rest @ ..] = words
            && fields.is_empty()
        {
            let pipeline = self.whole(rest)?;
            self.variables.push(name.clone());
            // Inside, the dot is the value already.
            let declared = vec![vec![Operand::Dot(Vec::new())]];
            return Ok((pipeline, Some((name.clone(), declared))));
        }
        Ok((self.whole(words)?, None))
    }

    fn condition(&mut self, words: &[Word]) -> Result<Node, String> {
        let mut branches = Vec::new();
        let mut condition = self.whole(words)?;
        loop {
            let (body, end) = self.list()?;
            branches.push((condition, body));
            match end {
                End::Closed => return Ok(Node::If { branches, otherwise: Vec::new() }),
                End::Text => return Err("{{ if }} is not closed with {{ end }}".to_owned()),
                End::Otherwise(rest) => match rest.split_first() {
                    None => {
                        let (otherwise, end) = self.list()?;
                        closed(&end)?;
                        return Ok(Node::If { branches, otherwise });
                    }
                    Some((Word::Name(name), rest)) if name == "if" => condition = self.whole(rest)?,
                    Some(_) => return Err("after {{ else only if may follow".to_owned()),
                },
            }
        }
    }

    fn range(&mut self, words: &[Word]) -> Result<Node, String> {
        let (key, item, rest) = match words {
            [Word::Variable(key, _), Word::Comma, Word::Variable(item, _), Word::Declare, rest @ ..] => {
                (Some(key.clone()), Some(item.clone()), rest)
            }
            [Word::Variable(item, _), Word::Declare, rest @ ..] => (None, Some(item.clone()), rest),
            _ => (None, None, words),
        };
        let pipeline = self.whole(rest)?;
        self.variables.extend(key.iter().chain(&item).cloned());
        let (body, end) = self.list()?;
        let otherwise = self.otherwise(end)?;
        Ok(Node::Range { key, item, pipeline, body, otherwise })
    }

    fn otherwise(&mut self, end: End) -> Result<Vec<Node>, String> {
        match end {
            End::Closed => Ok(Vec::new()),
            End::Otherwise(rest) if rest.is_empty() => {
                let (nodes, end) = self.list()?;
                closed(&end)?;
                Ok(nodes)
            }
            End::Otherwise(_) => Err("{{ else if }} belongs to {{ if }}".to_owned()),
            End::Text => Err("a block is not closed with {{ end }}".to_owned()),
        }
    }

    fn whole(&self, words: &[Word]) -> Result<Pipeline, String> {
        let (pipeline, rest) = self.pipeline(words, 0)?;
        match rest.first() {
            None => Ok(pipeline),
            Some(Word::Close) => Err("a parenthesis is closed that was not opened".to_owned()),
            Some(_) => Err("unexpected word in an action".to_owned()),
        }
    }

    fn pipeline<'w>(&self, mut words: &'w [Word], depth: usize) -> Result<(Pipeline, &'w [Word]), String> {
        if depth > MAX_DEPTH {
            return Err("the template is nested too deeply".to_owned());
        }
        let mut pipeline = Vec::new();
        loop {
            let mut command = Vec::new();
            while let Some((operand, rest)) = self.operand(words, depth)? {
                command.push(operand);
                words = rest;
            }
            if command.is_empty() {
                return Err("a value is missing".to_owned());
            }
            if !pipeline.is_empty() && !matches!(command.first(), Some(Operand::Function(_))) {
                return Err("after | a function must follow".to_owned());
            }
            pipeline.push(command);
            match words.split_first() {
                Some((Word::Pipe, rest)) => words = rest,
                _ => return Ok((pipeline, words)),
            }
        }
    }

    fn operand<'w>(&self, words: &'w [Word], depth: usize) -> Result<Option<(Operand, &'w [Word])>, String> {
        let Some((first, rest)) = words.split_first() else { return Ok(None) };
        let operand = match first {
            Word::Name(name) => match name.as_str() {
                "true" | "false" => Operand::Value(Value::Bool(name == "true")),
                "nil" => Operand::Value(Value::Nil),
                name if functions::is_known(name) => Operand::Function(name.to_owned()),
                name => return Err(format!("function {name:?} not defined")),
            },
            Word::Dot(chain) => Operand::Dot(chain.clone()),
            Word::Variable(name, chain) => {
                self.known(name)?;
                Operand::Variable(name.clone(), chain.clone())
            }
            Word::Text(text) => Operand::Value(Value::Text(text.clone())),
            Word::Int(value) => Operand::Value(Value::Int(*value)),
            Word::Float(value) => Operand::Value(Value::Float(*value)),
            Word::Open => {
                let (pipeline, rest) = self.pipeline(rest, depth + 1)?;
                let Some((Word::Close, rest)) = rest.split_first() else {
                    return Err("a parenthesis is not closed".to_owned());
                };
                return Ok(Some(match rest.split_first() {
                    Some((Word::Chain(chain), rest)) => (Operand::Pipeline(pipeline, chain.clone()), rest),
                    _ => (Operand::Pipeline(pipeline, Vec::new()), rest),
                }));
            }
            Word::Pipe | Word::Close => return Ok(None),
            Word::Chain(_) | Word::Comma | Word::Declare | Word::Assign => {
                return Err("unexpected word in an action".to_owned());
            }
        };
        Ok(Some((operand, rest)))
    }
}

fn closed(end: &End) -> Result<(), String> {
    if matches!(end, End::Closed) { Ok(()) } else { Err("a block is not closed with {{ end }}".to_owned()) }
}
