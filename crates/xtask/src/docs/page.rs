//! One binary's page.

use std::fmt::Write as _;

use anyhow::Context as _;
use quote::ToTokens as _;
use syn::punctuated::Punctuated;
use syn::{Expr, GenericArgument, ItemStruct, PathArguments, Type};

use super::source::{Declared, Found, Sources, derives, fields, is_derived};

/// The page of `binary`.
pub(super) fn write(binary: &str, sources: &Sources) -> anyhow::Result<String> {
    let root = sources.root(binary).context("no struct Config in config.rs")?;
    let mut page = Page { text: String::new(), sources };
    let _ = write!(
        page.text,
        "# Configuration of {binary}\n\nMade from the code by `cargo xtask docs`; change it there. Every key can also \
         come from an environment variable: `QUINTET_{}__SECTION__KEY`.\n",
        binary.to_uppercase().replace('-', "_")
    );
    page.section("", root)?;
    Ok(page.text)
}

struct Page<'s> {
    text: String,
    sources: &'s Sources,
}

/// A section that is written after the table that names it.
struct Below<'s> {
    path: String,
    list: bool,
    of: &'s Declared<ItemStruct>,
    words: String,
}

impl<'s> Page<'s> {
    fn section(&mut self, path: &str, of: &'s Declared<ItemStruct>) -> anyhow::Result<()> {
        let mut rows = String::new();
        let mut below = Vec::new();
        self.rows(path, of, &mut rows, &mut below)?;
        if !rows.is_empty() {
            let _ = write!(self.text, "\n| Key | Value | Unless set | |\n| --- | --- | --- | --- |\n{rows}");
        }
        for Below { path, list, of, words } in below {
            let (open, close) = if list { ("[[", "]]") } else { ("[", "]") };
            let _ = write!(self.text, "\n## `{open}{path}{close}`\n");
            if !words.is_empty() {
                let _ = write!(self.text, "\n{words}\n");
            }
            self.section(&path, of)?;
        }
        Ok(())
    }

    fn rows(
        &self,
        path: &str,
        of: &'s Declared<ItemStruct>,
        rows: &mut String,
        below: &mut Vec<Below<'s>>,
    ) -> anyhow::Result<()> {
        let container = Serde::of(&of.item.attrs);
        for field in fields(&of.item) {
            let serde = Serde::of(&field.attrs);
            if serde.skip {
                continue;
            }
            let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
            let key = serde.rename.clone().unwrap_or_else(|| ident.trim_start_matches("r#").to_owned());
            let shape = self.shape(&of.of_crate, &field.ty);
            let words = documentation(&field.attrs);
            if let Some(inner) = shape.section {
                if serde.flatten {
                    self.rows(path, inner, rows, below)?;
                    continue;
                }
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                let mut words = words;
                if shape.optional
                    || !matches!((&serde.default, &container.default), (Fallback::None, Fallback::None))
                {
                    if !words.is_empty() {
                        words.push(' ');
                    }
                    words.push_str("May be left out.");
                }
                below.push(Below { path, list: shape.list, of: inner, words });
                continue;
            }
            let default = self.default(of, &container, &serde, &ident, &shape)?;
            let _ = writeln!(rows, "| `{key}` | {} | {default} | {} |", shape.text, cell(&words));
        }
        Ok(())
    }

    fn default(
        &self,
        of: &Declared<ItemStruct>,
        container: &Serde,
        serde: &Serde,
        field: &str,
        shape: &Shape<'_>,
    ) -> anyhow::Result<String> {
        let given = match (&serde.default, &container.default) {
            (Fallback::Function(function), _) => {
                let name = function.rsplit("::").next().unwrap_or(function);
                Some(self.sources.value(&of.of_crate, name))
            }
            (Fallback::None, Fallback::OfType) if derives(&of.item.attrs, "Default") => None,
            (Fallback::None, Fallback::OfType | Fallback::Function(_)) => {
                Some(self.sources.default_of(&of.of_crate, &of.item.ident.to_string(), field))
            }
            (Fallback::OfType, _) => None,
            (Fallback::None, Fallback::None) if shape.optional => None,
            (Fallback::None, Fallback::None) => return Ok("**required**".to_owned()),
        };
        let Some(given) = given else { return Ok(shape.empty.clone()) };
        let given =
            given.with_context(|| format!("the default of `{field}` of {} is not found", of.item.ident))?;
        if is_empty(given) {
            return Ok(shape.empty.clone());
        }
        let text = self.literal(&of.of_crate, given).with_context(|| {
            let text = given.to_token_stream();
            format!("the default of `{field}` of {} cannot be told: {text}", of.item.ident)
        })?;
        Ok(format!("`{text}`"))
    }

