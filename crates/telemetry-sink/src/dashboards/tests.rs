use serde_json::{Value, json};

use super::*;

fn open(directory: &Path) -> Dashboards {
    Dashboards::open(directory).unwrap()
}

fn document(title: &str) -> Vec<u8> {
    json!({ "version": 1, "title": title, "panels": [{ "kind": "stat" }] }).to_string().into_bytes()
}

fn ids(dashboards: &Dashboards) -> Vec<String> {
    dashboards.list().into_iter().map(|one| one.id).collect()
}

#[test]
fn what_is_acknowledged_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let (one, fresh) = first.put("one", &document("One"), &Expected::Nothing).unwrap();
    assert!(fresh);
    let version = Expected::Versions(vec![one.etag]);
    let (one, fresh) = first.put("one", &document("Changed"), &version).unwrap();
    assert!(!fresh);
    first.put("two", &document("Two"), &Expected::Nothing).unwrap();
    first.delete("two", &Expected::Any).unwrap();
    let second = open(directory.path());
    assert_eq!(second.list(), std::slice::from_ref(&one));
    assert_eq!(second.get("one").unwrap(), (document("Changed"), one.etag));
}

#[test]
fn of_two_editors_the_second_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let dashboards = open(directory.path());
    let (read, _) = dashboards.put("one", &document("One"), &Expected::Nothing).unwrap();
    let version = Expected::Versions(vec![read.etag]);
    dashboards.put("one", &document("Mine"), &version).unwrap();
    for expected in [&version, &Expected::Nothing] {
        let refused = dashboards.put("one", &document("Theirs"), expected);
        assert!(matches!(refused, Err(StoreError::Changed)), "{expected:?}: {refused:?}");
    }
    assert!(matches!(dashboards.delete("one", &version), Err(StoreError::Changed)));
    assert_eq!(dashboards.get("one").unwrap().0, document("Mine"));
    let absent = dashboards.put("none", &document("None"), &Expected::Any);
    assert!(matches!(absent, Err(StoreError::Changed)), "{absent:?}");
}

#[test]
fn a_start_drops_what_a_crash_left_and_leaves_what_is_not_ours() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    open(directory.path()).put("one", &document("One"), &Expected::Nothing).unwrap();
    std::fs::write(at("one.json.new"), "{\"version\":").unwrap();
    std::fs::write(at("torn.json"), "{\"version\":").unwrap();
    std::fs::write(at("Not an id.json"), document("Named wrongly")).unwrap();
    std::fs::write(at("notes.txt"), "of a person").unwrap();
    assert_eq!(ids(&open(directory.path())), ["one"]);
    assert!(!at("one.json.new").exists());
    for name in ["torn.json", "Not an id.json", "notes.txt"] {
        assert!(at(name).exists(), "{name}");
    }
}

#[test]
fn a_write_that_fails_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let dashboards = open(directory.path());
    dashboards.put("one", &document("One"), &Expected::Nothing).unwrap();
    // In the way of the fresh file, as a disk that refuses it would be.
    std::fs::create_dir(directory.path().join("one.json.new")).unwrap();
    let failed = dashboards.put("one", &document("Two"), &Expected::Any);
    assert!(matches!(failed, Err(StoreError::Io(_))), "{failed:?}");
    assert_eq!(dashboards.get("one").unwrap().0, document("One"));
    assert_eq!(dashboards.get("one").unwrap().1, dashboards.list()[0].etag);
}

#[test]
fn there_are_so_many_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let dashboards = open(directory.path());
    for number in 0..MAX_DASHBOARDS {
        dashboards.put(&format!("d-{number}"), &document("D"), &Expected::Nothing).unwrap();
    }
    let more = dashboards.put("more", &document("D"), &Expected::Nothing);
    assert!(matches!(more, Err(StoreError::TooMany)), "{more:?}");
    dashboards.put("d-0", &document("Replaced"), &Expected::Any).unwrap();
    dashboards.delete("d-1", &Expected::Any).unwrap();
    dashboards.put("more", &document("D"), &Expected::Nothing).unwrap();
}

