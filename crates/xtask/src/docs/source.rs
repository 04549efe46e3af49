//! The types of some crates, as their source files declare them.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::Context as _;
use syn::{Expr, Fields, Item, ItemEnum, ItemStruct, Stmt, Type};

/// What the files declare, by crate, module and name.
#[derive(Default)]
pub(super) struct Sources {
    structs: Vec<Declared<ItemStruct>>,
    enums: Vec<Declared<ItemEnum>>,
    /// Values of functions and constants without arguments.
    values: HashMap<(String, String), Expr>,
    /// Types that code of their own reads, by crate, module and name.
    read_by_hand: HashSet<(String, String, String)>,
    /// Fields of `Default::default`, by crate, type and field.
    defaults: HashMap<(String, String, String), Expr>,
}

pub(super) struct Declared<T> {
    pub(super) of_crate: String,
    /// Last part of the module's path.
    module: String,
    /// Declared where the crate reads its configuration.
    in_config: bool,
    pub(super) item: T,
}

/// A type that a field names.
pub(super) enum Found<'s> {
    Struct(&'s Declared<ItemStruct>),
    Enum(&'s Declared<ItemEnum>),
}

impl Sources {
    /// Adds a crate's files.
    pub(super) fn read(&mut self, name: &str, directory: &Path) -> anyhow::Result<()> {
        let mut waiting = vec![directory.join("src")];
        while let Some(at) = waiting.pop() {
            for entry in std::fs::read_dir(&at).with_context(|| format!("read {}", at.display()))? {
                let path = entry?.path();
                if path.is_dir() {
                    waiting.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    self.read_file(name, &path)?;
                }
            }
        }
        Ok(())
    }

    fn read_file(&mut self, of_crate: &str, path: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let file = syn::parse_file(&text).with_context(|| format!("parse {}", path.display()))?;
        let module = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let in_config = path.components().any(|part| part.as_os_str() == "config") || module == "config";
        for item in file.items {
            self.add(of_crate, &module, in_config, item);
        }
        Ok(())
    }

    fn add(&mut self, of_crate: &str, module: &str, in_config: bool, item: Item) {
        let (of_crate, module) = (of_crate.to_owned(), module.to_owned());
        match item {
            Item::Struct(item) => self.structs.push(Declared { of_crate, module, in_config, item }),
            Item::Enum(item) => self.enums.push(Declared { of_crate, module, in_config, item }),
            Item::Fn(item) if item.sig.inputs.is_empty() => {
                if let [Stmt::Expr(value, None)] = item.block.stmts.as_slice() {
                    self.values.insert((of_crate, item.sig.ident.to_string()), value.clone());
                }
            }
            Item::Const(item) => {
                self.values.insert((of_crate, item.ident.to_string()), *item.expr);
            }
            Item::Impl(item) => {
                if let (Some("Deserialize"), Some(of)) = (implemented(&item).as_deref(), subject(&item)) {
                    self.read_by_hand.insert((of_crate.clone(), module, of));
                }
                self.add_default(&of_crate, &item);
            }
            _ => {}
        }
    }

    fn add_default(&mut self, of_crate: &str, item: &syn::ItemImpl) {
        let (Some("Default"), Some(of)) = (implemented(item).as_deref(), subject(item)) else { return };
        let functions = item.items.iter().filter_map(|item| match item {
            syn::ImplItem::Fn(function) => function.block.stmts.last(),
            _ => None,
        });
        for statement in functions {
            let Stmt::Expr(Expr::Struct(value), None) = statement else { continue };
            for field in &value.fields {
                if let syn::Member::Named(name) = &field.member {
                    let key = (of_crate.to_owned(), of.clone(), name.to_string());
                    self.defaults.insert(key, field.expr.clone());
                }
            }
        }
    }

    /// The type that `path` means where `of_crate` names it.
    pub(super) fn find(&self, of_crate: &str, path: &syn::Path) -> Option<Found<'_>> {
        let name = path.segments.last()?.ident.to_string();
        let qualifier = path.segments.iter().rev().nth(1).map(|segment| segment.ident.to_string());
        // `quintet_store::Settings` names a crate, and so does `telemetry::Settings` where it is re-exported;
        // `throttle::Settings` names a module.
        let named = qualifier.as_ref().map(|it| format!("quintet-{}", it.trim_start_matches("quintet_")));
        let fits = |declared_crate: &str, module: &str| match (&qualifier, &named) {
            (Some(qualifier), Some(named)) => {
                declared_crate == named || (declared_crate == of_crate && module == qualifier)
            }
            _ => true,
        };
        let structs =
            self.structs.iter().filter(|it| it.item.ident == name && fits(&it.of_crate, &it.module));
        let enums = self.enums.iter().filter(|it| it.item.ident == name && fits(&it.of_crate, &it.module));
        let mut found: Vec<_> = structs
            .map(|it| (self.rank(of_crate, it, &it.item.ident, &it.item.attrs), Found::Struct(it)))
            .collect();
        found.extend(
            enums.map(|it| (self.rank(of_crate, it, &it.item.ident, &it.item.attrs), Found::Enum(it))),
        );
        found.sort_by_key(|(rank, _)| *rank);
        found.into_iter().next().map(|(_, found)| found)
    }

    /// What is read from the file comes before other types of its name, and the crate's own before those of others.
    fn rank<T>(
        &self,
        of_crate: &str,
        it: &Declared<T>,
        name: &syn::Ident,
        attributes: &[syn::Attribute],
    ) -> (bool, bool, bool) {
        let by_hand = (it.of_crate.clone(), it.module.clone(), name.to_string());
        let is_read = is_derived(attributes) || self.read_by_hand.contains(&by_hand);
        (!is_read, it.of_crate != of_crate, !it.in_config)
    }

    /// The struct of this name in a module of this name.
    pub(super) fn root(&self, of_crate: &str) -> Option<&Declared<ItemStruct>> {
        let is_root = |it: &&Declared<ItemStruct>| it.of_crate == of_crate && it.module == "config";
        self.structs.iter().filter(is_root).find(|it| it.item.ident == "Config")
    }

    /// What a function without arguments or a constant is.
    pub(super) fn value(&self, of_crate: &str, name: &str) -> Option<&Expr> {
        self.values.get(&(of_crate.to_owned(), name.to_owned()))
    }

    /// What a field is in the `Default` of its type.
    pub(super) fn default_of(&self, of_crate: &str, of: &str, field: &str) -> Option<&Expr> {
        self.defaults.get(&(of_crate.to_owned(), of.to_owned(), field.to_owned()))
    }
}

