//! What queries make of lines.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::head::Found;
use crate::model::{LogRecord, Resource, Value};

fn found(body: &str) -> Found<LogRecord> {
    let resource = Resource {
        service: "core-api".into(),
        attributes: vec![("host.name".into(), Value::Text("a1".into()))],
    };
    let record = LogRecord {
        time: 1_700_000_000_123_456_789,
        severity: 9,
        body: body.to_owned(),
        scope: "access".into(),
        attributes: vec![("order.id".into(), Value::Int(17)), ("took".into(), Value::Text("250ms".into()))],
        ..LogRecord::default()
    };
    Found { resource: Arc::new(resource), record }
}

/// The line's text and the labels that the stages gave it, or nothing where it was dropped.
fn through(stages: &str, body: &str) -> Option<(String, Vec<String>)> {
    let query = parse_log(&format!("{{service_name=\"core-api\"}} {stages}")).unwrap();
    let found = found(body);
    let mut line = Line::new(&found);
    let passed = run(&query.stages, &mut line, &Context::default());
    passed.then(|| {
        let labels = line.parsed().into_iter().filter(|(name, _)| name != "__error_details__");
        (line.text().to_owned(), labels.map(|(name, value)| format!("{name}={value}")).collect())
    })
}

fn labels(stages: &str, body: &str) -> Vec<String> {
    through(stages, body).unwrap_or_else(|| panic!("{stages} drops {body:?}")).1
}

fn keeps(stages: &str, body: &str) -> bool {
    through(stages, body).is_some()
}

