//! The templates, those that ship and an operator's.

use super::*;

const NEW: [(&str, &str); 3] = [
    ("hello.subject.txt", "Hello {{ name }}\n"),
    ("hello.txt", "Hello {{ name }}"),
    ("hello.html", "{% include '_head.html' %}<p>{{ name }}</p>"),
];

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, source) in files {
        std::fs::write(dir.path().join(name), source).unwrap();
    }
    dir
}

#[test]
fn html_from_a_customer_is_text_in_the_mail() {
    let rendered = Templates::load(None).unwrap().render("receipt", &args("ord_1").context).unwrap();
    assert!(rendered.html.contains("Ada &lt;script&gt;"), "{}", rendered.html);
    assert!(rendered.html.contains("Mug &amp; spoon"));
}

#[test]
fn an_operators_file_replaces_the_one_that_ships_and_is_escaped_too() {
    let dir = directory(&[("receipt.html", "<b>{{ customer.name }}</b>")]);
    let templates = Templates::load(Some(dir.path())).unwrap();
    let rendered = templates.render("receipt", &args("ord_1").context).unwrap();
    assert_eq!(rendered.html, "<b>Ada &lt;script&gt;</b>");
    assert!(rendered.text.contains("Mug & spoon"), "the text that ships stays");
}

#[test]
fn an_operators_own_template_has_three_files_and_may_include_parts() {
    let dir = directory(&[&NEW[..], &[("_head.html", "<h1>Shop</h1>")]].concat());
    let templates = Templates::load(Some(dir.path())).unwrap();
    let rendered = templates.render("hello", &json!({"name": "<Ada>"})).unwrap();
    assert_eq!((rendered.subject.as_str(), rendered.text.as_str()), ("Hello <Ada>", "Hello <Ada>"));
    assert_eq!(rendered.html, "<h1>Shop</h1><p>&lt;Ada&gt;</p>");
    assert_eq!((templates.label("hello").as_str(), templates.label("_head").as_str()), ("hello", "unknown"));
}

#[test]
fn a_mistake_in_the_directory_is_found_at_the_start() {
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("receipt.html", "{{ customer.name")], "does not compile"),
        (&[("hello.txt", "x")], "the template hello has no hello.subject.txt"),
        (&[("receipt.htm", "x")], "receipt.htm is none of"),
        (&[(".txt", "x")], ".txt is none of"),
        (&[("receipt.html", &"x".repeat(300_000))], "larger than"),
    ];
    for (files, expected) in cases {
        let dir = directory(files);
        let error = Templates::load(Some(dir.path())).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let missing = Templates::load(Some(std::path::Path::new("/nonexistent"))).err().unwrap().to_string();
    assert!(missing.contains("cannot read /nonexistent"), "{missing}");
}