    /// An expression as an operator would write it: names of constants become their values.
    fn literal(&self, of_crate: &str, expression: &Expr) -> Option<String> {
        let list = |items: Vec<&Expr>| {
            let items: Option<Vec<_>> = items.into_iter().map(|item| self.literal(of_crate, item)).collect();
            Some(format!("[{}]", items?.join(", ")))
        };
        match expression {
            Expr::Path(path) => match path.path.get_ident() {
                Some(name) => self.literal(of_crate, self.sources.value(of_crate, &name.to_string())?),
                None => self.variant(of_crate, &path.path),
            },
            // Such as `to_owned`, `to_vec` and `map(str::to_owned)`.
            Expr::MethodCall(call) => self.literal(of_crate, &call.receiver),
            Expr::Field(field) => match &field.member {
                syn::Member::Named(name) => {
                    self.literal(of_crate, self.sources.default_of_any(of_crate, &name.to_string())?)
                }
                syn::Member::Unnamed(_) => None,
            },
            Expr::Call(call) => {
                let value = self.literal(of_crate, call.args.first()?)?;
                match call.func.to_token_stream().to_string().replace(' ', "").as_str() {
                    "Duration::from_secs" => Some(value.parse::<u64>().ok()?.checked_mul(1_000)?.to_string()),
                    "Duration::from_millis" | "Some" | "String::from" => Some(value),
                    _ => None,
                }
            }
            Expr::Array(array) => list(array.elems.iter().collect()),
            Expr::Macro(made) if made.mac.path.is_ident("vec") => {
                let items = made.mac.parse_body_with(Punctuated::<Expr, syn::Token![,]>::parse_terminated);
                list(items.ok()?.iter().collect())
            }
            Expr::Lit(literal) => Some(match &literal.lit {
                syn::Lit::Int(number) => number.base10_digits().to_owned(),
                syn::Lit::Float(number) => number.base10_digits().to_owned(),
                other => other.to_token_stream().to_string(),
            }),
            Expr::Binary(_) => product(expression).map(|number| number.to_string()),
            _ => None,
        }
    }

    /// `Enum::Variant` as it is written in the file.
    fn variant(&self, of_crate: &str, path: &syn::Path) -> Option<String> {
        let mut of = path.clone();
        let name = of.segments.pop()?.into_value().ident.to_string();
        of.segments.pop_punct();
        let Found::Enum(found) = self.sources.find(of_crate, &of)? else { return None };
        let variant = found.item.variants.iter().find(|variant| variant.ident == name)?;
        Some(format!("\"{}\"", name_of(&Serde::of(&found.item.attrs), variant)))
    }

    fn shape(&self, of_crate: &str, of: &Type) -> Shape<'s> {
        let Type::Path(path) = of else { return Shape::plain("value") };
        let Some(last) = path.path.segments.last() else { return Shape::plain("value") };
        let name = last.ident.to_string();
        if let Some(inner) = argument(&last.arguments) {
            let mut shape = self.shape(of_crate, inner);
            match name.as_str() {
                "Option" => {
                    shape.optional = true;
                    "–".clone_into(&mut shape.empty);
                }
                "Vec" | "BTreeSet" => {
                    shape.list = true;
                    shape.text = format!("list of {}", shape.text);
                    "none".clone_into(&mut shape.empty);
                }
                "BTreeMap" | "HashMap" => {
                    shape = Shape { empty: "none".to_owned(), ..Shape::plain("table of names and values") };
                }
                _ => {}
            }
            return shape;
        }
        if let Some(words) = simple(&name) {
            return Shape { empty: empty(&name).to_owned(), ..Shape::plain(words) };
        }
        match self.sources.find(of_crate, &path.path) {
            Some(Found::Struct(found))
                if is_derived(&found.item.attrs) && fields(&found.item).next().is_some() =>
            {
                Shape { section: Some(found), ..Shape::plain("table") }
            }
            Some(Found::Struct(found)) => Shape::plain(&described(&found.item.attrs)),
            Some(Found::Enum(found)) => variants(&found.item),
            None => Shape::plain("text"),
        }
    }
}

/// What a key takes.
struct Shape<'s> {
    text: String,
    /// The value that `serde(default)` gives.
    empty: String,
    optional: bool,
    list: bool,
    section: Option<&'s Declared<ItemStruct>>,
}

impl Shape<'_> {
    fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), empty: "–".to_owned(), optional: false, list: false, section: None }
    }
}

fn simple(name: &str) -> Option<&'static str> {
    Some(match name {
        "String" | "Secret" => "text",
        "bool" => "`true` or `false`",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" | "NonZeroUsize" | "NonZeroU32"
        | "Duration" => "integer",
        "f64" => "number",
        "PathBuf" | "SecretFile" => "path",
        "Address" => "address",
        "Origin" | "Url" => "URL",
        "IpAddr" => "IP address",
        _ => return None,
    })
}

fn empty(name: &str) -> &'static str {
    match name {
        "bool" => "`false`",
        "String" => "empty",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" | "f64" => "`0`",
        _ => "–",
    }
}