#[test]
fn line_filters_take_alternatives_patterns_and_addresses() {
    for (stages, body, kept) in [
        (r#"|= "a" or "b""#, "xb", true),
        (r#"|= "a" or "b""#, "xc", false),
        (r#"!= "a" or "b""#, "xb", false),
        (r#"!= "a" or "b""#, "xc", true),
        (r#"|~ "^x\\d+$""#, "x12", true),
        ("!~ `(?i)FAIL`", "failed", false),
        ("|> `<_> refused by <_>`", "order 7 refused by stock", true),
        ("|> `<_> refused by <_>`", "refused by stock", false),
        ("!> `<_> refused by <_>`", "order 7 accepted", true),
        (r#"|= ip("10.0.0.0/8")"#, "from 10.1.2.3:80", true),
        (r#"!= ip("10.0.0.0/8")"#, "from 10.1.2.3:80", false),
        (r#"|= """#, "anything", true),
    ] {
        assert_eq!(keeps(stages, body), kept, "{stages} on {body:?}");
    }
}

#[test]
fn parsers_find_labels_in_lines() {
    let json = r#"{"a":{"b c":1.5,"d":[1,2]},"ok":true,"level":"x","9":"n","nil":null}"#;
    assert_eq!(labels("| json", json), ["_9=n", "a_b_c=1.5", "level_extracted=x", "ok=true"]);
    assert_eq!(labels(r#"| json first="a.d[0]", b="a[\"b c\"]", ok"#, json), ["b=1.5", "first=1", "ok=true"]);
    assert_eq!(labels("| json", "not json"), ["__error__=JSONParserErr"]);
    assert_eq!(labels("| logfmt", r#"a=1 b="two words" c d="#), ["a=1", "b=two words"]);
    assert_eq!(labels(r#"| logfmt x="b""#, r#"a=1 b="q\"q""#), [r#"x=q"q"#]);
    assert_eq!(labels("| logfmt --strict", r#"a=1 b="open"#), ["__error__=LogfmtParserErr"]);
    let access = r#"10.0.0.1 - - "GET /orders HTTP/1.1" 200"#;
    assert_eq!(
        labels(r#"| pattern `<ip> - <_> "<method> <path> <_>" <status>`"#, access),
        ["ip=10.0.0.1", "method=GET", "path=/orders", "status=200"]
    );
    assert_eq!(
        labels(r"| regexp `(?P<method>[A-Z]+) (?P<path>\S+)`", access),
        ["method=GET", "path=/orders"]
    );
    let packed = r#"{"pod":"p1","_entry":"the line"}"#;
    assert_eq!(through("| unpack", packed), Some(("the line".to_owned(), vec!["pod=p1".to_owned()])));
}

#[test]
fn label_filters_compare_texts_numbers_durations_bytes_and_addresses() {
    let line = "status=503 took_ms=12.5 wait=1.5s size=20KB peer=10.1.2.3 word=abc";
    for (filter, kept) in [
        ("status >= 500", true),
        ("status < 500", false),
        ("status = 503 and word = \"abc\"", true),
        ("status == 503, word != \"abc\"", false),
        ("status = 200 or wait > 1s", true),
        ("(status = 200 or wait > 1s) and size <= 20KB", true),
        ("size > 19KiB", true),
        ("word =~ \"a.c\" word !~ \"x\"", true),
        ("peer = ip(\"10.1.0.0/16\")", true),
        ("peer != ip(\"10.1.0.0/16\")", false),
        ("missing > 1", false),
        ("missing = ip(\"10.1.0.0/16\")", false),
        ("missing != ip(\"10.1.0.0/16\")", false),
        ("missing = \"\"", true),
        // What is no number stays, with an error that a later filter may look at.
        ("word > 1", true),
        ("word > 1 | __error__ = \"\"", false),
        ("word > 1 | __error__ = \"LabelFilterErr\"", true),
        // A record's own fields and its stream's, without a parser.
        ("order_id = 17 and took > 200ms and host_name = \"a1\" and level = \"info\"", true),
    ] {
        assert_eq!(keeps(&format!("| logfmt | {filter}"), line), kept, "{filter}");
    }
}

#[test]
fn number_and_address_filters_keep_what_a_parser_could_not_read() {
    for (stages, kept) in [
        ("| json | status >= 500", true),
        ("| json | peer = ip(\"10.1.0.0/16\")", true),
        ("| json | status >= 500 | __error__ = \"\"", false),
        ("| json | status = \"500\"", false),
    ] {
        assert_eq!(keeps(stages, "no json"), kept, "{stages}");
    }
}

#[test]
fn parsers_make_a_bounded_number_of_labels() {
    let count = |stages: &str, body: &str| labels(stages, body).len();
    let pairs: Vec<_> = (0..100_000).map(|number| format!("k{number}=v")).collect();
    let line = pairs.join(" ");
    assert_eq!(count("| logfmt", &line), 256);
    // Keys that are asked for are found wherever they stand.
    assert_eq!(labels("| logfmt last=\"k99999\"", &line), ["last=v"]);
    let packed: Vec<_> = (0..1000).map(|number| format!("\"k{number}\":\"v\"")).collect();
    let packed = format!("{{{},\"zz\":\"last\",\"_entry\":\"the line\"}}", packed.join(","));
    let (text, found) = through("| unpack", &packed).unwrap();
    assert_eq!((text.as_str(), found.len()), ("the line", 256));
}

#[test]
fn formatters_make_new_lines_and_labels() {
    let text = |stages: &str, body: &str| through(stages, body).unwrap().0;
    let line = "method=GET path=/orders took=0.25 who=\"ann b\"";
    for (template, expected) in [
        ("{{.method}} {{ .path }}", "GET /orders"),
        ("{{ .method | lower | trunc 2 }}", "ge"),
        ("{{ if eq .method \"GET\" }}read{{ else if .path }}write{{ else }}?{{ end }}", "read"),
        ("{{ .missing | default \"-\" }}/{{ .missing }}", "-/"),
        ("{{ printf \"%-6s|%5.2f|%q\" .method .took .who }}", "GET   | 0.25|\"ann b\""),
        ("{{ regexReplaceAll \"/(o)\" .path \"<$1>\" }}", "<o>rders"),
        ("{{ mul (float64 .took) 1000 | int }}ms", "250ms"),
        ("{{ replace \"o\" \"0\" .path }}{{ hasPrefix \"/\" .path }}", "/0rderstrue"),
        ("{{- .method -}}   !", "GET!"),
        ("{{ __line__ | len }}", "45"),
        ("{{ __timestamp__ }}", "1700000000"),
        ("{{ `a}}b` }}", "a}}b"),
    ] {
        assert_eq!(text(&format!("| logfmt | line_format {template:?}"), line), expected, "{template}");
    }
    assert_eq!(
        labels("| logfmt | label_format verb=method, at=\"{{.path}}!\" | drop took, who, path", line),
        ["at=/orders!", "verb=GET"]
    );
    assert_eq!(labels("| logfmt | keep method, path=\"/x\"", line), ["method=GET"]);
    assert_eq!(
        labels("| logfmt | line_format \"{{ div 1 0 }}\" | keep x", line),
        ["__error__=TemplateFormatErr"]
    );
    assert_eq!(text("| decolorize", "\u{1b}[1;31mred\u{1b}[0m plain"), "red plain");
    assert_eq!(labels("| json | drop __error__", "no json"), [""; 0]);
}

#[test]
fn templates_refuse_what_would_be_too_long_before_they_make_it() {
    let fails = |template: &str| {
        let long = "{{repeat 262144 `x`}}";
        let stages = format!("| label_format a={long:?} | line_format {template:?} | drop a");
        assert_eq!(labels(&stages, "line"), ["__error__=TemplateFormatErr"], "{template}");
    };
    for template in [
        "{{replace `x` .a .a}}",
        "{{Replace .a `x` .a -1}}",
        "{{regexReplaceAll `x` .a `$0$0`}}",
        "{{regexReplaceAllLiteral `x` .a .a}}",
        "{{print .a .a}}",
        "{{printf `%s%s` .a .a}}",
        "{{.a}}{{.a}}",
        r#"{{indent 256 (replace "x" "\n" .a)}}"#,
    ] {
        fails(template);
    }
    // Arguments of one function, and of functions one after the other; patterns that are not known beforehand.
    fails(&format!("{{{{ and {} | len }}}}", ".a ".repeat(40)));
    fails(&"{{ lower .a | len }}".repeat(20));
    fails(&"{{ count .level .level }}".repeat(40));
    // A long line by itself is no reason to refuse what looks at it.
    let body = "word ".repeat(400_000);
    let looks = "{{contains `word` __line__}} {{__line__ | len}}";
    assert_eq!(through(&format!("| line_format {looks:?}"), &body).unwrap().0, "true 2000000");
    let made: Vec<_> = (0..9).map(|number| format!("a{number}=\"{{{{repeat 262144 `x`}}}}\"")).collect();
    let found = labels(&format!("| label_format {} | keep b", made.join(", ")), "line");
    assert_eq!(found, ["__error__=TemplateFormatErr"]);
}

#[test]
fn patterns_that_a_template_spells_out_are_checked_when_it_is_read() {
    for (template, message) in [
        ("{{ regexReplaceAll `(` .a `x` }}".to_owned(), "invalid regular expression"),
        ("{{ count `a` .a }}".repeat(17), "more than 16 regular expressions"),
    ] {
        let error = template::Template::parse(&template).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let found = labels("| label_format p=\"(\" | line_format \"{{ count .p .p }}\" | drop p", "x");
    assert_eq!(found, ["__error__=TemplateFormatErr"]);
}

#[test]
fn only_texts_that_every_passing_line_holds_are_looked_for_before_decoding() {
    let texts = |stages: &str| {
        let query = parse_log(&format!("{{a=\"b\"}} {stages}")).unwrap();
        query.texts().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(texts(r#"|= "x" != "y" | json |= "z""#), ["x", "z"]);
    assert_eq!(texts(r#"|= "x" or "y""#), [""; 0]);
    assert_eq!(texts(r#"|= "x" | line_format "y" |= "y""#), ["x"]);
    assert_eq!(texts("|> `<_> some <_> longer text`"), [" longer text"]);
}

#[test]
fn an_id_is_pinned_only_where_nothing_could_give_it_another_value() {
    let pinned = |stages: &str| {
        let query = parse_log(&format!("{{a=\"b\"}} {stages}")).unwrap();
        query.equality("trace_id").map(str::to_owned)
    };
    assert_eq!(pinned(r#"|= "x" | trace_id="t" and level="info""#), Some("t".to_owned()));
    assert_eq!(pinned(r#"| json | trace_id="t""#), None);
    assert_eq!(pinned(r#"| trace_id="""#), None, "what is without an id is in no index of ids");
    assert_eq!(pinned(r#"| trace_id="t" or level="info""#), None);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (query, message) in [
        ("", "unexpected $end"),
        (r#"{a="b""#, "line 1, col 7: syntax error: unexpected $end, expecting } or ,"),
        (r#"{a="b"} |= "x"#, "col 12: literal not terminated"),
        (r#"{a="b"} |~ "(""#, "col 12: invalid regular expression"),
        (r#"{a=~".*"}"#, "at least one regexp or equality matcher"),
        ("{a=\"b\"}\n| jason", "line 2, col 3: the stage \"jason\" is not supported"),
        (r#"{a="b"} | json x="[""#, "cannot parse JSON expression"),
        (r#"{a="b"} | regexp "x""#, "at least one named capture"),
        (r#"{a="b"} | pattern "<_>""#, "at least one capture"),
        (r#"{a="b"} | pattern "<a><b>""#, "consecutive capture"),
        (r#"{a="b"} | line_format "{{ .a | nope }}""#, "function \"nope\" not defined"),
        (r#"{a="b"} | line_format "{{ .a""#, "unclosed action"),
        (r#"{a="b"} | unwrap x"#, "unwrap is allowed only"),
        (r#"{a="b"} | x > "1""#, "expecting a number"),
        (r#"rate({a="b"})"#, "col 13: syntax error: unexpected ), expecting ["),
        (r#"avg_over_time({a="b"}[1m])"#, "invalid aggregation without unwrap"),
        (r#"count_over_time({a="b"} | unwrap x [1m])"#, "invalid aggregation with unwrap"),
        (r#"rate({a="b"}[1m]) by (x)"#, "grouping not allowed"),
        (r#"sum({a="b"})"#, "lines have no number"),
        ("up", "lines have no number"),
        (r#"sum(rate({a="b"}[1m]"#, "unexpected $end, expecting )"),
        (r#"max_over_time(rate({a="b"}[1m])[5m:1m])"#, "expecting {"),
        (r#"absent(rate({a="b"}[1m]))"#, "unknown function \"absent\""),
        (r#"rate({a="b"}[0s])"#, "longer than nothing"),
    ] {
        let error = parse(query).unwrap_err().to_string();
        assert!(error.contains(message), "{query}: {error}");
    }
}

#[test]
fn queries_are_written_with_one_space_where_one_belongs() {
    for (query, expected) in [
        (r#"{ a = "b" ,c=~"d" }|="x"|json"#, r#"{a="b", c=~"d"} |= "x" | json"#),
        (r#"sum  by(level)( rate( {a="b"}[5m] ) ) /2"#, r#"sum by (level) (rate({a="b"}[5m])) / 2"#),
    ] {
        assert_eq!(pretty(query).unwrap(), expected);
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "[{}a-z=~!|\"`\\\\ é,0.\\[\\]()<>]{0,60}") {
        let _ = parse(&text);
        let _ = parse(&format!("{{a=\"b\"}}{text}"));
        let _ = parse(&format!("rate({{a=\"b\"}}{text}[5m])"));
        let _ = template::Template::parse(&text);
    }
}
