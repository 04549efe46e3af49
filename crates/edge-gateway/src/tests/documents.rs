//! Every configuration in the operator's pages is one that the gateway takes.

use std::path::Path;

use crate::config::{Config, Plan};

/// What an example leaves out because it is about something else, by the key that shows it is missing.
const FILLERS: [(&str, &str); 5] = [
    ("[service]", "[service]\nadmin = \"unix:/run/quintet/admin.sock\"\n"),
    ("[listen]", "[listen]\nhttps = \"0.0.0.0:8443\"\n"),
    (
        "[[certificates]]",
        "[[certificates]]\ncert = \"/etc/quintet/cert.pem\"\nkey = \"/etc/quintet/key.pem\"\n",
    ),
    ("[[upstreams]]", "[[upstreams]]\nname = \"app\"\naddresses = [\"unix:/run/app.sock\"]\n"),
    ("[[routes]]", "[[routes]]\npath_prefix = \"/\"\nupstream = \"app\"\n"),
];

fn blocks(page: &str) -> impl Iterator<Item = &str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

fn whole(example: &str) -> String {
    let has = |header: &str| example.lines().any(|line| line.trim() == header);
    let missing = FILLERS.iter().filter(|(header, _)| !has(header)).map(|(_, filler)| *filler);
    format!("{example}\n{}", missing.collect::<String>())
}

#[test]
fn every_example_is_valid() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operator/gateway");
    let mut checked = 0;
    for entry in std::fs::read_dir(pages).unwrap() {
        let path = entry.unwrap().path();
        // Its key is refused by a build without the feature.
        if path.ends_with("http3.md") && !cfg!(feature = "http3") {
            continue;
        }
        let page = std::fs::read_to_string(&path).unwrap();
        for example in blocks(&page) {
            let config: Config = toml::from_str(&whole(example))
                .unwrap_or_else(|error| panic!("{}: {error}\n{example}", path.display()));
            if let Err(invalid) = Plan::new(&config) {
                panic!("{}: {invalid}\n{example}", path.display());
            }
            checked += 1;
        }
    }
    assert!(checked >= 2, "{checked} examples found");
}
