use super::*;

fn labels(pairs: &[(&str, &str)]) -> LabelMap {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn steps(text: &str) -> Result<Steps, String> {
    #[derive(Deserialize)]
    struct Wrapped {
        step: Vec<Step>,
    }
    let wrapped: Wrapped = toml::from_str(text).unwrap();
    Steps::new(&wrapped.step)
}

/// What becomes of `a=foo, b=bar, c=baz` by one step; none when it is dropped.
#[track_caller]
fn check(step: &str, expected: Option<&[(&str, &str)]>) {
    let mut set = labels(&[("a", "foo"), ("b", "bar"), ("c", "baz")]);
    let kept = steps(&format!("[[step]]\n{}", step.replace("; ", "\n"))).unwrap().apply(&mut set);
    assert_eq!(kept.then_some(set), expected.map(labels), "{step}");
}

// The expectations are those of Prometheus' own tests (model/relabel/relabel_test.go).
#[test]
fn replacing_sets_removes_and_leaves_alone() {
    check(
        r#"source_labels = ["a"]; regex = "f(.*)"; target_label = "d"; replacement = "ch${1}-ch${1}""#,
        Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "choo-choo")]),
    );
    check(
        r#"source_labels = ["a", "b"]; regex = "f(.*);(.*)r"; target_label = "a"; replacement = "b${1}${2}m""#,
        Some(&[("a", "boobam"), ("b", "bar"), ("c", "baz")]),
    );
    check(
        r#"source_labels = ["a"]; regex = "f"; target_label = "b"; replacement = "bar2""#,
        Some(&[("a", "foo"), ("b", "bar"), ("c", "baz")]),
    );
    check(
        r#"source_labels = ["a"]; regex = "foo"; target_label = "b"; replacement = """#,
        Some(&[("a", "foo"), ("c", "baz")]),
    );
    check(
        r#"source_labels = ["a"]; regex = "(f).*"; target_label = "x_${1}"; replacement = "1""#,
        Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("x_f", "1")]),
    );
    check(
        r#"source_labels = ["a"]; target_label = "not a-${1}"; replacement = "1""#,
        Some(&[("a", "foo"), ("b", "bar"), ("c", "baz")]),
    );
    check(r#"target_label = "a"; replacement = "all""#, Some(&[("a", "all"), ("b", "bar"), ("c", "baz")]));
}

#[test]
fn keeping_and_dropping_are_anchored_at_both_ends() {
    let all: &[(&str, &str)] = &[("a", "foo"), ("b", "bar"), ("c", "baz")];
    for (step, kept) in [
        (r#"source_labels = ["a"]; regex = "o$"; action = "drop""#, true),
        (r#"source_labels = ["a"]; regex = ".*o.*"; action = "drop""#, false),
        (r#"source_labels = ["a"]; regex = "no|foo"; action = "keep""#, true),
        (r#"source_labels = ["a"]; regex = "oo"; action = "keep""#, false),
        (r#"source_labels = ["none"]; regex = ""; action = "keep""#, true),
        (r#"source_labels = ["a"]; target_label = "b"; action = "keepequal""#, false),
        (r#"source_labels = ["a"]; target_label = "b"; action = "dropequal""#, true),
        (r#"source_labels = ["a"]; target_label = "a"; action = "dropequal""#, false),
    ] {
        check(step, kept.then_some(all));
    }
}

#[test]
fn names_are_mapped_dropped_and_kept() {
    check(r#"regex = "[ab]"; action = "labeldrop""#, Some(&[("c", "baz")]));
    check(r#"regex = "[ab]"; action = "labelkeep""#, Some(&[("a", "foo"), ("b", "bar")]));
    check(
        r#"regex = "(a|b)"; action = "labelmap"; replacement = "my_${1}""#,
        Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("my_a", "foo"), ("my_b", "bar")]),
    );
    check(
        r#"source_labels = ["a"]; target_label = "d"; action = "uppercase""#,
        Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "FOO")]),
    );
}

#[test]
fn hashes_are_those_of_prometheus() {
    check(
        r#"source_labels = ["c"]; target_label = "d"; action = "hashmod"; modulus = 1000"#,
        Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "976")]),
    );
}

#[test]
fn a_step_that_cannot_be_used_says_what_to_change() {
    for (step, words) in [
        ("action = \"hashmod\"\ntarget_label = \"a\"", "`modulus`"),
        ("source_labels = [\"a\"]", "`target_label`"),
        ("regex = \"(\"\ntarget_label = \"a\"", "regular expression"),
        ("action = \"labeldrop\"\ntarget_label = \"a\"", "`regex` alone"),
        ("action = \"lowercase\"\ntarget_label = \"a-b\"", "no label name"),
        ("action = \"labelmap\"\nreplacement = \"a-$1\"", "no label name"),
    ] {
        let error = steps(&format!("[[step]]\ntarget_label = \"x\"\n[[step]]\n{step}\n")).unwrap_err();
        assert!(error.starts_with("step 2: ") && error.contains(words), "{error}");
    }
    let many = "[[step]]\ntarget_label = \"x\"\n".repeat(MAX_STEPS + 1);
    assert!(steps(&many).is_err());
}