#[test]
fn what_is_no_dashboard_is_refused_with_its_place() {
    let base = || json!({ "version": 1, "title": "T", "panels": [] });
    let with = |key: &str, value: Value| {
        let mut document = base();
        document[key] = value;
        document.to_string()
    };
    let panel = |more: Value| {
        let mut panel = json!({ "kind": "stat" });
        panel.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        with("panels", json!([{ "kind": "row" }, panel]))
    };
    for (text, pointer, why) in [
        ("{".to_owned(), "", "this is no JSON"),
        ("[]".to_owned(), "", "expected"),
        (with("version", json!(2)), "/version", "must be 1"),
        (with("id", json!("other")), "/id", "must be `one`"),
        (with("title", json!("  ")), "/title", "must have 1 to"),
        (with("title", json!("x".repeat(201))), "/title", "must have 1 to"),
        (with("colour", json!("red")), "", "unknown field `colour`"),
        (with("panels", json!(vec![json!({ "kind": "row" }); 201])), "/panels", "at most 200"),
        (with("variables", json!([{ "name": "a b", "kind": "custom" }])), "/variables/0/name", "letters"),
        (panel(json!({ "kind": "pie" })), "", "unknown variant `pie`"),
        (panel(json!({ "unit": "miles" })), "", "unknown variant `miles`"),
        (panel(json!({ "x": 24 })), "/panels/1/x", "from 0 to 23"),
        (panel(json!({ "w": 0 })), "/panels/1/w", "from 1 to 24"),
        (panel(json!({ "h": -1 })), "", "invalid value"),
        (panel(json!({ "queries": [{ "legend": "x" }] })), "", "missing field `expression`"),
        (with("description", json!("x".repeat(MAX_BYTES))), "", "at most 1000000 bytes"),
    ] {
        let invalid = document::check("one", text.as_bytes()).unwrap_err();
        let shown = text.get(..80).unwrap_or(&text);
        assert_eq!(invalid.pointer, pointer, "{shown}: {invalid}");
        assert!(invalid.detail.contains(why), "{shown}: {invalid}");
    }
    for id in ["", "..", "a/b", "A", "a.json", "shared", &"a".repeat(81)] {
        assert!(checked_id(id).is_err(), "{id}");
    }
}

#[test]
fn everything_that_the_console_writes_is_taken() {
    let console = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
    let listed = |file: &str, name: &str| {
        let text = std::fs::read_to_string(console.join(file)).unwrap();
        let start = text.find(&format!("{name} = [")).unwrap();
        let list = text[start..].split(['[', ']']).nth(1).unwrap().to_owned();
        list.split(',').map(|one| one.trim().trim_matches('"').to_owned()).collect::<Vec<_>>()
    };
    let kinds = listed("src/lib/dashboard.ts", "PANEL_KINDS");
    let units = listed("src/format.ts", "UNITS");
    assert!(kinds.len() > 5 && units.len() > 5, "{kinds:?} {units:?}");
    for (kind, unit) in kinds.iter().flat_map(|kind| units.iter().map(move |unit| (kind, unit))) {
        let panel = json!({
            "title": "", "kind": kind, "x": 0, "y": 0, "w": 12, "h": 8, "unit": unit, "text": "", "stacked": false,
            "queries": [{ "expression": "up", "legend": "" }], "min": null, "max": 1.5,
            "thresholds": [{ "from": null, "tone": "good" }, { "from": 0.5, "tone": "bad" }],
        });
        let variable = json!({
            "name": "job", "label": "", "kind": "query", "query": "label_values(job)", "regex": "", "options": [],
            "multi": true, "all": true, "current": "",
        });
        let text = json!({
            "version": 1, "id": "one", "title": "T", "description": "", "variables": [variable], "panels": [panel],
        });
        document::check("one", text.to_string().as_bytes()).unwrap();
    }
    for entry in std::fs::read_dir(console.join("public/boards")).unwrap() {
        let path = entry.unwrap().path();
        let id = path.file_stem().unwrap().to_str().unwrap();
        if id != "index" {
            document::check(id, &std::fs::read(&path).unwrap()).unwrap();
        }
    }
}