impl Sources {
    /// What the one field of this name is in a `Default` of the crate.
    pub(super) fn default_of_any(&self, of_crate: &str, field: &str) -> Option<&Expr> {
        let mut found =
            self.defaults.iter().filter(|((in_crate, _, name), _)| in_crate == of_crate && name == field);
        let first = found.next()?;
        found.next().is_none().then_some(first.1)
    }
}

/// The last part of the trait that a block implements.
fn implemented(item: &syn::ItemImpl) -> Option<String> {
    let (_, path, _) = item.trait_.as_ref()?;
    path.segments.last().map(|last| last.ident.to_string())
}

/// The type that a block is for.
fn subject(item: &syn::ItemImpl) -> Option<String> {
    match item.self_ty.as_ref() {
        Type::Path(of) => of.path.get_ident().map(ToString::to_string),
        _ => None,
    }
}

/// The fields of a struct that has names for them.
pub(super) fn fields(item: &ItemStruct) -> impl Iterator<Item = &syn::Field> {
    match &item.fields {
        Fields::Named(fields) => Some(fields.named.iter()),
        _ => None,
    }
    .into_iter()
    .flatten()
}

/// Whether `serde` reads the type by its fields or variants rather than by code of its own.
pub(super) fn is_derived(attributes: &[syn::Attribute]) -> bool {
    derives(attributes, "Deserialize")
}

pub(super) fn derives(attributes: &[syn::Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| {
        let mut found = false;
        if attribute.path().is_ident("derive") {
            // A derive that cannot be parsed does not compile either.
            let _ = attribute.parse_nested_meta(|meta| {
                found |= meta.path.segments.last().is_some_and(|last| last.ident == name);
                Ok(())
            });
        }
        found
    })
}