/// The words for a value that is read by code of its own: the first sentence about its type.
fn described(attributes: &[syn::Attribute]) -> String {
    let words = documentation(attributes);
    let first = words.split_once(". ").map_or(words.as_str(), |(first, _)| first).trim_end_matches('.');
    let mut characters = first.chars();
    match characters.next() {
        Some(initial) => cell(&format!("{}{}", initial.to_lowercase(), characters.as_str())),
        None => "text".to_owned(),
    }
}

fn variants(item: &syn::ItemEnum) -> Shape<'static> {
    let container = Serde::of(&item.attrs);
    let unit = item.variants.iter().all(|variant| variant.fields.is_empty());
    if !is_derived(&item.attrs) || !unit || container.untagged {
        return Shape::plain(&described(&item.attrs));
    }
    let mut shape = Shape::plain("");
    let mut names = Vec::new();
    for variant in &item.variants {
        let name = name_of(&container, variant);
        if variant.attrs.iter().any(|attribute| attribute.path().is_ident("default")) {
            shape.empty = format!("`\"{name}\"`");
        }
        names.push(format!("`\"{name}\"`"));
    }
    shape.text = names.join(", ");
    shape
}

fn name_of(container: &Serde, variant: &syn::Variant) -> String {
    Serde::of(&variant.attrs).rename.unwrap_or_else(|| container.case(&variant.ident.to_string()))
}

/// `None`, and what `new()` and `default()` make.
fn is_empty(expression: &Expr) -> bool {
    match expression {
        Expr::Path(path) => path.path.is_ident("None"),
        Expr::Call(call) => {
            let Expr::Path(function) = call.func.as_ref() else { return false };
            let last = function.path.segments.last().map(|last| last.ident.to_string());
            call.args.is_empty() && matches!(last.as_deref(), Some("new" | "default"))
        }
        _ => false,
    }
}

/// What a key is that is not set.
#[derive(Default)]
enum Fallback {
    /// It must be set.
    #[default]
    None,
    /// Its type's default.
    OfType,
    /// What this function gives.
    Function(String),
}

/// What `#[serde(…)]` says.
#[derive(Default)]
struct Serde {
    default: Fallback,
    rename: Option<String>,
    rename_all: Option<String>,
    flatten: bool,
    skip: bool,
    untagged: bool,
}

impl Serde {
    fn of(attributes: &[syn::Attribute]) -> Self {
        let mut found = Self::default();
        for attribute in attributes.iter().filter(|it| it.path().is_ident("serde")) {
            // What cannot be parsed does not compile either.
            let _ = attribute.parse_nested_meta(|meta| {
                let text = match meta.value() {
                    Ok(value) => match value.parse::<syn::Lit>()? {
                        syn::Lit::Str(text) => Some(text.value()),
                        _ => None,
                    },
                    Err(_) => None,
                };
                match meta.path.get_ident().map(ToString::to_string).as_deref() {
                    Some("default") => found.default = text.map_or(Fallback::OfType, Fallback::Function),
                    Some("rename") => found.rename = text,
                    Some("rename_all") => found.rename_all = text,
                    Some("flatten") => found.flatten = true,
                    Some("skip" | "skip_deserializing") => found.skip = true,
                    Some("untagged") => found.untagged = true,
                    _ => {}
                }
                Ok(())
            });
        }
        found
    }

    fn case(&self, name: &str) -> String {
        let separator = match self.rename_all.as_deref() {
            Some("kebab-case") => "-",
            Some("snake_case") => "_",
            Some("lowercase") => return name.to_lowercase(),
            Some("UPPERCASE") => return name.to_uppercase(),
            _ => return name.to_owned(),
        };
        let mut made = String::new();
        for character in name.chars() {
            if character.is_uppercase() && !made.is_empty() {
                made.push_str(separator);
            }
            made.extend(character.to_lowercase());
        }
        made
    }
}

/// The type inside of `Option<…>`, `Vec<…>` and the like.
fn argument(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(list) = arguments else { return None };
    list.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(of) => Some(of),
        _ => None,
    })
}

/// A product of whole numbers.
fn product(expression: &Expr) -> Option<u64> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            syn::Lit::Int(number) => number.base10_parse().ok(),
            _ => None,
        },
        Expr::Binary(binary) if matches!(binary.op, syn::BinOp::Mul(_)) => {
            product(&binary.left)?.checked_mul(product(&binary.right)?)
        }
        Expr::Binary(binary) if matches!(binary.op, syn::BinOp::Shl(_)) => {
            product(&binary.left)?.checked_shl(product(&binary.right)?.try_into().ok()?)
        }
        _ => None,
    }
}

fn documentation(attributes: &[syn::Attribute]) -> String {
    let lines = attributes.iter().filter(|it| it.path().is_ident("doc")).filter_map(|it| match &it.meta {
        syn::Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                syn::Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").trim().replace("[`Self::", "`").replace("`]", "`")
}

/// Text as it may stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(" [`", " `")
}
