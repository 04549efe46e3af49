//! Relabelling as Prometheus does it (`relabel_configs`): steps that change, keep or drop a set of labels.
//!
//! A step joins the values of its `source_labels` by its `separator` and looks at the result with its `regex`, which is
//! anchored at both ends and whose dot matches line breaks. [`Step`] is what stands in the configuration, [`Steps`] what can
//! be applied; what cannot be used is refused in between, with the words that say what to change.
//!
//! Invariants: patterns are bounded in size; a value that is longer than [`MAX_VALUE`] is matched by nothing, and a step makes
//! none that is.

use std::collections::BTreeMap;

use md5::{Digest as _, Md5};
use regex::Regex;
use serde::Deserialize;

use crate::ingest::naming::label_name;
use crate::model::matcher::compile;

/// Bytes of a joined or a made value.
const MAX_VALUE: usize = 8 * 1024;
const MAX_REPLACEMENT: usize = 1024;
/// Steps of one list.
const MAX_STEPS: usize = 200;

/// Labels while they are changed; none is empty.
pub(crate) type LabelMap = BTreeMap<String, String>;

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// Sets `target_label` to the `replacement` where the pattern fits; an empty value removes it.
    #[default]
    Replace,
    /// Keeps only what the pattern fits.
    Keep,
    /// Drops what the pattern fits.
    Drop,
    /// Keeps only what has the joined value in `target_label`.
    KeepEqual,
    /// Drops what has the joined value in `target_label`.
    DropEqual,
    /// Sets `target_label` to the joined value's MD5 modulo `modulus`.
    HashMod,
    /// Copies each label whose name fits the pattern to the name that the `replacement` makes of it.
    LabelMap,
    /// Removes the labels whose names fit the pattern.
    LabelDrop,
    /// Removes the labels whose names do not fit the pattern.
    LabelKeep,
    /// Sets `target_label` to the joined value in lower case.
    Lowercase,
    /// Sets `target_label` to the joined value in upper case.
    Uppercase,
}

/// One step of relabelling, in Prometheus' words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Step {
    /// The labels whose values are joined.
    pub(crate) source_labels: Vec<String>,
    pub(crate) separator: String,
    /// Anchored at both ends.
    pub(crate) regex: String,
    pub(crate) modulus: u64,
    pub(crate) target_label: String,
    /// With `$1` or `${name}` for what the pattern caught.
    pub(crate) replacement: String,
    pub(crate) action: Action,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: Action::Replace,
        }
    }
}

/// Steps that can be applied, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps(Vec<(Step, Regex)>);

impl Steps {
    /// Checks and compiles; the error says which step is wrong and what to change.
    pub(crate) fn new(steps: &[Step]) -> Result<Self, String> {
        if steps.len() > MAX_STEPS {
            return Err(format!("more than {MAX_STEPS} steps"));
        }
        let numbered = steps.iter().enumerate();
        let compiled = numbered
            .map(|(index, step)| compiled(step).map_err(|error| format!("step {}: {error}", index + 1)));
        compiled.collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes the labels; whether they are kept.
    #[must_use]
    pub(crate) fn apply(&self, labels: &mut LabelMap) -> bool {
        self.0.iter().all(|(step, regex)| apply(step, regex, labels))
    }
}

fn compiled(step: &Step) -> Result<(Step, Regex), String> {
    use Action::{
        DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase,
    };
    let plain = |name: &str| label_name(name) == name;
    let regex = compile(&format!("^(?s:{})$", step.regex))?;
    if matches!(step.action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual)
        && step.target_label.is_empty()
    {
        return Err("this action needs `target_label`".to_owned());
    }
    if step.action != Replace && !step.target_label.is_empty() && !plain(&step.target_label) {
        return Err(format!("`target_label`: {:?} is no label name", step.target_label));
    }
    if step.action == HashMod && step.modulus == 0 {
        return Err("hashmod needs a `modulus` above zero".to_owned());
    }
    if step.action == LabelMap && !plain(&step.replacement.replace(['$', '{', '}'], "_")) {
        return Err(format!("`replacement`: {:?} makes no label name", step.replacement));
    }
    let whole = Step { action: step.action, regex: step.regex.clone(), ..Step::default() };
    if matches!(step.action, LabelDrop | LabelKeep) && *step != whole {
        return Err("labeldrop and labelkeep take `regex` alone".to_owned());
    }
    if step.replacement.len() > MAX_REPLACEMENT {
        return Err(format!("`replacement` is longer than {MAX_REPLACEMENT} bytes"));
    }
    if let Some(name) = step.source_labels.iter().find(|name| !plain(name)) {
        return Err(format!("`source_labels`: {name:?} is no label name"));
    }
    Ok((step.clone(), regex))
}

fn apply(step: &Step, regex: &Regex, labels: &mut LabelMap) -> bool {
    let values = step.source_labels.iter().map(|name| labels.get(name).map_or("", String::as_str));
    let joined = values.collect::<Vec<_>>().join(&step.separator);
    let fits = joined.len() <= MAX_VALUE && regex.is_match(&joined);
    let current = labels.get(&step.target_label).map_or("", String::as_str);
    match step.action {
        Action::Keep => return fits,
        Action::Drop => return !fits,
        Action::KeepEqual => return joined == current,
        Action::DropEqual => return joined != current,
        Action::Replace if fits => replace(step, regex, &joined, labels),
        Action::Replace => {}
        Action::HashMod => {
            let value = hash(joined.as_bytes()).checked_rem(step.modulus).unwrap_or_default();
            set(labels, step.target_label.clone(), value.to_string());
        }
        Action::Lowercase => set(labels, step.target_label.clone(), joined.to_lowercase()),
        Action::Uppercase => set(labels, step.target_label.clone(), joined.to_uppercase()),
        Action::LabelDrop => labels.retain(|name, _| !regex.is_match(name)),
        Action::LabelKeep => labels.retain(|name, _| regex.is_match(name)),
        Action::LabelMap => {
            let copies: Vec<_> = labels
                .iter()
                .filter_map(|(name, value)| {
                    let mut copy = String::new();
                    regex.captures(name)?.expand(&step.replacement, &mut copy);
                    Some((copy, value.clone()))
                })
                .collect();
            for (name, value) in copies {
                set(labels, name, value);
            }
        }
    }
    true
}

fn replace(step: &Step, regex: &Regex, joined: &str, labels: &mut LabelMap) {
    let Some(captures) = regex.captures(joined) else { return };
    let (mut name, mut value) = (String::new(), String::new());
    captures.expand(&step.target_label, &mut name);
    captures.expand(&step.replacement, &mut value);
    // A name that cannot be one leaves the labels as they are, as in Prometheus.
    if label_name(&name) == name && value.len() <= MAX_VALUE {
        set(labels, name, value);
    }
}

fn set(labels: &mut LabelMap, name: String, value: String) {
    if value.is_empty() {
        labels.remove(&name);
    } else {
        labels.insert(name, value);
    }
}

/// The number that Prometheus makes of a text: the last eight bytes of its MD5, so that both share targets out alike.
fn hash(text: &[u8]) -> u64 {
    Md5::digest(text).iter().skip(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
