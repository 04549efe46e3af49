//! Whether a package may be used under a licence the project allows, judged from its SPDX expression.
//!
//! `OR` needs one allowed side, `AND` both; `AND` binds closer (SPDX 2.3, annex D). A slash is the old spelling of
//! `OR` that crates.io still serves.

use cargo_metadata::Metadata;

pub(super) fn broken(metadata: &Metadata, allow: &[String]) -> Vec<String> {
    let mut broken = Vec::new();
    for package in &metadata.packages {
        match &package.license {
            None => broken.push(format!("{}: names no licence", package.name)),
            Some(expression) if !allowed(expression, allow) => {
                broken.push(format!("{}: `{expression}` is not allowed by deny.toml", package.name));
            }
            Some(_) => {}
        }
    }
    broken
}

fn allowed(expression: &str, allow: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let verdict = any_of(&mut words, allow);
    verdict && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allow: &[String]) -> bool {
    let mut verdict = all_of(words, allow);
    while words.next_if_eq(&"OR").is_some() {
        verdict |= all_of(words, allow);
    }
    verdict
}

fn all_of(words: &mut Words<'_>, allow: &[String]) -> bool {
    let mut verdict = one(words, allow);
    while words.next_if_eq(&"AND").is_some() {
        verdict &= one(words, allow);
    }
    verdict
}

fn one(words: &mut Words<'_>, allow: &[String]) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let verdict = any_of(words, allow);
        return verdict & words.next_if_eq(&")").is_some();
    }
    let Some(licence) = words.next() else { return false };
    let name = match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
        Some(exception) => format!("{licence} WITH {exception}"),
        None => licence.to_owned(),
    };
    allow.contains(&name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn expressions_are_judged_as_spdx_defines_them() {
        let allow = ["MIT", "Apache-2.0", "ISC"].map(String::from);
        let check = |expression: &str, expected: bool| {
            assert_eq!(super::allowed(expression, &allow), expected, "{expression}");
        };
        check("MIT", true);
        check("GPL-3.0", false);
        check("GPL-3.0 OR MIT", true);
        check("GPL-3.0 AND MIT", false);
        check("MIT/Apache-2.0", true);
        check("ISC AND (Apache-2.0 OR GPL-2.0)", true);
        check("ISC AND (LGPL-3.0 OR GPL-2.0)", false);
        check("GPL-3.0 OR MIT AND GPL-2.0", false);
        check("Apache-2.0 WITH LLVM-exception", false);
        check("MIT OR", true);
        check("MIT MIT", false);
        check("(MIT", false);
        check("", false);
    }
}
